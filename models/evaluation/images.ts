/** Sets of images of one size, in batches: folders, npz files, datasets in memory. */
import { openNpz, writeNpz } from "../../lib/formats/npz.ts";
import type { ImageDataset } from "../data/dataset.ts";
import { decodeImage } from "../data/decode_image.ts";
import { listImages } from "../data/image_folder.ts";
import { loadImages } from "../data/loader.ts";

/** RGB images of one size. */
export interface Pixels {
  /** Number of images. */
  readonly count: number;
  /** Rows of pixels of an image. */
  readonly height: number;
  /** Columns of pixels of an image. */
  readonly width: number;
  /** Values 0..255, `[count, height, width, 3]` in row-major order. */
  readonly data: Uint8Array;
}

/** Images that are read batch by batch; every call of `batches` begins anew. */
export interface ImageSet {
  /** What messages call the images. */
  readonly name: string;
  /** Number of images. */
  readonly count: number;
  /** The images in a fixed order, at most `size` at a time. */
  batches(size: number): AsyncIterable<Pixels>;
}

/** Settings of {@linkcode openImages} for folders. */
export interface FolderOptions {
  /** Rows and columns that images are cropped to as ADM does; by default the shorter side of the first. */
  readonly size?: number;
  /** What the order of the images follows from: sorted by class, they would spoil Inception Score. */
  readonly seed?: number;
  /** Workers that decode. */
  readonly workers?: number;
}

/**
 * Opens images for evaluation.
 *
 * @param source A folder of PNG and JPEG images (with subfolders or not), a `.npz` file with the
 * images in `arr_0` ([N, H, W, 3], or gray as [N, H, W, 1] or [N, H, W]), or a set, which is returned.
 * @param options How a folder is read.
 * @returns The images, not yet read.
 * @throws {TypeError} If a npz file holds no 8-bit images in `arr_0`.
 * @throws {Error} If the file or folder cannot be read or a folder holds no images.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { writeNpz } from "../../lib/formats/npz.ts";
 * import { openImages } from "./images.ts";
 *
 * const path = await Deno.makeTempFile({ suffix: ".npz" });
 * await writeNpz(path, { arr_0: { dtype: "u1", shape: [3, 1, 1, 3], data: new Uint8Array(9) } });
 * const counts: number[] = [];
 * for await (const { count } of (await openImages(path)).batches(2)) counts.push(count);
 * assertEquals(counts, [2, 1]);
 * await Deno.remove(path);
 * ```
 */
export async function openImages(
  source: string | ImageSet,
  options: FolderOptions = {},
): Promise<ImageSet> {
  if (typeof source !== "string") return source;
  return (await Deno.stat(source)).isDirectory
    ? await folderImages(source, options)
    : await npzImages(source);
}

async function folderImages(root: string, options: FolderOptions): Promise<ImageSet> {
  const folder = await listImages(root);
  const count = folder.paths.length;
  const firstSize = async () => {
    const { width, height } = await decodeImage(await Deno.readFile(`${root}/${folder.paths[0]}`));
    return Math.min(width, height);
  };
  const size = options.size ?? await firstSize();
  const { seed = 0, workers } = options;
  return {
    name: root,
    count,
    async *batches(batch) {
      const load = { size, batch, seed, epochs: 1, strict: true, ...(workers && { workers }) };
      for await (const { images, indices } of loadImages(folder, load)) {
        yield { count: indices.length, height: size, width: size, data: images };
      }
    },
  };
}

async function npzImages(path: string): Promise<ImageSet> {
  await using file = await openNpz(path);
  const entry = file.entries.get("arr_0");
  const channels = entry?.shape[3] ?? 1;
  const isImages = entry?.dtype === "u1" && [3, 4].includes(entry.shape.length) &&
    (channels === 1 || channels === 3);
  if (!isImages) {
    throw new TypeError(
      `openImages: expected arr_0 of ${path} to be u1 [N, H, W, 3] but found ${
        entry ? `${entry.dtype} [${entry.shape.join(", ")}]` : "none"
      }`,
    );
  }
  const [count, height, width] = entry.shape as [number, number, number];
  return {
    name: path,
    count,
    async *batches(size) {
      await using images = await openNpz(path);
      for await (const { shape, data } of images.slices("arr_0", size)) {
        const pixels = data as Uint8Array;
        yield { count: shape[0]!, height, width, data: channels === 3 ? pixels : inColor(pixels) };
      }
    },
  };
}

