import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { treeEntries } from "../../lib/tree.ts";
import { jit } from "../../lib/transforms/jit.ts";
import { valueAndGrad } from "../../lib/transforms/vjp.ts";
import { sub } from "../../ops/arithmetic.ts";
import { adamw } from "../../ops/optimizers/adamw.ts";
import { square } from "../../ops/power.ts";
import { key } from "../../ops/random.ts";
import { mean } from "../../ops/reduce.ts";
import { testOnDevices } from "../../tests/devices.ts";
import { generateShapes } from "../data/shapes.ts";
import { apply, describe, init, readModel } from "../model.ts";
import { imageBatch } from "../training/data.ts";
import { multiscaleVq, type MultiscaleVqInput, scalePresets } from "./config.ts";
import { areaWeights, bicubicWeights } from "./resize.ts";
import {
  decodeScales,
  encodeScales,
  joinScales,
  type MultiscaleVqLoss,
  multiscaleVqLoss,
  type MultiscaleVqParameters,
  splitScales,
} from "./tokenizer.ts";

const data = generateShapes({ count: 64, size: 8, classes: 4, seed: 1 });

function makeModel(config: MultiscaleVqInput = {}) {
  return multiscaleVq({
    imageHeight: 8,
    imageWidth: 8,
    encoderChannels: [8],
    decoderChannels: [8, 4],
    codes: 24,
    codeChannels: 4,
    scales: [1, 2, 4],
    refinements: 1,
    ...config,
  });
}

testOnDevices("after a short training each further scale makes the image better", async () => {
  const model = makeModel();
  let params = init(model, key(0));
  let state = adamw.init(params);
  const step = jit((p: MultiscaleVqParameters, s: typeof state, images: Tensor) => {
    const lossOf = (p: MultiscaleVqParameters): [Tensor, MultiscaleVqLoss] => {
      const found = multiscaleVqLoss(model, p, images);
      return [found.loss, found];
    };
    const [[, { reconstruction }], gradients] = valueAndGrad(lossOf, { hasAux: true })(p);
    return [reconstruction, ...adamw.update(p, gradients, s, { learningRate: 1e-2 })] as const;
  }, { donate: [0, 1] });
  const errors: number[] = [];
  for (let i = 0; i < 100; i++) {
    const images = imageBatch(data, Array.from({ length: 8 }, (_, j) => (i * 8 + j) % 64));
    const [error, p, s] = step(params, state, images);
    [params, state] = [p, s];
    if (i % 99 === 0) errors.push(await error.item());
  }
  const images = imageBatch(data, Array.from({ length: 64 }, (_, i) => i));
  const measure = jit((params: MultiscaleVqParameters, images: Tensor) => {
    const { codes } = encodeScales(model, params, images);
    return codes.map((_, scale) =>
      mean(square(sub(decodeScales(model, params, codes.slice(0, scale + 1)), images)))
    );
  });
  const byScale = await Promise.all(measure(params, images).map((error) => error.item()));
  assert(errors[1]! < errors[0]! / 4, `reconstruction ${errors}`);
  for (const [i, error] of byScale.slice(1).entries()) {
    assert(error < byScale[i]!, `errors by number of scales: ${byScale}`);
  }
}, ["wasm"]);

testOnDevices("decoding the codes of images is what reconstruction gives", async () => {
  const model = makeModel();
  const params = init(model, key(1));
  const images = imageBatch(data, [0, 1, 2]);
  const { codes } = encodeScales(model, params, images);
  const tokens = joinScales(codes);
  assertEquals(tokens.shape, [3, 21]);
  const decoded = await decodeScales(model, params, splitScales(model.scales, tokens)).data();
  const reconstructed = await apply(model, params, images).data();
  for (const [i, x] of decoded.entries()) assertAlmostEquals(x, reconstructed[i]!, 1e-5);
});

