/** Trained tokenizers, whichever kind they are, as functions from pixels to codes. */
import { imageSizeOf } from "./config/data.ts";
import { sequenceGrid } from "./fmt/config.ts";
import { type Tokenizer, tokenLayout } from "./kinds/tokenizer.ts";
import { findLlamagenModel } from "./llamagen/convert.ts";
import { llamagenVqParameters } from "./llamagen/vq.ts";
import { pixelsPerCode } from "./llamagen/vq_config.ts";
import { loadParameters, openWeights } from "./llamagen/weights.ts";
import { type ParametersOf, parametersOf } from "./model.ts";
import { loadWeights } from "./training/checkpoints.ts";
import { readRunConfig } from "./training/run.ts";
import { encoderOf } from "./training/tokens.ts";

/** A trained tokenizer. */
export interface TrainedTokenizer {
  /** Number of different codes. */
  readonly vocabulary: number;
  /** Rows and columns of pixels of its images, if they are of one size only. */
  readonly size?: number;
  /**
   * The grid of codes that an image becomes; those of several scales are one row.
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
 * @throws {Error} If there is none, or its tokens are no codes.
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
  const { height, channels, width } = imageSizeOf(data);
  const { values, ...grids } = tokenLayout(model, { height, width, channels });
  if (values.kind !== "codes") {
    throw new Error(`openTokenizer: expected codes in ${folder} but found ${model.kind}`);
  }
  const grid = sequenceGrid(grids);
  const params = await loadWeights(folder, "tokenizer", parametersOf(model));
  const encode = encoderOf(model, params as ParametersOf<Tokenizer>);
  return {
    vocabulary: values.vocabulary,
    size: height,
    gridOf(size) {
      if (size === height) return [grid.height, grid.width];
      throw new RangeError(`openTokenizer: expected images of ${height} but found ${size}`);
    },
    async encode(images, count) {
      const pixels = channels === 1 ? toGray(images, count) : images;
      return await encode(pixels, [count, channels, height, width]) as Int32Array;
    },
  };
}

async function ofLlamagen(path: string): Promise<TrainedTokenizer> {
  await using file = await openWeights(path);
  const model = findLlamagenModel(file.entries);
  if (model?.kind !== "llamagen-vq") {
    throw new Error(`openTokenizer: expected ${path} to hold a tokenizer of LlamaGen's`);
  }
  const params = await loadParameters(llamagenVqParameters(model), path);
  const encode = encoderOf(model, params);
  const factor = pixelsPerCode(model);
  return {
    vocabulary: model.codes,
    gridOf(size) {
      if (size % factor === 0) return [size / factor, size / factor];
      throw new RangeError(
        `openTokenizer: expected a size that is a multiple of ${factor} but found ${size}`,
      );
    },
    async encode(images, count) {
      const size = Math.sqrt(images.length / count / 3);
      return await encode(images, [count, 3, size, size]) as Int32Array;
    },
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
