import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { foldIn, keyFromSeed } from "../../lib/random/threefry.ts";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { treeMap } from "../../lib/tree.ts";
import { jit } from "../../lib/transforms/jit.ts";
import { valueAndGrad } from "../../lib/transforms/vjp.ts";
import { add, mul } from "../../ops/arithmetic.ts";
import { normal } from "../../ops/distributions.ts";
import { adamw } from "../../ops/optimizers/adamw.ts";
import { square } from "../../ops/power.ts";
import { key } from "../../ops/random.ts";
import { mean } from "../../ops/reduce.ts";
import { testOnDevices } from "../../tests/devices.ts";
import { generateShapes } from "../data/shapes.ts";
import { apply, describe, init, readModel } from "../model.ts";
import { parseRecipe } from "../sar/recipe.ts";
import { drawSampling } from "../sar/sampling.ts";
import { imageBatch } from "../training/data.ts";
import type { Convolutions } from "../vq/convolutions.ts";
import {
  autoencoder,
  type AutoencoderInput,
  autoencoderLoss,
  decodeTokens,
  encodeTokens,
} from "./autoencoder.ts";
import {
  continuousFmt,
  type ContinuousFmtInput,
  type ContinuousFmtParameters,
  continuousInputs,
  continuousLoss,
  type ContinuousTrainingInputs,
} from "./fmt.ts";
import { type ContinuousSampleOptions, sampleContinuous } from "./sample.ts";

const grid = { height: 4, width: 4 };
const data = generateShapes({ count: 32, size: 8, classes: 4, seed: 1 });

function makeAutoencoder(config: AutoencoderInput = {}) {
  return autoencoder({
    imageHeight: 8,
    imageWidth: 8,
    encoderChannels: [8],
    decoderChannels: [8, 4],
    channels: 3,
    ...config,
  });
}

function makeModel(config: ContinuousFmtInput = {}) {
  return continuousFmt({
    grid,
    dim: 16,
    heads: 2,
    encoderLayers: 1,
    decoderLayers: 1,
    classes: 4,
    ffnMultiple: 8,
    embeddingDropout: 0,
    residualDropout: 0,
    ffnDropout: 0,
    head: { channels: 3, width: 24, layers: 1, steps: 100, range: 2 },
    ...config,
  });
}

testOnDevices("an autoencoder learns images, and its tokens have mean square 1", async () => {
  const model = makeAutoencoder();
  let params = init(model, key(0));
  let state = adamw.init(params);
  const step = jit((p: Convolutions, s: typeof state, images: Tensor, noise: Tensor) => {
    const lossOf = (p: Convolutions) => autoencoderLoss(model, p, images, noise);
    const [loss, gradients] = valueAndGrad(lossOf)(p);
    return [loss, ...adamw.update(p, gradients, s, { learningRate: 1e-2 })] as const;
  }, { donate: [0, 1] });
  const losses: number[] = [];
  for (let i = 0; i < 60; i++) {
    const images = imageBatch(data, Array.from({ length: 8 }, (_, j) => (i * 8 + j) % 32));
    const [loss, p, s] = step(params, state, images, key(i));
    [params, state] = [p, s];
    if (i % 59 === 0) losses.push(await loss.item());
  }
  assert(losses[1]! < losses[0]! / 4, `losses ${losses}`);
  const tokens = encodeTokens(model, params, imageBatch(data, [0, 1]));
  assertEquals(tokens.shape, [2, 16, 3]);
  const sizes = await mean(square(tokens), { axes: -1 }).data();
  for (const size of sizes) assertAlmostEquals(size, 1, 1e-2);
}, ["wasm"]);

testOnDevices("a transformer learns continuous tokens, is sampled and decoded", async () => {
  const tokenizer = makeAutoencoder();
  const convolutions = init(tokenizer, key(0));
  const all = imageBatch(data, Array.from({ length: 32 }, (_, i) => i));
  const tokens = await encodeTokens(tokenizer, convolutions, all).data() as Float32Array;
  const perImage = 16 * 3;

  const model = makeModel();
  const recipe = parseRecipe("random-4-random");
  let params = init(model, key(1));
  let state = adamw.init(params);
  const step = jit(
    (
      p: ContinuousFmtParameters,
      s: typeof state,
      inputs: ContinuousTrainingInputs,
      noise: Tensor,
    ) => {
      const lossOf = (p: ContinuousFmtParameters) => continuousLoss(model, p, inputs, noise);
      const [loss, gradients] = valueAndGrad(lossOf)(p);
      return [loss, ...adamw.update(p, gradients, s, { learningRate: 5e-3 })] as const;
    },
    { donate: [0, 1] },
  );
  const losses: number[] = [];
  for (let i = 0; i < 80; i++) {
    const first = i * 8 % 32;
    const chosen = tokens.slice(first * perImage, (first + 8) * perImage);
    const labels = data.labels.slice(first, first + 8);
    const inputs = continuousInputs(model, recipe, chosen, labels, foldIn([0, 1], i));
    const [loss, p, s] = step(params, state, inputs, key(i));
    [params, state] = [p, s];
    if (i % 79 === 0) losses.push(await loss.item());
  }
  assertEquals(step.traces, 1);
  assertAlmostEquals(losses[0]!, 1, 0.1); // the head starts at zero, the noise has variance 1
  assert(losses[1]! < 0.5, `losses ${losses}`);

  const known: number[] = [];
  const drawn = await sampleContinuous(model, params, {
    labels: [0, 1],
    ...drawSampling(recipe, grid, keyFromSeed(3), 2),
    guidance: 1.5,
    noiseSteps: 10,
    onStep: (step) => void known.push(step.known),
  });
  assertEquals([known.length, known.at(-1)], [4, 16]);
  const images = decodeTokens(tokenizer, convolutions, drawn);
  assertEquals(images.shape, [2, 1, 8, 8]);
  assert((await images.data()).every(Number.isFinite));
}, ["wasm"]);

