import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { keyFromSeed } from "../../lib/random/threefry.ts";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { jit } from "../../lib/transforms/jit.ts";
import { valueAndGrad } from "../../lib/transforms/vjp.ts";
import { mul } from "../../ops/arithmetic.ts";
import { normal } from "../../ops/distributions.ts";
import { adamw } from "../../ops/optimizers/adamw.ts";
import { key } from "../../ops/random.ts";
import { testOnDevices } from "../../tests/devices.ts";
import { generateShapes } from "../data/shapes.ts";
import { fmt, type FmtInput, sequenceGrid, tokenCount } from "../fmt/config.ts";
import { fmtInputs, fmtLogits, fmtLoss, type FmtTrainingInputs } from "../fmt/fmt.ts";
import type { FmtParameters } from "../fmt/network.ts";
import { sample } from "../fmt/sample.ts";
import { describe, init } from "../model.ts";
import { makeTrainingBatch } from "../sar/batch.ts";
import { visibleCounts } from "../sar/masks.ts";
import { drawSampling } from "../sar/sampling.ts";
import { imageBatch } from "../training/data.ts";
import { multiscaleVq } from "./config.ts";
import { scaleRecipe } from "./recipe.ts";
import { decodeScales, encodeScales, joinScales, splitScales } from "./tokenizer.ts";

const scales = [1, 2, 4];
const count = 21;

function makeModel(config: FmtInput = {}) {
  return fmt({
    grid: { height: 4, width: 4 },
    scales,
    dim: 16,
    heads: 2,
    encoderLayers: 1,
    decoderLayers: 1,
    vocabulary: 24,
    classes: 4,
    ffnMultiple: 8,
    embeddingDropout: 0,
    residualDropout: 0,
    ffnDropout: 0,
    ...config,
  });
}

testOnDevices(
  "a model over scales learns a tokenizer's codes, is sampled and decoded",
  async () => {
    const tokenizer = multiscaleVq({
      imageHeight: 8,
      imageWidth: 8,
      encoderChannels: [8],
      decoderChannels: [8, 4],
      codes: 24,
      codeChannels: 4,
      scales,
      refinements: 0,
    });
    const vq = init(tokenizer, key(0));
    const data = generateShapes({ count: 32, size: 8, classes: 4, seed: 1 });
    const all = imageBatch(data, Array.from({ length: 32 }, (_, i) => i));
    const tokens = Array.from(await joinScales(encodeScales(tokenizer, vq, all).codes).data());

    const model = makeModel();
    const recipe = scaleRecipe(scales);
    let params = init(model, key(1));
    let state = adamw.init(params);
    const step = jit((p: FmtParameters, s: typeof state, inputs: FmtTrainingInputs) => {
      const [loss, gradients] = valueAndGrad((p: FmtParameters) => fmtLoss(model, p, inputs))(p);
      return [loss, ...adamw.update(p, gradients, s, { learningRate: 1e-2 })] as const;
    }, { donate: [0, 1] });
    const losses: number[] = [];
    for (let i = 0; i < 60; i++) {
      const first = i * 8 % 32;
      const chosen = tokens.slice(first * count, (first + 8) * count);
      const batch = makeTrainingBatch(recipe, sequenceGrid(model), chosen, [0, i]);
      const labels = data.labels.slice(first, first + 8);
      const [loss, p, s] = step(params, state, fmtInputs(batch, labels));
      [params, state] = [p, s];
      if (i % 59 === 0) losses.push(await loss.item());
    }
    assertEquals(step.traces, 1);
    assertAlmostEquals(losses[0]!, Math.log(24), 1e-5);
    assert(losses[1]! < 0.6 * losses[0]!, `losses ${losses}`);

    const sets: number[] = [];
    const drawn = await sample(model, params, {
      labels: [0, 1],
      ...drawSampling(recipe, sequenceGrid(model), keyFromSeed(3), 2),
      guidance: 1.5,
      onStep: ({ known }) => void sets.push(known),
    });
    assertEquals(sets, [1, 5, 21]);
    const images = decodeScales(tokenizer, vq, splitScales(scales, drawn));
    assertEquals(images.shape, [2, 1, 8, 8]);
    assert((await images.data()).every(Number.isFinite));
  },
  ["wasm"],
);

