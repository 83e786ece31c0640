/** Tests of training in f16: gradients near those in f32, and a scale of the loss that follows overflows. */
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { testOnDevices } from "../../tests/devices.ts";
import { closeDevices, openDevice } from "../../lib/device.ts";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { jit } from "../../lib/transforms/jit.ts";
import { keyFromSeed } from "../../lib/random/threefry.ts";
import { treeEntries, treeMap } from "../../lib/tree.ts";
import { add, mul } from "../../ops/arithmetic.ts";
import { cast } from "../../ops/cast.ts";
import { full, zeros } from "../../ops/create.ts";
import { normal } from "../../ops/distributions.ts";
import { exp } from "../../ops/math.ts";
import { key } from "../../ops/random.ts";
import { sum } from "../../ops/reduce.ts";
import { readConfig } from "../config/read.ts";
import {
  continuousFmt,
  type ContinuousFmtParameters,
  continuousInputs,
  continuousLoss,
} from "../diffusion/fmt.ts";
import { fmt } from "../fmt/config.ts";
import { fmtInputs, fmtLoss } from "../fmt/fmt.ts";
import type { FmtParameters } from "../fmt/network.ts";
import { type Tokenizer, tokenizerKind } from "../kinds/tokenizer.ts";
import { init as initModel } from "../model.ts";
import { makeTrainingBatch } from "../sar/batch.ts";
import { parseRecipe } from "../sar/recipe.ts";
import { stepInParts } from "./accumulate.ts";
import { loadState, writeCheckpoint } from "./checkpoint.ts";
import { firstState } from "./loop.ts";
import { blameStep } from "./non_finite.ts";
import type { LossScale } from "./precision.ts";
import {
  differentiate,
  type Losses,
  metricNames,
  type StepSettings,
  type TrainingState,
} from "./step.ts";
import { tokenizerLoss } from "./tokenizer_loss.ts";

/** A model or a tokenizer whose gradients are compared: its loss, and parameters that let gradients through. */
interface Case<P = unknown> {
  readonly params: P;
  loss(params: P): Losses;
}

const grid = { height: 2, width: 2 };
const recipe = parseRecipe("random-2-random");
const sizes = { dim: 8, heads: 2, encoderLayers: 1, decoderLayers: 1, ffnMultiple: 8 };

/** Parameters of which none is zero. */
function stirred<P>(params: P, by: number): P {
  let at = 0;
  return treeMap((x: Tensor) => add(x, mul(normal(key(at++), x.shape), by)), params);
}

function ofCodes(): Case<FmtParameters> {
  const model = fmt({ ...sizes, vocabulary: 9, classes: 2, grid, initScale: 0.3 });
  const codes = [1, 2, 3, 8, 0, 8, 5, 1];
  const inputs = fmtInputs(makeTrainingBatch(recipe, grid, codes, [0, 1]), [0, 2]);
  const params = stirred(initModel(model, key(0)), 0.1);
  return { params, loss: (params) => ({ loss: fmtLoss(model, params, inputs) }) };
}

function ofVectors(): Case<ContinuousFmtParameters> {
  const head = { channels: 3, width: 8, layers: 1, steps: 20 };
  const model = continuousFmt({ ...sizes, classes: 2, grid, initScale: 0.3, head });
  const tokens = Float32Array.from({ length: 2 * 4 * 3 }, (_, i) => Math.sin(i));
  const inputs = continuousInputs(model, recipe, tokens, [0, 2], keyFromSeed(1));
  const params = stirred(initModel(model, key(0)), 0.1);
  return { params, loss: (params) => ({ loss: continuousLoss(model, params, inputs, key(2)) }) };
}

function ofImages(tokenizer: Tokenizer): Case {
  const { tokenizerTraining } = readConfig("smoke");
  const { imageChannels, ...trainable } = tokenizerKind(tokenizer).trainable(tokenizer);
  const { loss } = tokenizerLoss({ imageChannels, ...trainable }, tokenizerTraining, key(0));
  const images = mul(normal(key(3), [2, imageChannels, 8, 8]), 0.5);
  const batch = { images, keys: tensor(Uint32Array.of(1, 2, 3, 4), { shape: [2, 2] }) };
  return {
    params: initModel(tokenizer, key(0)),
    loss: (params) => loss(params as never, batch, {}),
  };
}

const cases: Record<string, () => Case> = {
  "a model of codes": ofCodes,
  "a model of vectors": ofVectors,
  "a tokenizer of several scales": () => ofImages(readConfig("smoke-var").tokenizer),
  "an autoencoder": () => ofImages(readConfig("smoke-continuous").tokenizer),
};

