// Resizing images as Pillow does, value for value: antialiased convolution in fixed-point arithmetic.
import type { Image } from "../../lib/formats/png.ts";

/** An image of 8-bit red, green and blue, `[height, width, 3]` in row-major order. */
export interface RgbImage extends Image {
  channels: 3;
}

/** A filter of a distance from the center, zero from `support` on. */
interface Filter {
  support: number;
  weight: (x: number) => number;
}

const FILTERS = {
  box: { support: 0.5, weight: (x) => x > -0.5 && x <= 0.5 ? 1 : 0 },
  bicubic: { support: 2, weight: (x) => cubic(Math.abs(x)) },
} satisfies Record<string, Filter>;

/** Keys' cubic convolution kernel with a = -1/2. */
function cubic(x: number): number {
  const a = -0.5;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

/** Fraction bits of a weight: 8 bits of pixel, 2 for sums beyond the range and the sign leave 22. */
const PRECISION_BITS = 22;

/** For each output, where its inputs begin and their fixed-point weights. */
type Taps = { start: number; weights: Float64Array }[];

/**
 * Resizes an image as `PIL.Image.resize` does. Downsampling stretches the filter by the scale, so
 * that it antialiases; columns are resized first, then rows, each rounded to 8 bits.
 *
 * @param image the image
 * @param width columns of the result
 * @param height rows of the result
 * @param filter `"box"` (mean of the pixels covered) or `"bicubic"` (Keys, a = -1/2)
 * @returns the resized image; the image itself if its size is the one wanted
 * @throws {RangeError} if a size is not a whole number from 1
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { resizeImage, type RgbImage } from "./resize.ts";
 *
 * const data = new Uint8Array([10, 20, 30, 20, 30, 40]);
 * const image: RgbImage = { width: 2, height: 1, channels: 3, data };
 * assertEquals(resizeImage(image, 1, 1, "box").data, new Uint8Array([15, 25, 35]));
 * ```
 */
export function resizeImage(
  image: RgbImage,
  width: number,
  height: number,
  filter: keyof typeof FILTERS,
): RgbImage {
  for (const [name, value] of Object.entries({ width, height })) {
    if (Number.isInteger(value) && value >= 1) continue;
    throw new RangeError(
      `resizeImage: expected ${name} to be a whole number of at least 1 but found ${value}`,
    );
  }
  const wide = width === image.width ? image : resizeColumns(image, width, FILTERS[filter]);
  return height === wide.height ? wide : resizeRows(wide, height, FILTERS[filter]);
}

function resizeColumns(image: RgbImage, width: number, filter: Filter): RgbImage {
  const { height, data: source } = image;
  const data = new Uint8Array(height * width * 3);
  const taps = filterTaps(image.width, width, filter);
  for (let y = 0, target = 0; y < height; y++) {
    const row = y * image.width;
    for (const { start, weights } of taps) {
      let red = 0, green = 0, blue = 0;
      for (let i = 0, at = 3 * (row + start); i < weights.length; i++, at += 3) {
        red += weights[i] * source[at];
        green += weights[i] * source[at + 1];
        blue += weights[i] * source[at + 2];
      }
      data[target++] = toByte(red);
      data[target++] = toByte(green);
      data[target++] = toByte(blue);
    }
  }
  return { width, height, channels: 3, data };
}

function resizeRows(image: RgbImage, height: number, filter: Filter): RgbImage {
  const { width, data: source } = image;
  const stride = 3 * width;
  const data = new Uint8Array(height * stride);
  const sums = new Float64Array(stride);
  filterTaps(image.height, height, filter).forEach(({ start, weights }, y) => {
    sums.fill(0);
    for (let i = 0; i < weights.length; i++) {
      const row = (start + i) * stride;
      const weight = weights[i];
      for (let x = 0; x < stride; x++) sums[x] += weight * source[row + x];
    }
    for (let x = 0; x < stride; x++) data[y * stride + x] = toByte(sums[x]);
  });
  return { width, height, channels: 3, data };
}

/** The normalized weights of the inputs of every output along one axis. */
function filterTaps(inputs: number, outputs: number, filter: Filter): Taps {
  const scale = inputs / outputs;
  const stretch = Math.max(scale, 1);
  const support = filter.support * stretch;
  return Array.from({ length: outputs }, (_, output) => {
    const center = (output + 0.5) * scale;
    const start = Math.max(Math.trunc(center - support + 0.5), 0);
    const end = Math.min(Math.trunc(center + support + 0.5), inputs);
    const weights = Float64Array.from(
      { length: end - start },
      (_, i) => filter.weight((i + start - center + 0.5) * (1 / stretch)),
    );
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return { start, weights: weights.map((weight) => fixedPoint(weight / total)) };
  });
}

function fixedPoint(weight: number): number {
  return Math.trunc(weight * 2 ** PRECISION_BITS + (weight < 0 ? -0.5 : 0.5));
}

function toByte(sum: number): number {
  return Math.min(Math.max((sum + 2 ** (PRECISION_BITS - 1)) >> PRECISION_BITS, 0), 255);
}
