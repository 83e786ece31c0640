/** Trained tokenizers, whichever kind they are, as functions from pixels to codes. */
import { type Tensor, tensor } from "../lib/tensor.ts";
import { jit } from "../lib/transforms/jit.ts";
import { imageSizeOf } from "./config/data.ts";
import { type Tokenizer, tokenizerKind, tokenLayout } from "./kinds/tokenizer.ts";
import { findLlamagenModel } from "./llamagen/convert.ts";
import { encodeLlamagenImages, llamagenVqParameters } from "./llamagen/vq.ts";
import { pixelsPerCode } from "./llamagen/vq_config.ts";
import { loadParameters, openWeights } from "./llamagen/weights.ts";
import { loadWeights } from "./training/checkpoints.ts";
import { type ParametersOf, parametersOf } from "./model.ts";
import { readRunConfig } from "./training/run.ts";

/** A trained tokenizer. */
export interface TrainedTokenizer {
  /** Number of different codes. */
  readonly vocabulary: number;
  /** Rows and columns of pixels of its images, if they are of one size only. */
  readonly size?: number;
  /**
   * The grid of codes that an image becomes.
   *
   * @param size Rows and columns of pixels.
   * @returns Rows and columns of codes.
   * @throws {RangeError} If images of this size cannot be encoded.
   */
  gridOf(size: number): readonly [rows: number, columns: number];
  /**
   * Encodes images.
   *
   * @param images RGB in -1..1 [count, 3, size, size].
   * @param count Number of images.
   * @returns Codes [count, N].
   */
  encode(images: Float32Array<ArrayBuffer>, count: number): Promise<Int32Array>;
}

/**
 * Opens a trained tokenizer.
 *
 * @param path The folder of a run, or a file of LlamaGen's VQ weights (`.safetensors` or `.pt`).
 * @returns The tokenizer.
 * @throws {Error} If there is none, or one for other than square images.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice } from "../lib/device.ts";
 * import { openTokenizer } from "./tokenizer.ts";
 *
 * await openDevice("wasm");
 * const weights = new URL("../tests/fixtures/llamagen_vq/weights.safetensors", import.meta.url);
 * const tokenizer = await openTokenizer(weights.pathname);
 * assertEquals([tokenizer.vocabulary, tokenizer.gridOf(8)], [64, [4, 4]]);
 * assertEquals((await tokenizer.encode(new Float32Array(3 * 64), 1)).length, 16);
 * ```
 */
export async function openTokenizer(path: string): Promise<TrainedTokenizer> {
  return (await Deno.stat(path)).isDirectory ? await ofRun(path) : await ofLlamagen(path);
}

async function ofRun(folder: string): Promise<TrainedTokenizer> {
  const { tokenizer: model, data } = await readRunConfig(folder);
  const { height, width, channels } = imageSizeOf(data);
  if (height !== width) {
    throw new Error(
      `openTokenizer: expected square images in ${folder} but found ${height}×${width}`,
    );
  }
  const { grid, scales, values } = tokenLayout(model, { height, width, channels });
  if (values.kind !== "codes" || scales.length > 0) {
    throw new Error(
      `openTokenizer: expected a tokenizer with one grid of codes in ${folder} but found ${model.kind}`,
    );
  }
  const kind = tokenizerKind(model);
  const params = await loadWeights(folder, "tokenizer", parametersOf(model));
  const encode = jit((p: ParametersOf<Tokenizer>, images: Tensor) => kind.encode(model, p, images));
  const run = inEqualBatches(
    (images) => encode(params as ParametersOf<Tokenizer>, images),
    channels,
  );
  return {
    vocabulary: values.vocabulary,
    size: height,
    gridOf(size) {
      if (size === height) return [grid.height, grid.width];
      throw new RangeError(`openTokenizer: expected images of ${height} but found ${size}`);
    },
    encode: (images, count) => run(channels === 1 ? toGray(images, count) : images, count),
  };
}

async function ofLlamagen(path: string): Promise<TrainedTokenizer> {
  await using file = await openWeights(path);
  const model = findLlamagenModel(file.entries);
  if (model?.kind !== "llamagen-vq") {
    throw new Error(`openTokenizer: expected ${path} to hold a tokenizer of LlamaGen's`);
  }
  const params = await loadParameters(llamagenVqParameters(model), path);
  const encode = jit((p: typeof params, images: Tensor) =>
    encodeLlamagenImages(model, p, images).codes
  );
  const factor = pixelsPerCode(model);
  const run = inEqualBatches((images) => encode(params, images), 3);
  return {
    vocabulary: model.codes,
    gridOf(size) {
      if (size % factor === 0) return [size / factor, size / factor];
      throw new RangeError(
        `openTokenizer: expected a size that is a multiple of ${factor} but found ${size}`,
      );
    },
    encode: run,
  };
}

/** Square images in batches that are filled up to the largest so far: a smaller last one compiles no other program. */
function inEqualBatches(
  encode: (images: Tensor) => Tensor,
  channels: number,
): TrainedTokenizer["encode"] {
  let largest = 0;
  return async (images, count) => {
    largest = Math.max(largest, count);
    const each = images.length / count;
    const size = Math.sqrt(each / channels);
    const filled = new Float32Array(largest * each);
    filled.set(images);
    const codes = encode(tensor(filled, { shape: [largest, channels, size, size] }));
    const data = await codes.data() as Int32Array;
    codes.dispose();
    return data.subarray(0, data.length / largest * count);
  };
}

/** RGB images as gray ones (Rec. 601), in the same range. */
function toGray(images: Float32Array, count: number): Float32Array<ArrayBuffer> {
  const pixels = images.length / (3 * count);
  return Float32Array.from({ length: count * pixels }, (_, i) => {
    const red = Math.floor(i / pixels) * 3 * pixels + i % pixels;
    return 0.299 * images[red]! + 0.587 * images[red + pixels]! + 0.114 * images[red + 2 * pixels]!;
  });
}
