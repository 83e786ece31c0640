// From a folder of images to a dataset of codes: encoding once what training reads many times, to be
// interrupted and taken up again at any moment.
import { alone, type Mpi } from "../../lib/distributed/mpi.ts";
import { writeFileAtomically } from "../../lib/formats/atomic_write.ts";
import { checkedIntegers } from "./codes.ts";
import { checkSameExtraction, type ExtractionJournal, readJournal } from "./extract_journal.ts";
import { type EncodedBatch, inOrder } from "./extract_ranks.ts";
import { openLlamaGenSink, openPackedSink } from "./extract_sinks.ts";
import type { ImageFolder } from "./image_folder.ts";
import { type BrokenImage, loadImages, warnOfBroken } from "./loader.ts";
import { pixelsToFloats, VIEWS } from "./preprocess.ts";

/** How codes are extracted. */
export interface ExtractOptions {
  /** The images. */
  images: ImageFolder;
  /**
   * Encodes images in -1..1, `[count, 3, size, size]`, as tokens, `[count, tokens]`.
   */
  encode(
    images: Float32Array<ArrayBuffer>,
    count: number,
  ): ArrayLike<number> | Promise<ArrayLike<number>>;
  /** The packed file or, in LlamaGen's layout, the folder that is written. */
  out: string;
  /** Rows and columns of an image. */
  size: number;
  /** Rows and columns of tokens. */
  grid: readonly [rows: number, columns: number];
  /** Number of different tokens. */
  vocabulary: number;
  /** Views that `encode` takes at once, by default 32; at least all views of one image. */
  batch?: number;
  /** The views of an image: one, two or ten; by default `"flips"`, the image and its mirror image. */
  augmentation?: "center" | "flips" | "ten-crop";
  /** `"packed"` (by default): one safetensors file; `"llamagen"`: .npy files for each image. */
  layout?: "packed" | "llamagen";
  /** Workers that decode; by default one less than the machine's threads. */
  workers?: number;
  /**
   * The processes that share the work, all of which call this, by default this one alone. Rank 0
   * writes; what it writes does not depend on their number, which may be another after an interruption.
   */
  mpi?: Mpi;
  /** Whether a broken image is an error; by default it is reported and left out. */
  strict?: boolean;
  /** What is told of broken images; by default they go to `console.warn`. */
  onBroken?(image: BrokenImage): void;
  /** What is told after every batch. */
  onProgress?(progress: ExtractProgress): void;
  /** Ends the extraction after the current batch with the signal's reason; it can be resumed. */
  signal?: AbortSignal;
}

/** How far an extraction has come. */
export interface ExtractProgress {
  /** Images gone through, broken ones included. */
  done: number;
  /** Images of the folder. */
  total: number;
  /** Images that were broken. */
  broken: number;
}

/** Milliseconds after which what has been written is noted in the journal. */
const JOURNAL_INTERVAL = 2000;

/**
 * Encodes all images of a folder and writes their codes with their labels. The result appears under
 * its name when it is complete; until then `{out}.part` holds the codes and `{out}.journal.json` how
 * far they are good. Called again with the same options after an interruption of any kind, it goes
 * on where the journal ends, and the result is the same as without an interruption.
 *
 * @param options images, encoder, output; see {@linkcode ExtractOptions}
 * @returns how many images there were and how many of them were broken
 * @throws {Error} if the output is there already, or if the journal is of another extraction
 * @throws {TypeError} if the encoder gives another number of tokens than the grid has
 * @throws {RangeError} if the encoder gives a token that is not less than the vocabulary
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { writePng } from "../../lib/formats/png.ts";
 * import { extractCodes } from "./extract.ts";
 * import { listImages } from "./image_folder.ts";
 * import { openPackedCodes } from "./packed_codes.ts";
 *
 * const root = await Deno.makeTempDir();
 * const data = new Uint8Array(8 * 8 * 3);
 * await writePng(`${root}/black.png`, { width: 8, height: 8, channels: 3, data });
 * const encode = (images: Float32Array, count: number) =>
 *   new Int32Array(count * 4).fill(images[0] === -1 ? 5 : 0);
 * const images = await listImages(root);
 * const out = `${root}/codes.safetensors`;
 * await extractCodes({ images, encode, out, size: 8, grid: [2, 2], vocabulary: 16 });
 * {
 *   await using dataset = await openPackedCodes(out);
 *   assertEquals((await dataset.read([0], 1)).codes, new Int32Array([5, 5, 5, 5]));
 * }
 * await Deno.remove(root, { recursive: true });
 * ```
 */
