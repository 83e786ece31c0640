import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { treeEntries, treeLeaves } from "../../lib/tree.ts";
import { jit } from "../../lib/transforms/jit.ts";
import { valueAndGrad } from "../../lib/transforms/vjp.ts";
import { mul } from "../../ops/arithmetic.ts";
import { normal } from "../../ops/distributions.ts";
import { adamw } from "../../ops/optimizers/adamw.ts";
import { key } from "../../ops/random.ts";
import { testOnDevices } from "../../tests/devices.ts";
import { describe, init, readModel } from "../model.ts";
import { makeTrainingBatch } from "../sar/batch.ts";
import { visibleCounts } from "../sar/masks.ts";
import { parseRecipe } from "../sar/recipe.ts";
import { fmt, type FmtConfig, type FmtInput, fmtPresets } from "./config.ts";
import { fmtInputs, fmtLogits, fmtLoss, type FmtTrainingInputs } from "./fmt.ts";
import type { FmtParameters } from "./network.ts";

const grid = { height: 2, width: 3 };
const tokens = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8];

function makeModel(config: FmtInput = {}): { model: FmtConfig; params: FmtParameters } {
  const model = fmt({
    grid,
    dim: 16,
    heads: 2,
    encoderLayers: 1,
    decoderLayers: 2,
    vocabulary: 10,
    classes: 3,
    ffnMultiple: 8,
    initScale: 0.1,
    ...config,
  });
  const params = init(model, key(1));
  return { model, params: { ...params, output: { weight: mul(normal(key(2), [10, 16]), 0.3) } } };
}

function makeInputs(recipe: string, step = 0): FmtTrainingInputs {
  return fmtInputs(makeTrainingBatch(parseRecipe(recipe), grid, tokens, [3, step]), [2, 3]);
}

async function numbers(tree: unknown): Promise<number[][]> {
  return await Promise.all(treeLeaves(tree).map(async (x) => Array.from(await x.data())));
}

function lossAndGradients(model: FmtConfig, checkpoint = false) {
  return jit((params: FmtParameters, inputs: FmtTrainingInputs) =>
    valueAndGrad((params: FmtParameters) => fmtLoss(model, params, inputs, { checkpoint }))(params)
  );
}

testOnDevices("padding of the encoder changes neither loss nor gradients", async () => {
  const { model, params } = makeModel();
  const recipe = parseRecipe("random-3-2,1,3");
  const padded = makeTrainingBatch({ ...recipe, schedule: "random" }, grid, tokens, [0, 1]);
  const visible = visibleCounts(padded.intervals);
  const known = visible.encoder.length - 1;
  assert(known < padded.encoderTokens.length / 2, "this draw leaves padding");
  const exact = {
    ...padded,
    encoderTokens: padded.targets.filter((_, i) => i % 6 < known),
    encoderVisible: visible.encoder,
  };
  const run = lossAndGradients(model);
  const [a, b] = await Promise.all(
    [padded, exact].map((batch) => numbers(run(params, fmtInputs(batch, [0, 3])))),
  );
  for (const [i, leaf] of a!.entries()) {
    for (const [j, x] of leaf.entries()) assertAlmostEquals(x, b![i]![j]!, 1e-6);
  }
});

testOnDevices("one program serves every draw of a recipe", () => {
  const { model, params } = makeModel();
  const run = lossAndGradients(model);
  for (let step = 0; step < 4; step++) run(params, makeInputs("random-3-random", step));
  assertEquals(run.traces, 1);
}, ["reference"]);

testOnDevices("checkpointed layers give the same gradients", async () => {
  const { model, params } = makeModel({ encoderFinalNorm: true, queryPosition: "learned" });
  const inputs = makeInputs("random-3-random");
  const [kept, again] = await Promise.all(
    [false, true].map((checkpoint) => numbers(lossAndGradients(model, checkpoint)(params, inputs))),
  );
  for (const [i, leaf] of kept!.entries()) {
    for (const [j, x] of leaf.entries()) assertAlmostEquals(x, again![i]![j]!, 1e-6);
  }
});

