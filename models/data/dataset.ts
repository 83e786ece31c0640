// What a dataset of labeled images is, and the order in which training goes through one.
import { foldIn, keyFromSeed, permutation } from "../../lib/random/threefry.ts";

/** Gray images of one size with a class each. */
export interface ImageDataset {
  /** Pixels 0..255, `[count, height, width]` in row-major order. */
  images: Uint8Array;
  /** The class of each image, `[count]`, in 0..classes-1. */
  labels: Uint8Array;
  /** Number of images. */
  count: number;
  /** Rows of pixels of an image. */
  height: number;
  /** Columns of pixels of an image. */
  width: number;
  /** Number of classes. */
  classes: number;
}

/**
 * The order in which an epoch goes through a dataset: a permutation that follows from the seed and
 * the epoch alone (drawn with Threefry under the seed's key folded with the epoch), so that training
 * resumes anywhere without going through what lies before.
 *
 * @param count number of examples
 * @param seed a whole number in 0..2^53-1
 * @param epoch number of the epoch, from 0
 * @returns the indices of the examples in their order, `[count]`
 * @throws {RangeError} if an argument is not a whole number in its range
 *
 * @example
 * ```ts
 * import { assertEquals, assertNotEquals } from "@std/assert";
 * import { epochOrder } from "./dataset.ts";
 *
 * const order = epochOrder(5, 1, 0);
 * assertEquals(order.toSorted(), new Uint32Array([0, 1, 2, 3, 4]));
 * assertEquals(epochOrder(5, 1, 0), order);
 * assertNotEquals(epochOrder(5, 1, 1), order);
 * ```
 */
export function epochOrder(count: number, seed: number, epoch: number): Uint32Array<ArrayBuffer> {
  for (const [name, value] of Object.entries({ count, epoch })) {
    if (Number.isInteger(value) && value >= 0 && value < 2 ** 31) continue;
    throw new RangeError(
      `epochOrder: expected ${name} to be a whole number in 0..2^31-1 but found ${value}`,
    );
  }
  return Uint32Array.from(permutation(foldIn(keyFromSeed(seed), epoch), count));
}