for (const [name, make] of Object.entries(cases)) {
  testOnDevices(`gradients of ${name} in f16 are near those in f32`, async (device) => {
    if (!device.features.f16) return;
    const gradients = async (lossScale?: LossScale) => {
      const { params, loss } = make();
      const program = jit((params: unknown) => {
        const { found, gradients } = differentiate(loss, params, { lossScale });
        return { loss: found.loss, gradients: gradients(full([], 1)) };
      });
      const { loss: value, gradients: tree } = program(params);
      const leaves = treeEntries<Tensor>(tree);
      return {
        loss: await value.item(),
        leaves: await Promise.all(leaves.map(async ([name, x]) => [name, await x.data()] as const)),
      };
    };
    const half = await gradients({ scale: tensor(256), steps: tensor(0) });
    await openDevice("wasm"); // which is made ready sooner
    const single = await gradients();
    assert(half.loss !== single.loss, "nothing is computed in f16");
    assert(Math.abs(half.loss / single.loss - 1) < 2e-3, `${half.loss} ${single.loss}`);
    for (const [i, [name, wanted]] of single.leaves.entries()) {
      const found = half.leaves[i]![1];
      const scale = Math.hypot(...wanted as Float32Array);
      const error = Math.hypot(...(wanted as Float32Array).map((x, j) => x - found[j]!));
      assert(error <= 0.02 * scale, `${name}: ${error} of ${scale}`); // f16 has 11 bits
    }
  }, ["webgpu"]);
}

type Params = { readonly w: Tensor };
const settings: StepSettings = {
  ...readConfig("smoke").tokenizerTraining,
  precision: "f16",
  lossScaleEvery: 2,
  learningRate: 0.5,
  clip: 0,
};
const training = (own: Partial<StepSettings> = {}) => ({
  loss: ({ w }: Params, x: Tensor) => {
    assertEquals(w.dtype, "f16");
    return { loss: cast(sum(mul(w, x)), "f32") };
  },
  losses: ["loss"],
  settings: { ...settings, ...own },
  init,
});
const init = (): Params => ({ w: tensor([1, 2]) });
const x = (value: number) => tensor(new Float16Array([value, -value]));

testOnDevices(
  "the scale of the loss halves on overflow and grows in good times",
  async (device) => {
    if (!device.features.f16) return;
    for (const accumulate of [1, 2]) {
      const own = training({ accumulate });
      let state = await firstState<Params, Tensor, unknown>(own);
      let history = zeros([8, metricNames(own.losses, "f16").length]);
      const step = stepInParts(own);
      // A gradient of 4 times 65536 and 32768 overflows f16, 4 times 8192 and 16384 does not; 4 times 16384 does.
      for (let i = 0; i < 8; i++) ({ state, history } = await step(state, history, () => x(4)));
      const rows = await history.toArray() as number[][];
      const column = (name: string) =>
        rows.map((row) => row[metricNames(own.losses, "f16").indexOf(name)]);
      assertEquals(column("lossScale"), [65536, 32768, 16384, 8192, 8192, 16384, 8192, 8192]);
      assertEquals(column("skipped"), [1, 1, 1, 0, 0, 1, 0, 0]);
      assertEquals(await state.lossScale!.scale.item(), 16384);
      assert(Math.abs(column("gradientNorm")[3]! - Math.hypot(4, 4)) < 1e-2); // in true units
      assert((await state.params.w.data())[0]! < 1);
    }
  },
  ["webgpu"], // the reference device does not round to f16: nothing overflows there
);

Deno.test("a checkpoint keeps the scale of the loss", async () => {
  await openDevice("reference");
  const own = training();
  const step = stepInParts(own);
  const columns = metricNames(own.losses, "f16").length;
  const go = async (steps: number, state?: TrainingState<Params>) => {
    state ??= await firstState<Params, Tensor, unknown>(own);
    for (let i = 0; i < steps; i++) {
      ({ state } = await step(state, zeros([1, columns]), () => x(4)));
    }
    return state;
  };
  const whole = await go(9);
  const folder = await Deno.makeTempDir();
  const progress = { stage: "model", step: 5, seed: 0, position: {}, loss: 1, config: {} };
  await writeCheckpoint(`${folder}/5`, await go(5), progress);
  const template = await firstState<Params, Tensor, unknown>(own);
  const resumed = await go(4, await loadState(`${folder}/5`, template));
  assertEquals(await resumed.lossScale!.scale.item(), await whole.lossScale!.scale.item());
  assertEquals(await resumed.lossScale!.steps.item(), await whole.lossScale!.steps.item());
  await Deno.remove(folder, { recursive: true });
  closeDevices();
});

Deno.test("the op that made the first infinity of a step in f16 is named", async () => {
  await openDevice("reference");
  const own = training();
  const state = await firstState<Params, Tensor, unknown>(own);
  const exponential = {
    ...own,
    loss: ({ w }: Params) => ({ loss: sum(exp(mul(cast(w, "f32"), 1e3))) }),
  };
  assertMatch(
    await blameStep(exponential, state, x(1)),
    /^debugNans: .*exp\(f32\[2\]\) -> f32\[2\] made an infinity at \[0\] from finite inputs/,
  );
  closeDevices();
});

Deno.test("a device without f16 refuses to train in it", async () => {
  await openDevice("wasm");
  assertThrows(
    () => stepInParts(training()),
    RangeError,
    "training.precision: expected f32 but found f16, which the device wasm does not have",
  );
  closeDevices();
});
