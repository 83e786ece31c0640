/** Images for training: datasets by configuration, batches by step, pixels as tensors and back. */
import type { Key } from "../../lib/random/threefry.ts";
import type { Image } from "../../lib/formats/png.ts";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import type { RunConfig } from "../config/schema.ts";
import { epochOrder, type ImageDataset } from "../data/dataset.ts";
import { loadFashionMnist } from "../data/fashion_mnist.ts";
import { type ImageFolder, listImages } from "../data/image_folder.ts";
import { type ImageReader, openImageReader } from "../data/image_reader.ts";
import type { BrokenImage } from "../data/loader.ts";
import { loadMnist } from "../data/mnist.ts";
import { pixelsToFloats } from "../data/preprocess.ts";
import { generateShapes } from "../data/shapes.ts";

/** Images of a run: in memory, or read from a folder as they are needed. */
export type RunImages = ImageDataset | FolderImages;

/** Images of a folder, as a run reads them. */
export interface FolderImages extends ImageReader {
  /** The folder's listing. */
  readonly folder: ImageFolder;
  readonly count: number;
  /** Rows and columns of an image. */
  readonly size: number;
}

/** Whether images are read from a folder. */
export function isFolder(images: RunImages): images is FolderImages {
  return "folder" in images;
}

/**
 * Opens the images of a configuration.
 *
 * @param config The configuration.
 * @param warn Told of images that cannot be read.
 * @returns The images; those of a folder have workers that live until they are closed.
 * @throws {RangeError} If the folder does not have the classes of the configuration, or the data are codes.
 * @throws {Error} If there are no images, or files are broken.
 */
export async function openData(
  config: RunConfig,
  warn: (message: string) => void = console.warn,
): Promise<RunImages> {
  const { data } = config;
  if (data.source !== "folder") return await loadData(config);
  const folder = await listImages(data.path);
  const { length } = folder.classes;
  if (length !== data.classes) {
    throw new RangeError(
      `data.classes: expected ${length} (the classes of ${data.path}) but found ${data.classes}`,
    );
  }
  const { size, augmentation, workers, strict } = data;
  const onBroken = ({ path, message }: BrokenImage) => warn(`Left out ${path}: ${message}`);
  const reader = openImageReader(folder, { size, augmentation, workers, strict, onBroken });
  return { ...reader, folder, count: folder.paths.length, size };
}

/**
 * Loads or generates the images of a configuration.
 *
 * @throws {RangeError} If they are not of a source that is held in memory; {Error} if files are broken.
 */
export async function loadData({ data, seed }: RunConfig): Promise<ImageDataset> {
  switch (data.source) {
    case "mnist":
      return await loadMnist(data.split);
    case "fashion-mnist":
      return await loadFashionMnist(data.path, data.split);
    case "shapes":
      return generateShapes({ ...data, seed });
    default:
      throw new RangeError(
        `data.source: expected images that are held in memory but found ${data.source}`,
      );
  }
}

/**
 * Reads images.
 *
 * @param images The images.
 * @param indices Which ones.
 * @param key What random views follow from.
 * @returns f32 [B, C, H, W] in -1..1, and their classes [B].
 */
export async function readImages(
  images: RunImages,
  indices: ArrayLike<number>,
  key: Key,
): Promise<{ images: Tensor; labels: ArrayLike<number> }> {
  if (!isFolder(images)) {
    const labels = Array.from(indices, (index) => images.labels[index]!);
    return { images: imageBatch(images, indices), labels };
  }
  const { size } = images;
  const { images: pixels, labels } = await images.read(indices, key);
  const shape = [indices.length, 3, size, size];
  return { images: tensor(pixelsToFloats(pixels, size), { shape }), labels };
}

/**
 * Batches that are made ready while those before them are used.
 *
 * @param batchAt Makes the batch of a step, or of a part of it.
 * @param ahead For how many steps.
 * @returns The same batches.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { readAhead } from "./data.ts";
 *
 * const begun: number[] = [];
 * const batch = readAhead((step: number) => Promise.resolve(begun.push(step)), 1);
 * await batch(5);
 * assertEquals(begun, [5, 6]);
 * ```
 */
export function readAhead<B>(
  batchAt: (step: number, part: BatchPart) => B | Promise<B>,
  ahead = 2,
): (step: number, part?: BatchPart) => Promise<B> {
  const coming = new Map<string, Promise<B>>();
  const begin = (step: number, part: BatchPart) => {
    const name = `${step} ${part.index} ${part.count}`;
    const found = coming.get(name);
    if (found) return { name, batch: found };
    const batch = Promise.resolve(batchAt(step, part));
    batch.catch(() => {}); // thrown when its turn has come, if it comes
    coming.set(name, batch);
    return { name, batch };
  };
  return async (step, part = whole) => {
    const { name, batch } = begin(step, part);
    for (let i = 1; i <= ahead; i++) begin(step + i, part);
    coming.delete(name);
    return await batch;
  };
}

/**
 * Images of the same source that a run is not trained on.
 *
 * @param config The run's configuration.
 * @returns The images: those for testing, if only those for training are trained on, or other shapes; none if there
 * are no others.
 */
export async function loadHeldOut({ data, seed }: RunConfig): Promise<ImageDataset | undefined> {
  switch (data.source) {
    case "shapes":
      return generateShapes({ ...data, count: Math.min(data.count, mostHeldOut), seed: seed + 1 });
    case "mnist":
      return data.split === "train" ? await loadMnist("test") : undefined;
    case "fashion-mnist":
      return data.split === "train" ? await loadFashionMnist(data.path, "test") : undefined;
  }
}

