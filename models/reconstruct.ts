/** Trained tokenizers of any kind as functions from images to what they give back of them. */
import { type Tensor, tensor } from "../lib/tensor.ts";
import { jit } from "../lib/transforms/jit.ts";
import { imageSizeOf } from "./config/data.ts";
import type { Pixels } from "./evaluation/images.ts";
import { reconstruct } from "./kinds/reconstruct.ts";
import { type Tokenizer, tokenizerKind } from "./kinds/tokenizer.ts";
import { findLlamagenModel } from "./llamagen/convert.ts";
import { openWeights, readParameters } from "./llamagen/weights.ts";
import { type ParametersOf, parametersOf } from "./model.ts";
import { loadWeights } from "./training/checkpoints.ts";
import { readRunConfig } from "./training/run.ts";

/** A tokenizer that gives images back. */
export interface Reconstructor {
  /** Number of different codes; none if tokens are no codes. */
  readonly vocabulary?: number;
  /**
   * Encodes and decodes images.
   *
   * @param images RGB images; a tokenizer of gray ones sees the mean of their channels.
   * @returns RGB values 0..255 in the same order, and the codes of all images if there are any.
   * @throws {RangeError} If images of this size have no whole tokens.
   */
  reconstruct(images: Pixels): Promise<{ data: Uint8Array; codes?: Int32Array }>;
}

/**
 * Opens a tokenizer for reconstructions.
 *
 * @param path The folder of a run, or a file of LlamaGen's VQ weights (`.safetensors` or `.pt`).
 * @returns The tokenizer.
 * @throws {Error} If there is none.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice } from "../lib/device.ts";
 * import { openReconstructor } from "./reconstruct.ts";
 *
 * await openDevice("wasm");
 * const weights = new URL("../tests/fixtures/llamagen_vq/weights.safetensors", import.meta.url);
 * const tokenizer = await openReconstructor(weights.pathname);
 * const images = { count: 1, height: 8, width: 8, data: new Uint8Array(192) };
 * const { data, codes } = await tokenizer.reconstruct(images);
 * assertEquals([data.length, codes!.length], [192, 16]);
 * ```
 */
export async function openReconstructor(path: string): Promise<Reconstructor> {
  if ((await Deno.stat(path)).isDirectory) {
    const { tokenizer, data } = await readRunConfig(path);
    const params = await loadWeights(path, "tokenizer", parametersOf(tokenizer));
    return reconstructor(tokenizer, params as ParametersOf<Tokenizer>, imageSizeOf(data).channels);
  }
  await using file = await openWeights(path);
  const model = findLlamagenModel(file.entries);
  if (model?.kind !== "llamagen-vq") {
    throw new Error(`openReconstructor: expected ${path} to hold a tokenizer of LlamaGen's`);
  }
  const params = await readParameters(parametersOf(model), file, { source: path });
  return reconstructor(model, params as ParametersOf<Tokenizer>, 3);
}

/**
 * A tokenizer as a function from images to what it gives back. Smaller batches are filled up to the largest so far, so
 * that the last one compiles no other program.
 *
 * @param model The tokenizer.
 * @param params Its parameters.
 * @param channels Values of a pixel of its images: 1 or 3.
 * @returns The function.
 */
export function reconstructor(
  model: Tokenizer,
  params: ParametersOf<Tokenizer>,
  channels: number,
): Reconstructor {
  const run = jit((p: ParametersOf<Tokenizer>, images: Tensor) => reconstruct(model, p, images));
  const values = tokenizerKind(model).values(model as never);
  let largest = 0;
  return {
    ...(values.kind === "codes" ? { vocabulary: values.vocabulary } : {}),
    async reconstruct({ count, height, width, data }) {
      largest = Math.max(largest, count);
      const pixels = height * width;
      const inputs = new Float32Array(largest * channels * pixels);
      for (let at = 0; at < count * pixels; at++) {
        const image = Math.floor(at / pixels), pixel = at % pixels;
        const colors = data.subarray(3 * at, 3 * at + 3);
        for (let channel = 0; channel < channels; channel++) {
          const value = channels === 3
            ? colors[channel]!
            : (colors[0]! + colors[1]! + colors[2]!) / 3;
          inputs[(image * channels + channel) * pixels + pixel] = value / 127.5 - 1;
        }
      }
      const shape = [largest, channels, height, width];
      const { images, tokens } = run(params, tensor(inputs, { shape }));
      const [found, codes] = [await images.data(), await tokens.data()];
      images.dispose();
      tokens.dispose();
      const bytes = Uint8ClampedArray.from({ length: 3 * count * pixels }, (_, i) => {
        const image = Math.floor(i / (3 * pixels)), pixel = Math.floor(i / 3) % pixels;
        return (found[(image * channels + i % 3 % channels) * pixels + pixel]! + 1) * 127.5;
      });
      return {
        data: new Uint8Array(bytes.buffer),
        ...(codes instanceof Int32Array
          ? { codes: codes.subarray(0, codes.length / largest * count) }
          : {}),
      };
    },
  };
}
