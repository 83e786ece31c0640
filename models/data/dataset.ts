// What a dataset of labeled images is, and the order in which training goes through one.
import { foldIn, keyFromSeed, permutation } from "../../lib/random/threefry.ts";

/** Images of one size with a class each. */
export interface ImageDataset {
  /** Pixels 0..255, `[count, height, width, channels]` in row-major order. */
  images: Uint8Array;
  /** The class of each image, `[count]`, in 0..classes-1. */
  labels: Uint8Array;
  /** Number of images. */
  count: number;
  /** Rows of pixels of an image. */
  height: number;
  /** Columns of pixels of an image. */
  width: number;
  /** Values of a pixel: 1 for gray (the default), 3 for RGB. */
  channels?: number;
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

/** A place in the sequence of examples that training goes through. */
export interface DataPosition {
  /** Number of the epoch, from 0. */
  epoch: number;
  /** Place in the order of the epoch, from 0. */
  place: number;
}

/** An example and its place in the sequence of all. */
export interface Example extends DataPosition {
  /** Number of the example in its dataset. */
  index: number;
}

/** The order in which training goes through a dataset. */
export interface ExampleOrder {
  /** What the orders of the epochs follow from. */
  seed: number;
  /** Whether every epoch has an order of its own; otherwise each is 0, 1, 2, … */
  shuffle: boolean;
  /** Number of the epoch to end before; may be `Infinity`. */
  epochs: number;
  /** The first place. */
  start: DataPosition;
}

/**
 * The sequence of examples that training goes through, epoch after epoch.
 *
 * @param count number of examples of the dataset, at least 1
 * @param order seed, shuffling, end and start
 * @returns the examples with their places
 * @throws {RangeError} if an argument is out of range
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { examples } from "./dataset.ts";
 *
 * const order = { seed: 0, shuffle: false, epochs: 2, start: { epoch: 0, place: 1 } };
 * assertEquals([...examples(2, order)].map(({ index }) => index), [1, 0, 1]);
 * ```
 */
export function* examples(
  count: number,
  { seed, shuffle, epochs, start }: ExampleOrder,
): Generator<Example, void, void> {
  const wanted = {
    count: [count, 1],
    epochs: [epochs, 0],
    epoch: [start.epoch, 0],
    place: [start.place, 0],
  } as const;
  for (const [name, [value, least]] of Object.entries(wanted)) {
    const isWhole = Number.isInteger(value) || (name === "epochs" && value === Infinity);
    if (isWhole && value >= least) continue;
    throw new RangeError(
      `examples: expected ${name} to be a whole number of at least ${least} but found ${value}`,
    );
  }
  if (start.place >= count) {
    throw new RangeError(
      `examples: expected place to be less than the ${count} examples but found ${start.place}`,
    );
  }
  let { place } = start;
  for (let { epoch } = start; epoch < epochs; epoch++, place = 0) {
    const order = shuffle ? epochOrder(count, seed, epoch) : undefined;
    for (; place < count; place++) yield { epoch, place, index: order?.[place] ?? place };
  }
}

/**
 * The place after another one, at the end of an epoch the beginning of the next.
 *
 * @param position a place
 * @param count number of examples of the dataset
 * @returns the next place
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { positionAfter } from "./dataset.ts";
 *
 * assertEquals(positionAfter({ epoch: 0, place: 4 }, 5), { epoch: 1, place: 0 });
 * ```
 */
export function positionAfter({ epoch, place }: DataPosition, count: number): DataPosition {
  return place + 1 < count ? { epoch, place: place + 1 } : { epoch: epoch + 1, place: 0 };
}
