// Images of a folder by their numbers, decoded and augmented by workers: for a training whose batches
// follow from the step alone, wherever it begins.
import { foldIn, type Key } from "../../lib/random/threefry.ts";
import { openDecodePool } from "./decode_pool.ts";
import type { ImageFolder } from "./image_folder.ts";
import { type BrokenImage, defaultWorkers, warnOfBroken } from "./loader.ts";
import { type Augmentation, VIEWS } from "./preprocess.ts";

/** How images are read. */
export interface ImageReaderOptions {
  /** Rows and columns of an image. */
  size: number;
  /** Which view is made of an image, by default `"center"`; one that makes several is refused. */
  augmentation?: Augmentation;
  /** Workers that decode; by default one less than the machine's threads, at most 16. */
  workers?: number;
  /** Whether a broken image is an error; by default it is reported and the next one is taken. */
  strict?: boolean;
  /** What is told of broken images, once of each; by default they go to `console.warn`. */
  onBroken?(image: BrokenImage): void;
}

/** Images that are read by their numbers; its workers live until `close` or the end of a `using` scope. */
export interface ImageReader extends Disposable {
  /**
   * Reads images. In place of a broken one comes the next in the folder that is not.
   *
   * @param indices numbers of images
   * @param key what random views follow from, image by image
   * @returns values 0..255, `[count, size, size, 3]`, and the class of each image
   * @throws {Error} if an image is broken and `strict` is set, or if no image at all can be read
   */
  read(indices: ArrayLike<number>, key: Key): Promise<{
    images: Uint8Array<ArrayBuffer>;
    labels: Int32Array<ArrayBuffer>;
  }>;
  /** Ends the workers. */
  close(): void;
}

/**
 * Starts workers that read the images of a folder.
 *
 * @param folder the images
 * @param options size, view, workers; see {@linkcode ImageReaderOptions}
 * @returns the reader
 * @throws {RangeError} if the augmentation makes several views of an image
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { writePng } from "../../lib/formats/png.ts";
 * import { listImages } from "./image_folder.ts";
 * import { openImageReader } from "./image_reader.ts";
 *
 * const root = await Deno.makeTempDir();
 * const data = new Uint8Array(9 * 8 * 3).fill(7);
 * await writePng(`${root}/a.png`, { width: 9, height: 8, channels: 3, data });
 * using reader = openImageReader(await listImages(root), { size: 4, workers: 1 });
 * const { images, labels } = await reader.read([0, 0], [0, 1]);
 * assertEquals([images.length, images[0], labels.length], [2 * 4 * 4 * 3, 7, 2]);
 * await Deno.remove(root, { recursive: true });
 * ```
 */
export function openImageReader(folder: ImageFolder, options: ImageReaderOptions): ImageReader {
  const { size, augmentation = "center", workers = defaultWorkers() } = options;
  const { strict = false, onBroken = warnOfBroken } = options;
  if (VIEWS[augmentation] !== 1) {
    throw new RangeError(
      `openImageReader: expected an augmentation that makes one view but found ${augmentation}`,
    );
  }
  const { root, paths, labels } = folder;
  const pool = openDecodePool(workers);
  const told = new Set<number>();

  const readOne = async (index: number, key: Key) => {
    let path = "", message = "";
    for (let tried = 0; tried < paths.length; tried++) {
      const own = (index + tried) % paths.length;
      path = paths[own]!;
      const decoded = await pool.decode({ path: `${root}/${path}`, size, augmentation, key });
      if ("views" in decoded) return { pixels: decoded.views, label: labels[own]! };
      message = decoded.broken;
      if (strict) throw new Error(`openImageReader: ${root}/${path}: ${message}`);
      if (!told.has(own)) onBroken({ path, index: own, message });
      told.add(own);
    }
    throw new Error(
      `openImageReader: none of the ${paths.length} images of ${root} can be read; ${path}: ${message}`,
    );
  };
  return {
    async read(indices, key) {
      const read = await Promise.all(
        Array.from(indices, (index) => readOne(index, foldIn(key, index))),
      );
      const images = new Uint8Array(read.length * size * size * 3);
      read.forEach(({ pixels }, i) => images.set(pixels, i * pixels.length));
      return { images, labels: Int32Array.from(read, ({ label }) => label) };
    },
    close: pool.close,
    [Symbol.dispose]: pool.close,
  };
}
