/** Tests of the small tokenizer: shapes, the codes it chooses, and how gradients pass them. */
import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { openDevice } from "../../lib/device.ts";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { treeEntries } from "../../lib/tree.ts";
import { jit } from "../../lib/transforms/jit.ts";
import { grad, valueAndGrad } from "../../lib/transforms/vjp.ts";
import { zeros } from "../../ops/create.ts";
import { adamw } from "../../ops/optimizers/adamw.ts";
import { key } from "../../ops/random.ts";
import { apply, init } from "../model.ts";
import { generateShapes } from "../data/shapes.ts";
import { imageBatch } from "../training/data.ts";
import { vqTokenizer } from "./config.ts";
import { decodeCodes, encodeImages, vqLoss, type VqParameters } from "./vq.ts";

const model = vqTokenizer({
  imageHeight: 8,
  imageWidth: 12,
  encoderChannels: [6, 4],
  decoderChannels: [4, 6, 3],
  codes: 10,
  codeChannels: 4,
});

async function setUp() {
  await openDevice("reference");
  const images = tensor(Float32Array.from({ length: 2 * 96 }, (_, i) => Math.sin(i * i)), {
    shape: [2, 1, 8, 12],
  });
  return { params: init(model, key(1)), images };
}

Deno.test("decoding the codes of images is what reconstruction gives", async () => {
  const { params, images } = await setUp();
  const { codes } = encodeImages(model, params, images);
  assertEquals([codes.dtype, codes.shape], ["i32", [2, 2, 3]]);
  const decoded = await decodeCodes(model, params, codes).data();
  const reconstructed = await apply(model, params, images).data();
  decoded.forEach((value, i) => assertAlmostEquals(value, reconstructed[i]!, 1e-5));
});

Deno.test("the reconstruction moves the encoder straight through, but no code", async () => {
  const { params, images } = await setUp();
  const gradients = grad((p: VqParameters) => vqLoss(model, p, images).reconstruction)(params);
  for (const [path, gradient] of treeEntries(gradients)) {
    const largest = Math.max(...(await gradient.data()).map(Math.abs));
    assertEquals(largest > 0, path !== "quantize.embedding.weight", path);
  }
});

Deno.test("the codebook's loss moves the codes only", async () => {
  const { params, images } = await setUp();
  const gradients = grad((p: VqParameters) => vqLoss(model, p, images).codebook)(params);
  for (const [path, gradient] of treeEntries(gradients)) {
    const largest = Math.max(...(await gradient.data()).map(Math.abs));
    assertEquals(largest > 0, path === "quantize.embedding.weight", path);
  }
});

Deno.test("training makes the reconstruction better", async () => {
  await openDevice("reference");
  const tiny = vqTokenizer({
    imageHeight: 6,
    imageWidth: 6,
    encoderChannels: [6],
    decoderChannels: [6, 4],
    codes: 8,
    codeChannels: 3,
  });
  const data = generateShapes({ count: 8, size: 6, classes: 2, seed: 0 });
  const images = imageBatch(data, [0, 1, 2, 3, 4, 5, 6, 7]);
  let params = init(tiny, key(0));
  let state = adamw.init(params);
  const step = jit((p: VqParameters, s: typeof state, images: Tensor) => {
    const [{ 1: reconstruction }, gradients] = valueAndGrad((p: VqParameters) => {
      const { loss, reconstruction } = vqLoss(tiny, p, images);
      return [loss, reconstruction] as const;
    }, { hasAux: true })(p);
    return [reconstruction, ...adamw.update(p, gradients, s, { learningRate: 1e-2 })] as const;
  }, { donate: [0, 1] });
  const errors: number[] = [];
  for (let i = 0; i < 30; i++) {
    const [error, p, s] = step(params, state, images);
    [params, state] = [p, s];
    errors.push(await error.item());
  }
  assert(errors.at(-1)! < errors[0]! / 2, `${errors[0]} -> ${errors.at(-1)}`);
});

Deno.test("images of another size, and sizes that do not halve, are refused", async () => {
  const { params } = await setUp();
  assertThrows(
    () => encodeImages(model, params, zeros([1, 1, 8, 8])),
    TypeError,
    "expected images [B, 1, 8, 12] but found shape [1, 1, 8, 8]",
  );
  assertThrows(() => vqTokenizer({ imageHeight: 30 }), RangeError, "multiple of 4");
  assertThrows(() => vqTokenizer({ decoderChannels: [8] }), RangeError, "expected 3 numbers");
});