testOnDevices("each scale codes what the coarser ones leave", async () => {
  const model = makeModel({ refinements: 0 });
  const params = init(model, key(1));
  const { codes, latent, sums } = encodeScales(model, params, imageBatch(data, [0, 5]));
  const table = await params.quantize.embedding.weight.toArray() as number[][];
  const values = await latent.toArray() as number[][][][];
  const coarse = await sums[1]!.toArray() as number[][][][];
  const found = await codes[2]!.toArray() as number[][][];
  for (const [image, rows] of found.entries()) {
    for (const [y, row] of rows.entries()) {
      for (const [x, code] of row.entries()) {
        const rest = values[image]!.map((channel, c) =>
          channel[y]![x]! - coarse[image]![c]![y]![x]!
        );
        const distances = table.map((entry) =>
          entry.reduce((sum, e, c) => sum + (e - rest[c]!) ** 2, 0)
        );
        assertAlmostEquals(distances[code]!, Math.min(...distances), 1e-6);
      }
    }
  }
}, ["reference", "wasm"]);

testOnDevices("the loss moves encoder, codes, refinement and decoder", async () => {
  const model = makeModel();
  const images = imageBatch(data, [0, 1]);
  const [, gradients] = valueAndGrad((params: MultiscaleVqParameters) =>
    multiscaleVqLoss(model, params, images).loss
  )(init(model, key(2)));
  for (const [path, gradient] of treeEntries(gradients)) {
    const numbers = Array.from(await (gradient as Tensor).data());
    assert(numbers.some((x) => x !== 0) && numbers.every(Number.isFinite), path);
  }
}, ["reference"]);

testOnDevices("the refinement's gradient is that of finite differences", async () => {
  const model = makeModel();
  const params = init(model, key(2));
  const images = imageBatch(data, [0, 1]);
  const { codes, latent } = encodeScales(model, params, images);
  // The codes stay as they are: the loss is not differentiable where they change.
  const at = (bias: Tensor) =>
    mean(square(sub(
      decodeScales(model, { ...params, refine: [{ ...params.refine[0]!, bias }] }, codes),
      mean(latent),
    )));
  const bias = Array.from(await params.refine[0]!.bias.data());
  const [, gradient] = valueAndGrad(at)(tensor(bias));
  const found = await gradient.data();
  for (const [i, x] of bias.entries()) {
    const moved = (step: number) => at(tensor(bias.with(i, x + step))).item();
    const wanted = (await moved(1e-2) - await moved(-1e-2)) / 2e-2;
    assertAlmostEquals(found[i]!, wanted, 2e-4);
  }
}, ["reference"]);

Deno.test("weights of areas and of bicubic enlargement keep what is constant", () => {
  assertEquals(areaWeights(4, 2), [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]);
  for (const weights of [areaWeights(7, 4), bicubicWeights(3, 7), bicubicWeights(1, 4)]) {
    for (const row of weights) assertAlmostEquals(row.reduce((sum, x) => sum + x, 0), 1, 1e-12);
  }
  assertEquals(bicubicWeights(4, 4)[2], [0, 0, 1, 0]);
});

Deno.test("scales that do not fit the encoder, and codes of another size, are refused", () => {
  assertThrows(() => makeModel({ scales: [1, 2] }), RangeError, "last scale to be 4");
  assertThrows(() => makeModel({ scales: [2, 1, 4] }), RangeError, "increasing scales");
  assertThrows(() => makeModel({ imageWidth: 16 }), RangeError, "square token grid");
  assertThrows(() => makeModel({ decoderChannels: [4] }), RangeError, "decoderChannels");
  const model = makeModel();
  const params = init(model, key(0));
  const codes = tensor([[[1, 2], [3, 4]]], { dtype: "i32" });
  assertThrows(() => decodeScales(model, params, [codes]), TypeError, "shape [B, 1, 1]");
  assertThrows(() => decodeScales(model, params, []), RangeError, "1 to 3 scales");
});

Deno.test("a multi-scale tokenizer is read back from its own text", () => {
  const model = makeModel();
  assertEquals(readModel(JSON.parse(JSON.stringify(model))), model);
  assert(describe(model).includes("refine.*.weight"));
});

Deno.test("the scales of VAR suit images of 256 and 512 pixels", () => {
  for (const [name, scales] of Object.entries(scalePresets)) {
    const side = Number(name.split("-")[1]);
    const { codes } = multiscaleVq({
      imageHeight: side,
      imageWidth: side,
      encoderChannels: [8, 8, 8, 8],
      decoderChannels: [8, 8, 8, 8, 8],
      codes: 4096,
      scales: [...scales],
    });
    assertEquals(codes, 4096);
  }
  const tokens = scalePresets["VAR-256"].reduce((sum: number, side) => sum + side * side, 0);
  assertEquals(tokens, 680);
});
