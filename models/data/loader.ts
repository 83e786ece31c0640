// Batches of images from a folder, decoded and augmented by workers ahead of the training step.
import { availableCores } from "../../lib/cores.ts";
import { foldIn, keyFromSeed } from "../../lib/random/threefry.ts";
import { type DataPosition, type Example, examples, positionAfter } from "./dataset.ts";
import { type DecodePool, openDecodePool } from "./decode_pool.ts";
import type { DecodeResult } from "./decode_worker.ts";
import type { ImageFolder } from "./image_folder.ts";
import { type Augmentation, VIEWS } from "./preprocess.ts";

/** An image that could not be read. */
export interface BrokenImage {
  /** The image, relative to its folder. */
  path: string;
  /** Its number in the folder's listing. */
  index: number;
  /** What is wrong with it. */
  message: string;
}

/** A batch of decoded images. */
export interface ImageBatch {
  /** Values 0..255, `[count, views, size, size, 3]`. */
  images: Uint8Array<ArrayBuffer>;
  /** The class of each image, `[count]`. */
  labels: Int32Array<ArrayBuffer>;
  /** The number of each image in the folder's listing, `[count]`. */
  indices: Uint32Array<ArrayBuffer>;
  /** Where the next batch begins. */
  position: DataPosition;
}

/** How images are loaded. */
export interface LoadOptions {
  /** Rows and columns of an image. */
  size: number;
  /** Images in a batch. */
  batch: number;
  /** Which views are made of an image; by default `"center"`, one view. */
  augmentation?: Augmentation;
  /** What order and augmentation follow from, by default 0. */
  seed?: number;
  /** Whether every epoch goes through the images in an order of its own (as by default). */
  shuffle?: boolean;
  /** Number of the epoch to end before; without end by default. The last batch may be smaller. */
  epochs?: number;
  /** Where to begin: the `position` of the batch before. */
  start?: DataPosition;
  /** Workers that decode; by default one less than the machine's threads, at most 16. */
  workers?: number;
  /** Batches that are decoded ahead, by default 2. */
  prefetch?: number;
  /** Whether a broken image is an error; by default it is reported and skipped. */
  strict?: boolean;
  /** Which images are loaded, by their number; by default all. */
  isOwn?(index: number): boolean;
  /** What is told of broken images; by default they go to `console.warn`. */
  onBroken?(image: BrokenImage): void;
}

/**
 * Loads a folder's images batch by batch. Workers decode ahead while a batch is being used. What a
 * batch holds follows from the seed and the position alone, however many workers there are: a broken
 * image is reported and the next one takes its place. Ending the iteration ends the workers.
 *
 * @param folder the images
 * @param options size, batch, augmentation, order, start, workers; see {@linkcode LoadOptions}
 * @returns the batches; an async generator, which `break`, `return()` or `await using` ends
 * @throws {RangeError} if an option is out of range
 * @throws {Error} if an image is broken and `strict` is set, or if no image at all can be read
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { writePng } from "../../lib/formats/png.ts";
 * import { listImages } from "./image_folder.ts";
 * import { loadImages } from "./loader.ts";
 *
 * const root = await Deno.makeTempDir();
 * const data = new Uint8Array(12 * 9 * 3);
 * for (const name of ["a.png", "b.png", "c.png"]) {
 *   await writePng(`${root}/${name}`, { width: 12, height: 9, channels: 3, data });
 * }
 * const options = { size: 8, batch: 2, epochs: 1, workers: 1 };
 * for await (const { images, indices } of loadImages(await listImages(root), options)) {
 *   assertEquals(images.length, indices.length * 8 * 8 * 3);
 * }
 * await Deno.remove(root, { recursive: true });
 * ```
 */
