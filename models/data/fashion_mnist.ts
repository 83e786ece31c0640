// The 70,000 gray pictures of clothing of Fashion-MNIST, in the format of MNIST.
// Source: Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine
// Learning Algorithms" (2017), https://github.com/zalandoresearch/fashion-mnist
import { pathToFileURL } from "node:url";
import type { ImageDataset } from "./dataset.ts";
import { type MnistSplit, readMnistFolder } from "./idx.ts";

/** The names of the classes. */
export const FASHION_MNIST_CLASSES: readonly string[] = [
  "T-shirt/top",
  "trouser",
  "pullover",
  "dress",
  "coat",
  "sandal",
  "shirt",
  "sneaker",
  "bag",
  "ankle boot",
];

/**
 * Loads Fashion-MNIST from a folder with its four original files, compressed (`.gz`) or not: gray
 * pictures of 28 by 28 pixels with their classes 0..9.
 *
 * @param folder the folder with `train-images-idx3-ubyte.gz` and the others
 * @param split `"train"`, `"test"` or `"all"`
 * @returns the images
 * @throws {TypeError} if the split is none of these
 * @throws {Error} if a file is missing or not as expected; the message names it
 *
 * @example
 * ```ts
 * import { assertRejects } from "@std/assert";
 * import { loadFashionMnist } from "./fashion_mnist.ts";
 *
 * await assertRejects(() => loadFashionMnist("no/such/folder", "train"), Error, "train-images-idx3");
 * ```
 */
export async function loadFashionMnist(folder: string, split: MnistSplit): Promise<ImageDataset> {
  return await readMnistFolder(pathToFileURL(`${folder}/`), split, "loadFashionMnist");
}
