// What a dataset of images as token codes is, and batches of one in the order of training.
import { foldIn, keyFromSeed, uniform } from "../../lib/random/threefry.ts";
import { type DataPosition, type Example, examples, positionAfter } from "./dataset.ts";

/** Images as the tokens that a tokenizer made of them, with a class each. */
export interface CodeDataset extends AsyncDisposable {
  /** Number of images. */
  count: number;
  /** Views of each image. */
  augmentations: number;
  /** Tokens of a view. */
  tokens: number;
  /** Rows and columns of tokens. */
  grid: readonly [rows: number, columns: number];
  /** Number of different tokens. */
  vocabulary: number;
  /** Number of classes. */
  classes: number;
  /**
   * Reads images: of each the view that is chosen, for all of them or for each, by default the
   * first. Errors name the file and the place of a token or label that is out of range.
   */
  read(indices: ArrayLike<number>, augmentation?: number | ArrayLike<number>): Promise<CodeBatch>;
}

/** Some images of a dataset of codes. */
export interface CodeBatch {
  /** Tokens in 0..vocabulary-1, `[count, tokens]`. */
  codes: Int32Array<ArrayBuffer>;
  /** The class of each image, `[count]`. */
  labels: Int32Array<ArrayBuffer>;
}

/** A batch in the order of training. */
export interface OrderedCodeBatch extends CodeBatch {
  /** The number of each image in the dataset, `[count]`. */
  indices: Uint32Array<ArrayBuffer>;
  /** Where the next batch begins. */
  position: DataPosition;
}

/**
 * Goes through a dataset of codes batch by batch, of each image a view drawn at random. A batch
 * follows from the seed and its position alone, and is read while the one before is being used.
 *
 * @param dataset the codes
 * @param options `batch`: images in a batch; `seed`: what order and views follow from, by default 0;
 *   `shuffle`: whether each epoch has an order of its own, by default true; `augment`: whether views
 *   are drawn, otherwise the first is taken, by default true; `epochs`: number of the epoch to end
 *   before, by default without end (the last batch may be smaller); `start`: the `position` of the
 *   batch before
 * @returns the batches
 * @throws {RangeError} if an option is out of range
 * @throws {Error} if a file is broken
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { codesInMemory, loadCodes } from "./codes.ts";
 *
 * const dataset = codesInMemory({
 *   codes: new Uint16Array([1, 2, 3, 4, 5, 6, 7, 0]),
 *   labels: new Uint8Array([0, 1]),
 *   grid: [2, 2],
 *   vocabulary: 8,
 *   classes: 2,
 * });
 * for await (const { codes, labels } of loadCodes(dataset, { batch: 2, epochs: 1 })) {
 *   assertEquals(codes.length, 2 * 4);
 *   assertEquals(labels.toSorted(), new Int32Array([0, 1]));
 * }
 * ```
 */
export async function* loadCodes(
  dataset: CodeDataset,
  { batch, seed = 0, shuffle = true, augment = true, epochs = Infinity, start }: {
    batch: number;
    seed?: number;
    shuffle?: boolean;
    augment?: boolean;
    epochs?: number;
    start?: DataPosition;
  },
): AsyncGenerator<OrderedCodeBatch, void, void> {
  if (!Number.isInteger(batch) || batch < 1) {
    throw new RangeError(
      `loadCodes: expected batch to be a whole number of at least 1 but found ${batch}`,
    );
  }
  const order = { seed, shuffle, epochs, start: start ?? { epoch: 0, place: 0 } };
  const coming = examples(dataset.count, order);
  const viewKey = foldIn(keyFromSeed(seed), VIEW_STREAM);
  const view = ({ epoch, index }: Example) => {
    const [random] = uniform(foldIn(foldIn(viewKey, epoch), index), 1);
    return augment ? Math.floor(random * dataset.augmentations) : 0;
  };
  const readNext = (): Promise<OrderedCodeBatch> | undefined => {
    const chosen: Example[] = [];
    while (chosen.length < batch) {
      const { value, done } = coming.next();
      if (done) break;
      chosen.push(value);
    }
    if (chosen.length === 0) return undefined;
    const indices = Uint32Array.from(chosen, ({ index }) => index);
    const position = positionAfter(chosen[chosen.length - 1], dataset.count);
    const read = dataset.read(indices, chosen.map(view));
    const result = read.then((codes) => ({ ...codes, indices, position }));
    // An error is thrown when the turn of its batch has come, and the iteration may end before.
    result.catch(() => {});
    return result;
  };
  let next = readNext();
  while (next) {
    const current = await next;
    next = readNext();
    yield current;
  }
}

/** Folded into the seed's key before the epoch; `epochOrder` folds in epochs, which are smaller. */
const VIEW_STREAM = 2 ** 31;