/** The most shapes that are generated beside those of training. */
const mostHeldOut = 10_000;

/**
 * Which examples a step sees. They follow from the seed and the step alone: every epoch has an order of its own,
 * whose last examples are left out where they do not fill a batch.
 *
 * @param count Number of examples.
 * @param batchSize Examples in a step, at most `count`.
 * @param seed A whole number.
 * @returns A function from the step, from 0, to the indices of its examples.
 * @throws {RangeError} If a batch is larger than the dataset.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { batchesOf } from "./data.ts";
 *
 * const batch = batchesOf(5, 2, 0);
 * const epoch = [...batch(0), ...batch(1)];
 * assertEquals(new Set(epoch).size, 4);
 * assertEquals(batchesOf(5, 2, 0)(3), batch(3));
 * ```
 */
export function batchesOf(
  count: number,
  batchSize: number,
  seed: number,
): (step: number) => Uint32Array {
  if (batchSize > count) {
    throw new RangeError(
      `batchesOf: expected batchSize to be at most the ${count} examples but found ${batchSize}`,
    );
  }
  let epoch = -1;
  let order = new Uint32Array();
  return (step) => {
    const at = positionOf(count, batchSize, step);
    if (at.epoch !== epoch) [epoch, order] = [at.epoch, epochOrder(count, seed, at.epoch)];
    const start = at.batch * batchSize;
    return order.subarray(start, start + batchSize);
  };
}

/** A part of a batch: number `index` of `count` parts of one size. */
export interface BatchPart {
  readonly index: number;
  readonly count: number;
}

/** All of a batch. */
export const whole: BatchPart = { index: 0, count: 1 };

/**
 * The rows of an array of rows that belong to a part of a batch.
 *
 * @param rows The rows of all of it, one after another.
 * @param part Which part.
 * @returns A view of them.
 * @throws {RangeError} If there is no such part, or the parts are not of one size.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { partOf } from "./data.ts";
 *
 * assertEquals(partOf(Int32Array.of(1, 2, 3, 4), { index: 1, count: 2 }), Int32Array.of(3, 4));
 * ```
 */
export function partOf<T extends Int32Array | Uint32Array | Uint8Array | Float32Array>(
  rows: T,
  { index, count }: BatchPart,
): T {
  const length = rows.length / count;
  if (!Number.isInteger(length) || !(index >= 0 && index < count)) {
    throw new RangeError(
      `partOf: expected one of equal parts of ${rows.length} but found part ${index} of ${count}`,
    );
  }
  return rows.subarray(index * length, (index + 1) * length) as T;
}

/**
 * Where a step is in the data, as {@link batchesOf} goes through it.
 *
 * @param count Number of examples.
 * @param batchSize Examples in a step.
 * @param step The step, from 0.
 * @returns Number of examples, epoch, and batch in it, both from 0.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { positionOf } from "./data.ts";
 *
 * assertEquals(positionOf(5, 2, 3), { examples: 5, epoch: 1, batch: 1 });
 * ```
 */
export function positionOf(
  count: number,
  batchSize: number,
  step: number,
): { examples: number; epoch: number; batch: number } {
  const stepsPerEpoch = Math.floor(count / batchSize);
  return {
    examples: count,
    epoch: Math.floor(step / stepsPerEpoch),
    batch: step % stepsPerEpoch,
  };
}

/**
 * Images as a tensor.
 *
 * @param dataset The images.
 * @param indices Which ones.
 * @returns f32 [B, C, H, W] in -1..1.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { generateShapes } from "../data/shapes.ts";
 * import { imageBatch, toImages } from "./data.ts";
 *
 * const data = generateShapes({ count: 3, size: 6, classes: 2, seed: 0 });
 * const [image] = await toImages(imageBatch(data, [2]));
 * assertEquals(image!.data, data.images.slice(2 * 36));
 * ```
 */
export function imageBatch(
  { images, height, width, channels = 1 }: ImageDataset,
  indices: ArrayLike<number>,
): Tensor {
  const pixels = height * width, values = pixels * channels;
  const batch = new Float32Array(indices.length * values);
  for (let i = 0; i < indices.length; i++) {
    const start = indices[i]! * values;
    for (let at = 0; at < values; at++) {
      const pixel = Math.floor(at / channels), channel = at % channels;
      batch[i * values + channel * pixels + pixel] = images[start + at]! / 127.5 - 1;
    }
  }
  return tensor(batch, { shape: [indices.length, channels, height, width] });
}

/**
 * A tensor of images as images for files.
 *
 * @param batch f32 [B, C, H, W], where -1 is black and 1 white; C is 1, 3 or 4.
 * @returns B images.
 */
export async function toImages(batch: Tensor): Promise<Image[]> {
  const [count, channels, height, width] = batch.shape as [
    number,
    Image["channels"],
    number,
    number,
  ];
  const values = await batch.data();
  const pixels = height * width;
  return Array.from({ length: count }, (_, i) => {
    const data = new Uint8Array(pixels * channels);
    for (let at = 0; at < data.length; at++) {
      const pixel = Math.floor(at / channels), channel = at % channels;
      const value = values[(i * channels + channel) * pixels + pixel]!;
      data[at] = Math.round(Math.min(1, Math.max(0, (value + 1) / 2)) * 255);
    }
    return { width, height, channels, data };
  });
}