export async function extractCodes(options: ExtractOptions): Promise<ExtractProgress> {
  const { images, out, size, grid, vocabulary, onProgress, mpi = alone } = options;
  const { augmentation = "flips", layout = "packed" } = options;
  const total = images.paths.length;
  const part = `${out}.part`;
  const journalPath = `${out}.journal.json`;
  if (mpi.rank > 0) return await help(options, mpi);
  if (await exists(out)) throw new Error(`extractCodes: ${out} is there already`);

  const listing = await digest(images);
  const extraction = { layout, augmentation, size, grid: [...grid], vocabulary, listing };
  let journal: ExtractionJournal = { ...extraction, done: 0, broken: [] };
  const found = await exists(part) ? await readJournal(journalPath, total) : undefined;
  if (found) checkSameExtraction(found, journal, journalPath);
  journal = mpi.share(found ?? journal);
  const progress = () => ({ done: journal.done, total, broken: journal.broken.length });

  const open = layout === "packed" ? openPackedSink : openLlamaGenSink;
  const classes = images.classes.length;
  const sinkOptions = { total, views: VIEWS[augmentation], size, grid, vocabulary, classes };
  {
    await using sink = await open(part, sinkOptions, journal.done - journal.broken.length);
    const save = async () => {
      await sink.flush();
      await writeFileAtomically(journalPath, JSON.stringify(journal));
    };
    let saved = performance.now();
    try {
      for await (const { codes, labels, done, broken } of encodedByAll(options, journal)) {
        if (labels.length > 0) await sink.write(codes, labels);
        journal = { ...journal, done, broken };
        onProgress?.(progress());
        if (performance.now() - saved < JOURNAL_INTERVAL) continue;
        await save();
        saved = performance.now();
      }
    } catch (error) {
      // Why it ends matters more than a journal that cannot be written.
      await save().catch(() => {});
      throw error;
    }
    const broken = new Set(journal.broken);
    const labels = images.labels.filter((_, index) => !broken.has(index));
    if (labels.length === 0) {
      throw new Error(`extractCodes: no image of ${images.root} can be read`);
    }
    await save();
    await sink.finish(labels);
  }
  await Deno.rename(part, out);
  await Deno.remove(journalPath);
  return progress();
}

/** What another than rank 0 does: it encodes its part of the images. */
async function help(options: ExtractOptions, mpi: Mpi): Promise<ExtractProgress> {
  const total = options.images.paths.length;
  let reached: Pick<ExtractionJournal, "done" | "broken"> = mpi.share({ done: 0, broken: [] });
  for await (const batch of encodedByAll(options, reached as ExtractionJournal)) reached = batch;
  return { total, done: reached.done, broken: reached.broken.length };
}

/** The codes that all processes encode, in the order of the images. */
async function* encodedByAll(
  options: ExtractOptions,
  journal: ExtractionJournal,
): AsyncGenerator<EncodedBatch, void, void> {
  const { mpi = alone, batch = 32 } = options;
  const perBatch = Math.max(1, Math.floor(batch / VIEWS[journal.augmentation]));
  const own = encodedBatches(options, journal, perBatch);
  yield* mpi.size === 1 ? own : inOrder(mpi, own, journal.broken, options.images.paths.length);
}

/** Encodes the images that a journal leaves to this process; the last batch is empty if they all were broken. */
async function* encodedBatches(
  { images, encode, size, grid, vocabulary, signal, mpi = alone, ...options }: ExtractOptions,
  { done, broken: brokenBefore, augmentation }: ExtractionJournal,
  perBatch: number,
): AsyncGenerator<EncodedBatch, void, void> {
  const total = images.paths.length;
  if (done === total) return;
  const views = VIEWS[augmentation];
  const tokens = grid[0] * grid[1];
  const broken = [...brokenBefore];
  const { workers, strict, onBroken = warnOfBroken } = options;
  const batches = loadImages(images, {
    size,
    batch: perBatch,
    augmentation,
    shuffle: false,
    epochs: 1,
    start: { epoch: 0, place: done },
    isOwn: (index) => Math.floor((index - done) / perBatch) % mpi.size === mpi.rank,
    workers,
    strict,
    onBroken(image) {
      broken.push(image.index);
      onBroken(image);
    },
  });
  for await (const { images: pixels, indices, labels, position } of batches) {
    signal?.throwIfAborted();
    const count = indices.length * views;
    const codes = await encode(pixelsToFloats(pixels, size), count);
    if (codes.length !== count * tokens) {
      throw new TypeError(
        `extractCodes: expected encode to give ${count} x ${tokens} tokens but found ${codes.length}`,
      );
    }
    const where = (i: number) => {
      const path = images.paths[indices[Math.floor(i / tokens / views)]];
      return `extractCodes: encode of ${path} at [${Math.floor(i / tokens) % views}, ${
        i % tokens
      }]`;
    };
    yield {
      codes: checkedIntegers(codes, vocabulary, "token", where),
      labels,
      indices,
      done: position.epoch > 0 ? total : position.place,
      broken: [...broken],
    };
  }
  const none = { codes: new Int32Array(), labels: new Int32Array(), indices: new Uint32Array() };
  yield { ...none, done: total, broken };
}

/** A text that differs wherever the images or their order do. */
async function digest({ paths, labels }: ImageFolder): Promise<string> {
  const text = JSON.stringify([paths, [...labels]]);
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return new Uint8Array(hash).toHex();
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
