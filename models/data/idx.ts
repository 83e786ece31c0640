// Reading MNIST's own files: images and labels of unsigned bytes in the IDX format.
import type { ImageDataset } from "./dataset.ts";

/** A part of MNIST or of a dataset in its shape: training images, test images, or both in this order. */
export type MnistSplit = "train" | "test" | "all";

const PARTS = {
  train: { prefix: "train", count: 60_000 },
  test: { prefix: "t10k", count: 10_000 },
} as const;
const SIDE = 28;
const CLASSES = 10;
const UNSIGNED_BYTE = 0x08;

/**
 * Reads a dataset in the shape of MNIST, 60,000 and 10,000 gray images of 28 by 28 pixels in ten
 * classes, from a folder with `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same of
 * `t10k`, each as it is or compressed with the ending `.gz`.
 *
 * @param folder URL of the folder, ending in `/`
 * @param split `"train"`, `"test"` or `"all"`
 * @param name what errors call the reader
 * @returns the images
 * @throws {TypeError} if the split is none of these
 * @throws {Error} if a file is missing or not as expected; the message names it
 *
 * @example
 * ```ts
 * import { assertRejects } from "@std/assert";
 * import { readMnistFolder } from "./idx.ts";
 *
 * const folder = new URL("file:///no/such/folder/");
 * await assertRejects(() => readMnistFolder(folder, "test", "loadMnist"), Error, "t10k-images");
 * ```
 */
export async function readMnistFolder(
  folder: URL,
  split: MnistSplit,
  name: string,
): Promise<ImageDataset> {
  checkSplit(split, name);
  const parts = split === "all" ? [PARTS.train, PARTS.test] : [PARTS[split]];
  const count = parts.reduce((sum, part) => sum + part.count, 0);
  const images = new Uint8Array(count * SIDE * SIDE);
  const labels = new Uint8Array(count);
  let start = 0;
  for (const part of parts) {
    const imageFile = new URL(`${part.prefix}-images-idx3-ubyte`, folder);
    const labelFile = new URL(`${part.prefix}-labels-idx1-ubyte`, folder);
    images.set(await readIdx(imageFile, [part.count, SIDE, SIDE], name), start * SIDE * SIDE);
    labels.set(await readIdx(labelFile, [part.count], name), start);
    start += part.count;
  }
  const wrong = labels.findIndex((label) => label >= CLASSES);
  if (wrong >= 0) {
    throw new Error(
      `${name}: ${folder}: expected labels in 0..9 but found ${labels[wrong]} at [${wrong}]`,
    );
  }
  return { images, labels, count, height: SIDE, width: SIDE, classes: CLASSES };
}

/** Checks a split that a caller gave. */
export function checkSplit(split: MnistSplit, name: string): MnistSplit {
  if (["train", "test", "all"].includes(split)) return split;
  throw new TypeError(
    `${name}: expected split to be "train", "test" or "all" but found "${split}"`,
  );
}

/**
 * Reads a file of unsigned bytes in the IDX format: two zeros, the type, the number of dimensions,
 * their sizes as 32-bit big-endian integers, the elements.
 */
async function readIdx(url: URL, shape: number[], name: string): Promise<Uint8Array> {
  const header = new Uint8Array(4 + 4 * shape.length);
  header.set([0, 0, UNSIGNED_BYTE, shape.length]);
  shape.forEach((size, i) => new DataView(header.buffer).setUint32(4 + 4 * i, size));
  const expected = header.length + shape.reduce((product, size) => product * size, 1);
  const bytes = await readUpTo(url, expected, name);
  if (header.some((byte, i) => bytes[i] !== byte) || bytes.length !== expected) {
    throw new Error(`${name}: ${url} does not hold [${shape.join(", ")}] unsigned bytes`);
  }
  return bytes.subarray(header.length);
}

/** The content of a file or of its compressed sibling, but no more than a byte beyond what is expected. */
async function readUpTo(url: URL, expected: number, name: string): Promise<Uint8Array> {
  const bytes = new Uint8Array(expected + 1);
  let length = 0;
  try {
    for await (const piece of await openBytes(url)) {
      bytes.set(piece.subarray(0, bytes.length - length), length);
      length = Math.min(length + piece.length, bytes.length);
      if (length > expected) break;
    }
  } catch (error) {
    throw new Error(`${name}: ${url} cannot be read: ${error}`, { cause: error });
  }
  return bytes.subarray(0, length);
}

async function openBytes(url: URL): Promise<ReadableStream<Uint8Array>> {
  try {
    return (await Deno.open(url)).readable;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    const compressed = await Deno.open(new URL(`${url.href}.gz`)).catch(() => {
      throw error;
    });
    return compressed.readable.pipeThrough(new DecompressionStream("gzip"));
  }
}