testOnDevices("no logit depends on tokens of its own set or a later one", async () => {
  const { model, params } = makeModel();
  const batch = makeTrainingBatch(
    parseRecipe({ order: "raster", schedule: [1, 2, 3] }),
    grid,
    tokens,
    [0, 0],
  );
  const inputs = fmtInputs(batch, [0, 1]);
  const run = jit((inputs: FmtTrainingInputs) => fmtLogits(model, params, inputs));
  const logits = await run(inputs).data();
  // The encoder gets places 0..2 of both images; place 1 belongs to set 2.
  const changed = tensor(Int32Array.of(3, 7, 4, 2, 6, 5), { shape: [2, 3] });
  const after = await run({ ...inputs, tokens: changed }).data();
  const same = Array.from(
    { length: 6 },
    (_, place) =>
      logits.slice(place * 10, place * 10 + 10).every((x, i) => x === after[place * 10 + i]),
  );
  assertEquals(same, [true, true, true, false, false, false]);
}, ["reference"]);

testOnDevices("a batch with one order is one whose images all have it", async () => {
  const { model, params } = makeModel();
  const inputs = makeInputs("snake-3-random");
  const [first] = await inputs.positions.toArray() as number[][];
  const shared = tensor([first!], { dtype: "i32" });
  const each = await fmtLogits(model, params, inputs).data();
  assertEquals(await fmtLogits(model, params, { ...inputs, positions: shared }).data(), each);
}, ["reference"]);

testOnDevices("one set needs no encoder tokens", async () => {
  const { model, params } = makeModel();
  const [loss, gradients] = lossAndGradients(model)(params, makeInputs("random-1-random"));
  assert(Number.isFinite(await loss.item()));
  for (const leaf of await numbers(gradients)) assert(leaf.every(Number.isFinite));
});

testOnDevices("training steps learn a pair of images by heart", async () => {
  const { model } = makeModel({ embeddingDropout: 0, residualDropout: 0.05, ffnDropout: 0 });
  let params = init(model, key(3));
  let state = adamw.init(params);
  const step = jit(
    (p: typeof params, s: typeof state, inputs: FmtTrainingInputs, dropout: Tensor) => {
      const lossOf = (p: FmtParameters) => fmtLoss(model, p, inputs, { key: dropout });
      const [loss, gradients] = valueAndGrad(lossOf)(p);
      return [loss, ...adamw.update(p, gradients, s, { learningRate: 0.01 })] as const;
    },
    { donate: [0, 1] },
  );
  const losses: number[] = [];
  for (let i = 0; i < 60; i++) {
    const [loss, p, s] = step(params, state, makeInputs("random-3-random", i), key(i));
    [params, state] = [p, s];
    if (i % 59 === 0) losses.push(await loss.item());
  }
  assertAlmostEquals(losses[0]!, Math.log(10), 1e-5); // the head starts at zero
  assert(losses[1]! < 1, `loss is ${losses[1]}`);
}, ["wasm"]);

Deno.test("inputs that do not fit are refused by name", () => {
  const { model, params } = makeModel();
  const inputs = makeInputs("random-3-random");
  const wrong = { ...inputs, decoderVisible: tensor([[1, 2]], { dtype: "i32" }) };
  assertThrows(() => fmtLogits(model, params, wrong), TypeError, "decoderVisible");
});

Deno.test("the presets have the paper's numbers of parameters", () => {
  const millions = Object.values(fmtPresets).map((preset) => {
    const total = describe(fmt(preset)).split("\n").at(-1)!.replaceAll(/\D/g, "");
    return (Number(total) / 1e6).toFixed(1);
  });
  assertEquals(millions, ["125.0", "393.3", "892.7"]);
});

Deno.test("a model is read back from its own text", () => {
  const { model } = makeModel({ classRope: "zero", queryPosition: "none" });
  assertEquals(readModel(JSON.parse(JSON.stringify(model))), model);
  assertThrows(() => readModel({ kind: "mlp" }), RangeError, "kind to be one of fmt");
  assertThrows(() => fmt({ dim: 30, heads: 4 }), RangeError, "multiple of 4");
  assertThrows(() => fmt({ width: 4 } as FmtInput), RangeError, "width");
});

Deno.test("optional parameters are there where the model asks for them", () => {
  const names = (config: FmtInput) =>
    treeEntries(makeModel(config).params).map(([path]) => path).filter((path) =>
      /pos_|r_norm/.test(path)
    );
  assertEquals(names({}), []);
  assertEquals(names({ queryPosition: "learned", encoderFinalNorm: true }), [
    "pos_embedding.weight",
    "encoder_norm.weight",
  ]);
});