testOnDevices("cached logits of scales are those of the whole sequence at once", async () => {
  for (const queryPosition of ["sincos", "learned", "none"] as const) {
    const model = makeModel({ queryPosition, initScale: 0.1 });
    const params = {
      ...init(model, key(1)),
      output: { weight: mul(normal(key(2), [24, 16]), 0.3) },
    };
    const { order, intervals } = drawSampling(
      scaleRecipe(scales),
      sequenceGrid(model),
      keyFromSeed(0),
      2,
    );
    const found: Tensor[] = [];
    const tokens = await sample(model, params, {
      labels: [0, 3],
      order,
      intervals,
      greedy: true,
      keepLogits: true,
      onStep: ({ logits }) => void found.push(logits!.raw),
    });
    const visible = visibleCounts(intervals);
    const row = (data: Int32Array) => tensor(data, { shape: [1, data.length] });
    const sequence = await tokens.toArray() as number[][];
    const whole = await fmtLogits(model, params, {
      labels: tensor([0, 3], { dtype: "i32" }),
      tokens: tensor(sequence.map((tokens) => tokens.slice(0, 5)), { dtype: "i32" }),
      positions: row(order),
      encoderVisible: row(visible.encoder),
      decoderVisible: row(visible.decoder),
      crossVisible: row(visible.cross),
    }).toArray() as number[][][];
    let first = 0;
    for (const [set, logits] of found.entries()) {
      const values = await logits.toArray() as number[][][];
      for (const [image, rows] of values.entries()) {
        for (const [i, row] of rows.entries()) {
          for (const [v, x] of row.entries()) {
            assertAlmostEquals(x, whole[image]![first + i]![v]!, 1e-5, `set ${set}`);
          }
        }
      }
      first += intervals[set]!;
    }
  }
}, ["reference", "wasm"]);

testOnDevices(
  "cells of different scales at the same place are told apart by their scale",
  async () => {
    // Of odd scales, the middle cells of all lie at one place.
    const model = makeModel({ grid: { height: 3, width: 3 }, scales: [1, 3] });
    const base = init(model, key(1));
    const params = { ...base, output: { weight: normal(key(2), [24, 16]) } };
    const inputs = {
      labels: tensor([0], { dtype: "i32" }),
      tokens: tensor(new Int32Array(0), { shape: [1, 0] }),
      positions: tensor([[...Array(10).keys()]], { dtype: "i32" }),
      encoderVisible: tensor([[1]], { dtype: "i32" }),
      decoderVisible: tensor([new Array(10).fill(10)], { dtype: "i32" }),
      crossVisible: tensor([new Array(10).fill(1)], { dtype: "i32" }),
    };
    const rows = await fmtLogits(model, params, inputs).toArray() as number[][][];
    assert(rows[0]![0]!.some((x, i) => Math.abs(x - rows[0]![5]![i]!) > 1e-3));
    const blind = { ...params, level_embedding: { weight: mul(base.level_embedding!.weight, 0) } };
    const same = await fmtLogits(model, blind, inputs).toArray() as number[][][];
    for (const [i, x] of same[0]![0]!.entries()) assertAlmostEquals(x, same[0]![5]![i]!, 1e-5);
  },
  ["reference"],
);

Deno.test("scales have their own number of tokens, and must end with the grid", () => {
  const model = makeModel();
  assertEquals(tokenCount(model), count);
  assertEquals(sequenceGrid(model), { height: 1, width: count });
  assertEquals(sequenceGrid(fmt({})), { height: 16, width: 16 });
  assert(describe(model).includes("level_embedding.weight"));
  assert(!describe(fmt({})).includes("level_embedding"));
  assertThrows(() => makeModel({ scales: [1, 2] }), RangeError, "scales");
  assertThrows(() => makeModel({ scales: [2, 2, 4] }), RangeError, "increasing");
});