/**
 * The images of a dataset in memory, gray repeated in three channels.
 *
 * @param dataset Gray or RGB images.
 * @param options `name`, and `first` and `count`: which part of it.
 * @returns The images.
 */
export function datasetImages(
  dataset: Pick<ImageDataset, "images" | "count" | "height" | "width" | "channels">,
  options: { name?: string; first?: number; count?: number } = {},
): ImageSet {
  const { name = "dataset", first = 0, count = dataset.count - first } = options;
  const { height, width, channels = 1 } = dataset;
  const values = height * width * channels, end = first + count;
  return {
    name,
    count,
    async *batches(size) {
      for (let at = first; at < end; at += size) {
        const taken = Math.min(size, end - at);
        const own = dataset.images.subarray(at * values, (at + taken) * values);
        const data = channels === 1 ? inColor(own) : own;
        yield await Promise.resolve({ count: taken, height, width, data });
      }
    },
  };
}

/** Gray values, each three times. */
function inColor(gray: Uint8Array): Uint8Array {
  const data = new Uint8Array(3 * gray.length);
  for (let i = 0; i < gray.length; i++) data.fill(gray[i]!, 3 * i, 3 * i + 3);
  return data;
}

/**
 * Writes images to a `.npz` file as ADM's evaluation reads them: `arr_0` u1 [N, H, W, 3], and `arr_1`
 * the classes, if given. The images are held one batch at a time.
 *
 * @param path Where the file goes.
 * @param images The images.
 * @param options `labels`: the class of each image in the order of the set; `batchSize`; `onProgress`.
 * @throws {TypeError} If there are no images, or images or labels differ in size or number.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openNpz } from "../../lib/formats/npz.ts";
 * import { datasetImages, writeImages } from "./images.ts";
 *
 * const path = await Deno.makeTempFile();
 * const dataset = { images: Uint8Array.of(7, 8), count: 2, height: 1, width: 1 };
 * await writeImages(path, datasetImages(dataset), { labels: [1, 0] });
 * await using file = await openNpz(path);
 * assertEquals((await file.read("arr_0")).data, Uint8Array.of(7, 7, 7, 8, 8, 8));
 * await Deno.remove(path);
 * ```
 */
export async function writeImages(
  path: string,
  images: ImageSet,
  options: {
    labels?: ArrayLike<number>;
    batchSize?: number;
    onProgress?(done: number, total: number): void;
  } = {},
): Promise<void> {
  const { labels, batchSize = 64, onProgress } = options;
  if (labels && labels.length !== images.count) {
    throw new TypeError(
      `writeImages: expected ${images.count} labels but found ${labels.length}`,
    );
  }
  let size: Pixels | undefined;
  for await (const batch of images.batches(1)) {
    size = batch;
    break;
  }
  if (!size) throw new TypeError(`writeImages: expected at least one image in ${images.name}`);
  const { height, width } = size;
  async function* pieces() {
    let done = 0;
    for await (const batch of images.batches(batchSize)) {
      if (batch.height !== height || batch.width !== width) {
        throw new TypeError(
          `writeImages: expected images of ${height}×${width} in ${images.name}` +
            ` but found ${batch.height}×${batch.width}`,
        );
      }
      yield batch.data;
      onProgress?.(done += batch.count, images.count);
    }
  }
  const shape = [images.count, height, width, 3];
  await writeNpz(path, {
    arr_0: { dtype: "u1", shape, data: pieces() },
    ...(labels && {
      arr_1: {
        dtype: "i8" as const,
        shape: [images.count],
        data: BigInt64Array.from(Array.from(labels), BigInt),
      },
    }),
  });
}