/**
 * A dataset of codes that are in memory.
 *
 * @param content `codes`: tokens, `[count, augmentations, tokens]`; `labels`: the class of each image,
 *   `[count]`; `grid`: rows and columns of tokens; `vocabulary`: number of different tokens;
 *   `classes`: number of classes
 * @returns the dataset
 * @throws {TypeError} if the codes do not fill the images
 * @throws {RangeError} if a token or a label is out of range
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { codesInMemory } from "./codes.ts";
 *
 * const dataset = codesInMemory({
 *   codes: new Uint16Array([1, 2, 3, 4]),
 *   labels: new Uint8Array([0]),
 *   grid: [1, 2],
 *   vocabulary: 8,
 *   classes: 1,
 * });
 * assertEquals([dataset.count, dataset.augmentations, dataset.tokens], [1, 2, 2]);
 * assertEquals((await dataset.read([0], 1)).codes, new Int32Array([3, 4]));
 * ```
 */
export function codesInMemory(
  { codes, labels, grid, vocabulary, classes }: {
    codes: ArrayLike<number>;
    labels: ArrayLike<number>;
    grid: readonly [rows: number, columns: number];
    vocabulary: number;
    classes: number;
  },
): CodeDataset {
  const count = labels.length;
  const tokens = grid[0] * grid[1];
  const augmentations = codes.length / (count * tokens);
  if (!(Number.isInteger(augmentations) && augmentations >= 1)) {
    throw new TypeError(
      `codesInMemory: expected codes for ${count} images of ${tokens} tokens but found ${codes.length}`,
    );
  }
  const where = (name: string) => (i: number) => `codesInMemory: ${name} at [${i}]`;
  const ownCodes = checkedIntegers(codes, vocabulary, "token", where("codes"));
  const ownLabels = checkedIntegers(labels, classes, "label", where("labels"));
  const shape = { count, augmentations, tokens, grid, vocabulary, classes };
  return {
    ...shape,
    read: (indices, augmentation = 0) =>
      readEach(shape, indices, augmentation, (index, view) => {
        const start = (index * augmentations + view) * tokens;
        return { codes: ownCodes.subarray(start, start + tokens), label: ownLabels[index] };
      }),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/**
 * Reads chosen views of chosen images, one image at a time, for the `read` of a dataset.
 *
 * @param dataset the sizes of the dataset
 * @param indices numbers of images
 * @param augmentation number of the view, for all images or for each
 * @param readOne reads a view of an image: its tokens, and its label
 * @returns the tokens and labels of all
 * @throws {RangeError} if a number is out of range
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { readEach } from "./codes.ts";
 *
 * const sizes = { count: 5, augmentations: 2, tokens: 1 };
 * const readOne = (index: number, view: number) => ({ codes: [10 * index + view], label: 0 });
 * const { codes } = await readEach(sizes, [4, 3], [0, 1], readOne);
 * assertEquals(codes, new Int32Array([40, 31]));
 * ```
 */
export async function readEach(
  { count, augmentations, tokens }: Pick<CodeDataset, "count" | "augmentations" | "tokens">,
  indices: ArrayLike<number>,
  augmentation: number | ArrayLike<number>,
  readOne: (index: number, view: number) =>
    | { codes: ArrayLike<number>; label: number }
    | Promise<{ codes: ArrayLike<number>; label: number }>,
): Promise<CodeBatch> {
  const codes = new Int32Array(indices.length * tokens);
  const labels = new Int32Array(indices.length);
  const chosen = Array.from(indices, (index, i) => {
    const view = typeof augmentation === "number" ? augmentation : augmentation[i];
    checkBelow(index, count, "index");
    checkBelow(view, augmentations, "augmentation");
    return [index, view];
  });
  await Promise.all(chosen.map(async ([index, view], i) => {
    const one = await readOne(index, view);
    codes.set(one.codes, i * tokens);
    labels[i] = one.label;
  }));
  return { codes, labels };
}

function checkBelow(value: number, end: number, what: string): void {
  if (Number.isInteger(value) && value >= 0 && value < end) return;
  throw new RangeError(`read: expected ${what} to be in 0..${end - 1} but found ${value}`);
}

/**
 * Whole numbers of a file as integers of 32 bits, each checked to be in 0..end-1.
 *
 * @param values numbers, or integers of 64 bits
 * @param end the least number that is out of range
 * @param what what a value is called in errors
 * @param where says in errors where the value of a place stands
 * @returns the values
 * @throws {RangeError} if a value is out of range
 *
 * @example
 * ```ts
 * import { assertThrows } from "@std/assert";
 * import { checkedIntegers } from "./codes.ts";
 *
 * const check = () => checkedIntegers([1, 8], 8, "token", (i) => `x.npy at [${i}]`);
 * assertThrows(check, RangeError, "x.npy at [1]: expected a token in 0..7 but found 8");
 * ```
 */
export function checkedIntegers(
  values: ArrayLike<number | bigint>,
  end: number,
  what: "token" | "label",
  where: (place: number) => string,
): Int32Array<ArrayBuffer> {
  const integers = new Int32Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const value = Number(values[i]);
    if (!(Number.isInteger(value) && value >= 0 && value < end)) {
      throw new RangeError(
        `${where(i)}: expected a ${what} in 0..${end - 1} but found ${values[i]}`,
      );
    }
    integers[i] = value;
  }
  return integers;
}
