/** The structural similarity of two images. */

/** The size of images. */
interface Size {
  readonly height: number;
  readonly width: number;
  /** Values of a pixel, side by side. */
  readonly channels: number;
}

/** Standard deviation of the Gaussian window, and its length in pixels; at most the image's. */
const deviation = 1.5, windowLength = 11;

/** Weights of a window along one axis. */
function weightsOf(length: number): Float64Array {
  const size = Math.min(windowLength, length);
  const weights = Float64Array.from(
    { length: size },
    (_, i) => Math.exp(-((i - (size - 1) / 2) ** 2) / (2 * deviation ** 2)),
  );
  const total = weights.reduce((sum, weight) => sum + weight);
  return weights.map((weight) => weight / total);
}

/**
 * The structural similarity (SSIM) of 8-bit images: local means, variances and covariance in Gaussian windows that lie
 * within the image, as a mean over places and channels.
 *
 * Source: Wang et al., "Image quality assessment: from error visibility to structural similarity" (2004), section III.B,
 * with its constants and windows.
 *
 * @param a Values 0..255 [height, width, channels].
 * @param b As many values.
 * @param size Of the images.
 * @returns At most 1, which only an image itself has.
 * @throws {TypeError} If there are more or fewer values than the size says.
 *
 * @example
 * ```ts
 * import { assert, assertEquals } from "@std/assert";
 * import { ssim } from "./ssim.ts";
 *
 * const image = Uint8Array.from({ length: 400 }, (_, i) => i % 200);
 * const size = { height: 20, width: 20, channels: 1 };
 * assertEquals(ssim(image, image, size), 1);
 * assert(ssim(image, image.map((value) => 255 - value), size) < 0);
 * ```
 */
export function ssim(a: Uint8Array, b: Uint8Array, { height, width, channels }: Size): number {
  const count = height * width * channels;
  if (a.length !== count || b.length !== count || count === 0) {
    throw new TypeError(
      `ssim: expected images of ${height}×${width}×${channels} values but found ${a.length} and ${b.length}`,
    );
  }
  const stability = [(0.01 * 255) ** 2, (0.03 * 255) ** 2] as const;
  const down = weightsOf(height), across = weightsOf(width);
  const rows = height - down.length + 1, columns = width - across.length + 1;
  let total = 0;
  for (let channel = 0; channel < channels; channel++) {
    /** Local means of what pixels give, by place. */
    const local = (value: (at: number) => number): Float64Array => {
      const lines = new Float64Array(height * columns);
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < columns; x++) {
          let sum = 0;
          for (let i = 0; i < across.length; i++) {
            sum += across[i]! * value((y * width + x + i) * channels + channel);
          }
          lines[y * columns + x] = sum;
        }
      }
      const means = new Float64Array(rows * columns);
      for (let place = 0; place < means.length; place++) {
        let sum = 0;
        for (let i = 0; i < down.length; i++) sum += down[i]! * lines[place + i * columns]!;
        means[place] = sum;
      }
      return means;
    };
    const ofA = local((at) => a[at]!), ofB = local((at) => b[at]!);
    const squaresA = local((at) => a[at]! ** 2), squaresB = local((at) => b[at]! ** 2);
    const products = local((at) => a[at]! * b[at]!);
    for (let place = 0; place < ofA.length; place++) {
      const [x, y] = [ofA[place]!, ofB[place]!];
      const variances = squaresA[place]! - x * x + squaresB[place]! - y * y;
      const covariance = products[place]! - x * y;
      total += (2 * x * y + stability[0]) * (2 * covariance + stability[1]) /
        ((x * x + y * y + stability[0]) * (variances + stability[1]));
    }
  }
  return total / (rows * columns * channels);
}