/** A model whose parameters do not start at zero. */
function makeLively(config: ContinuousFmtInput = {}) {
  const model = makeModel(config);
  let next = 0;
  const stir = (x: Tensor) => add(x, mul(normal(key(100 + next++), x.shape), 0.1));
  return { model, params: treeMap(stir, init(model, key(1))) };
}

const sampling: ContinuousSampleOptions = {
  labels: [0, 2],
  ...drawSampling(parseRecipe("random-3-5,4,7"), grid, keyFromSeed(5), 2),
  noiseSteps: 4,
};

testOnDevices("continuous images are the same in any batch", async () => {
  const { model, params } = makeLively();
  const draw = async (options: ContinuousSampleOptions) =>
    await (await sampleContinuous(model, params, options)).data();
  const both = await draw({ ...sampling, guidance: 2 });
  const order = Array.from(sampling.order).slice(16);
  const second = await draw({ ...sampling, labels: [2], order, firstImage: 1, guidance: 2 });
  for (const [i, x] of second.entries()) assertAlmostEquals(x, both[48 + i]!, 1e-5);
  assert(both.every((x) => Math.abs(x) <= 2));
});

testOnDevices(
  "given continuous tokens stay, and the others are drawn as if they had been",
  async () => {
    const { model, params } = makeLively();
    const all = await sampleContinuous(model, params, sampling);
    const cells = await all.toArray() as number[][][];
    const orders = [0, 1].map((i) => Array.from(sampling.order).slice(i * 16, (i + 1) * 16));
    const given = tensor(
      orders.map((order, i) => order.slice(0, 9).map((cell) => cells[i]![cell]!)),
    );
    const known: number[] = [];
    const again = await sampleContinuous(model, params, {
      ...sampling,
      given,
      onStep: (step) => void known.push(step.known),
    });
    assertEquals(known, [5, 9, 16]);
    const wanted = await all.data();
    for (const [i, x] of (await again.data()).entries()) assertAlmostEquals(x, wanted[i]!, 1e-5);
    // Other tokens before them change the last set.
    const other = await sampleContinuous(model, params, { ...sampling, given: mul(given, -1) });
    const changed = await other.toArray() as number[][][];
    const last = orders[0]![15]!;
    assert(changed[0]![last]!.some((x, c) => Math.abs(x - cells[0]![last]![c]!) > 1e-4));
    const short = sampleContinuous(model, params, {
      ...sampling,
      given: mul(given, 1),
      key: undefined,
    });
    await assertRejects(() => short, TypeError, "expected a key");
  },
  ["reference", "wasm"],
);

testOnDevices("continuous tokens of several scales are sampled, too", async () => {
  const { model, params } = makeLively({ scales: [1, 2, 4] });
  const drawn = await sampleContinuous(model, params, {
    labels: [1],
    order: [...Array(21).keys()],
    intervals: [1, 4, 16],
    key: keyFromSeed(0),
    noiseSteps: 3,
  });
  assertEquals(drawn.shape, [1, 21, 3]);
  assert((await drawn.data()).every(Number.isFinite));
}, ["wasm"]);

Deno.test("models on continuous tokens are read back from their own text", () => {
  for (const model of [makeModel(), makeAutoencoder()]) {
    assertEquals(readModel(JSON.parse(JSON.stringify(model))), model);
  }
  assert(describe(makeModel()).includes("head.final.out.weight"));
  assert(!describe(makeModel()).includes("tok_embeddings"));
  assertThrows(() => makeModel({ dim: 18 }), RangeError, "multiple of 4");
  assertThrows(() => makeAutoencoder({ imageWidth: 9 }), RangeError, "imageWidth");
});

Deno.test("continuous tokens that do not fit are refused", () => {
  const model = makeModel();
  const inputs = continuousInputs(
    model,
    parseRecipe("random-2-random"),
    new Float32Array(48),
    [0],
    [0, 1],
  );
  const params = init(model, key(0));
  assertEquals(apply(model, params, inputs).shape, [1, 16, 16]);
  const wrong = { ...inputs, tokens: tensor([[1, 2, 3]]) };
  assertThrows(() => apply(model, params, wrong), TypeError, "expected tokens [1, M, 3]");
});
