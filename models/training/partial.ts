/** Looking at images while they are being sampled: what is known of them is decoded, the rest is gray. */
import type { Image } from "../../lib/formats/png.ts";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { tokenCount } from "../fmt/config.ts";
import type { PartialTokens } from "../kinds/model.ts";
import { type TokenLayout, wholeScales } from "../kinds/tokenizer.ts";

/** Middle gray, for what is not known. */
const gray = 128;

/**
 * The tokens of images that are to be decoded: all of them, or of several scales those that are complete, but at least
 * the first.
 *
 * @param partial Tokens of B images, some of them not known.
 * @param layout Their grids.
 * @returns Codes i32 [B, n] or vectors f32 [B, n, channels].
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tokensToDecode } from "./partial.ts";
 *
 * const grid = { height: 2, width: 2 };
 * const layout = { grid, scales: [1, 2], values: { kind: "codes", vocabulary: 9 } } as const;
 * const partial = { values: Int32Array.of(5, 6, 0, 0, 0), known: Uint8Array.of(1, 1, 0, 0, 0) };
 * assertEquals(await tokensToDecode(partial, layout).toArray(), [[5]]);
 * ```
 */
export function tokensToDecode(partial: PartialTokens, layout: TokenLayout): Tensor {
  const { values } = layout;
  const count = tokenCount(layout);
  const images = partial.known.length / count;
  const each = values.kind === "codes" ? 1 : values.channels;
  const taken = layout.scales.length === 0
    ? count
    : completeScales(partial, layout).reduce((sum, side) => sum + side * side, 0) || 1;
  const chosen = partial.values.filter((_, i) => Math.floor(i / each) % count < taken);
  const shape = values.kind === "codes" ? [images, taken] : [images, taken, each];
  return tensor(chosen, { shape });
}

/** The scales of which all tokens of all images are known. */
function completeScales({ known }: PartialTokens, layout: TokenLayout): number[] {
  const count = tokenCount(layout);
  const missing = known.findIndex((isKnown, i) => !isKnown && i < count);
  return wholeScales(layout.scales, missing < 0 ? count : missing);
}

/**
 * Decoded images, gray where their tokens are not known; of several scales, all gray until the first is complete.
 *
 * @param images B images.
 * @param partial Their tokens.
 * @param layout The grids of the tokens.
 * @returns The images, painted.
 */
export function paintUnknown(
  images: readonly Image[],
  partial: PartialTokens,
  layout: TokenLayout,
): Image[] {
  const { grid: { height: rows, width: columns }, scales } = layout;
  const count = tokenCount(layout);
  const isCoarse = scales.length > 0 && completeScales(partial, layout).length > 0;
  return images.map((image, i) => {
    const { width, height, channels } = image;
    const isKnown = (x: number, y: number) => {
      if (scales.length > 0) return isCoarse;
      const cell = Math.floor(y * rows / height) * columns + Math.floor(x * columns / width);
      return partial.known[i * count + cell] === 1;
    };
    const data = image.data.map((value, at) => {
      const pixel = Math.floor(at / channels);
      return isKnown(pixel % width, Math.floor(pixel / width)) ? value : gray;
    });
    return { ...image, data };
  });
}