export async function* loadImages(
  folder: ImageFolder,
  options: LoadOptions,
): AsyncGenerator<ImageBatch, void, void> {
  const { size, batch, augmentation, strict, onBroken, workers, prefetch, isOwn, ...order } =
    checkedOptions(options);
  const valuesPerImage = VIEWS[augmentation] * size * size * 3;
  using pool = openDecodePool(workers);
  const coming = examples(folder.paths.length, order);
  const pending: { example: Example; result: Promise<DecodeResult> }[] = [];
  const request = () => {
    while (pending.length < batch * (1 + prefetch)) {
      const { value: example, done } = coming.next();
      if (done) return;
      if (!isOwn(example.index)) continue;
      const result = startDecoding(pool, folder, example, { size, augmentation, seed: order.seed });
      pending.push({ example, result });
    }
  };

  let images = new Uint8Array(batch * valuesPerImage);
  let indices: number[] = [];
  let position = order.start;
  let brokenInTurn = 0;
  const take = (): ImageBatch => {
    const taken = {
      images: images.subarray(0, indices.length * valuesPerImage),
      labels: Int32Array.from(indices, (index) => folder.labels[index]),
      indices: Uint32Array.from(indices),
      position,
    };
    images = new Uint8Array(batch * valuesPerImage);
    indices = [];
    return taken;
  };
  for (request(); pending.length > 0; request()) {
    const { example, result } = pending.shift()!;
    const { index } = example;
    const decoded = await result;
    position = positionAfter(example, folder.paths.length);
    if ("broken" in decoded) {
      const broken = { path: folder.paths[index], index, message: decoded.broken };
      if (strict) throw new Error(`loadImages: ${folder.root}/${broken.path}: ${broken.message}`);
      onBroken(broken);
      if (++brokenInTurn < folder.paths.length) continue;
      throw new Error(
        `loadImages: none of the ${brokenInTurn} images of ${folder.root} can be read` +
          `; ${broken.path}: ${broken.message}`,
      );
    }
    brokenInTurn = 0;
    images.set(decoded.views, indices.length * valuesPerImage);
    indices.push(index);
    if (indices.length === batch) {
      request();
      yield take();
    }
  }
  if (indices.length > 0) yield take();
}

/** Workers that decode by default: one less than the machine's threads, at most 16. */
export function defaultWorkers(): number {
  return Math.min(Math.max(navigator.hardwareConcurrency - 1, 1), 16);
}

/** What happens by default to a broken image: a warning that names it. */
export function warnOfBroken({ path, message }: BrokenImage): void {
  console.warn(`Skipped ${path}: ${message}`);
}

/** Folded into the seed's key before the epoch; `epochOrder` folds in epochs, which are smaller. */
const AUGMENTATION_STREAM = 2 ** 31;

function startDecoding(
  pool: DecodePool,
  { root, paths }: ImageFolder,
  { epoch, index }: Example,
  { size, augmentation, seed }: { size: number; augmentation: Augmentation; seed: number },
): Promise<DecodeResult> {
  const stream = foldIn(keyFromSeed(seed), AUGMENTATION_STREAM);
  const key = foldIn(foldIn(stream, epoch), index);
  const result = pool.decode({ path: `${root}/${paths[index]}`, size, augmentation, key });
  // The loader may have ended before it comes to a result that is an error.
  result.catch(() => {});
  return result;
}

/** The options with their defaults, checked. */
function checkedOptions(options: LoadOptions) {
  const checked = {
    ...options,
    augmentation: options.augmentation ?? "center",
    seed: options.seed ?? 0,
    shuffle: options.shuffle ?? true,
    epochs: options.epochs ?? Infinity,
    start: options.start ?? { epoch: 0, place: 0 },
    workers: options.workers ?? Math.min(Math.max(availableCores() - 1, 1), 16),
    prefetch: options.prefetch ?? 2,
    strict: options.strict ?? false,
    isOwn: options.isOwn ?? (() => true),
    onBroken: options.onBroken ?? warnOfBroken,
  };
  const { size, batch, workers, prefetch, augmentation } = checked;
  if (!Object.hasOwn(VIEWS, augmentation)) {
    throw new RangeError(
      `loadImages: expected augmentation to be one of ${
        Object.keys(VIEWS).join(", ")
      } but found ${augmentation}`,
    );
  }
  const least = { size: 1, batch: 1, workers: 1, prefetch: 0 };
  for (const [name, value] of Object.entries({ size, batch, workers, prefetch })) {
    const smallest = least[name as keyof typeof least];
    if (Number.isInteger(value) && value >= smallest) continue;
    throw new RangeError(
      `loadImages: expected ${name} to be a whole number of at least ${smallest} but found ${value}`,
    );
  }
  return checked;
}
