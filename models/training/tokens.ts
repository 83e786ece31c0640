/** The tokens of a run's images, which the model is trained on. */
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { jit } from "../../lib/transforms/jit.ts";
import { alone, type Mpi } from "../../lib/distributed/mpi.ts";
import { imageSizeOf } from "../config/data.ts";
import type { RunConfig } from "../config/schema.ts";
import { openCodes } from "../data/code_files.ts";
import type { CodeDataset } from "../data/codes.ts";
import { extractCodes } from "../data/extract.ts";
import { openPackedCodes } from "../data/packed_codes.ts";
import { sequenceGrid } from "../fmt/config.ts";
import type { TokenArray } from "../kinds/model.ts";
import { type Tokenizer, tokenizerKind, tokenLayout } from "../kinds/tokenizer.ts";
import type { ParametersOf } from "../model.ts";
import { isFolder, readImages, type RunImages } from "./data.ts";
import { joinBytes, ownRange } from "./ranks.ts";

/** Images as tokens, with a class each. */
export interface TokenDataset {
  /** Number of images. */
  readonly count: number;
  /** Views of each image, one of which is drawn for a step. */
  readonly views: number;
  /** Whether they are read from files, so that it is worth while to read ahead. */
  readonly isSlow?: boolean;
  /**
   * Reads images.
   *
   * @param indices Numbers of images.
   * @param views Of each the number of the view.
   * @returns Tokens by grid index, codes [B·N] or vectors [B·N·channels], and classes [B].
   */
  read(
    indices: ArrayLike<number>,
    views: ArrayLike<number>,
  ): Promise<{ readonly tokens: TokenArray; readonly labels: ArrayLike<number> }>;
}

/**
 * Tokens that are in memory.
 *
 * @param tokens Of all images, by grid index: codes [count·N] or vectors [count·N·channels].
 * @param labels The class of each image [count].
 * @returns The dataset, of one view.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tokensInMemory } from "./tokens.ts";
 *
 * const dataset = tokensInMemory(Int32Array.of(1, 2, 3, 4), [7, 8]);
 * assertEquals((await dataset.read([1], [0])).tokens, Int32Array.of(3, 4));
 * ```
 */
export function tokensInMemory(tokens: TokenArray, labels: ArrayLike<number>): TokenDataset {
  const each = tokens.length / labels.length;
  return {
    count: labels.length,
    views: 1,
    read(indices) {
      const chosen = Array.from(indices);
      const own = tokens instanceof Int32Array
        ? new Int32Array(chosen.length * each)
        : new Float32Array(chosen.length * each);
      chosen.forEach((index, i) =>
        own.set(tokens.subarray(index * each, (index + 1) * each), i * each)
      );
      const ownLabels = Int32Array.from(chosen, (index) => labels[index]!);
      return Promise.resolve({ tokens: own, labels: ownLabels });
    },
  };
}

/** Codes of files. */
function tokensOfCodes(dataset: CodeDataset): TokenDataset {
  return {
    count: dataset.count,
    views: dataset.augmentations,
    isSlow: true,
    async read(indices, views) {
      const { codes, labels } = await dataset.read(indices, views);
      return { tokens: codes, labels };
    },
  };
}

/**
 * Opens codes that were extracted before.
 *
 * @param config The run's configuration, whose data are codes.
 * @returns The codes; the file is closed when the process ends.
 * @throws {RangeError} If they are not of the run's classes, grid or vocabulary; the file and the field are named.
 * @throws {Error} If a file is missing or broken.
 */
export async function openRunCodes({ data, tokenizer }: RunConfig): Promise<TokenDataset> {
  if (data.source !== "codes") throw new TypeError("openRunCodes: expected data of codes");
  const { path, classes } = data;
  const { values, ...grids } = tokenLayout(tokenizer, imageSizeOf(data));
  if (values.kind !== "codes") throw new TypeError("openRunCodes: expected a tokenizer of codes");
  const { vocabulary } = values;
  const { height, width } = sequenceGrid(grids);
  const dataset = await openCodes(path, { vocabulary, classes, grid: [height, width] });
  const wanted = {
    classes: [dataset.classes, classes, "data.classes"],
    vocabulary: [dataset.vocabulary, vocabulary, "the tokenizer's"],
    grid: [dataset.grid.join("x"), `${height}x${width}`, "the tokenizer's"],
  } as const;
  for (const [field, [found, expected, whose]] of Object.entries(wanted)) {
    if (found === expected) continue;
    throw new RangeError(`${path}: ${field}: expected ${expected} (${whose}) but found ${found}`);
  }
  return tokensOfCodes(dataset);
}

/** Told how far something is. */
type Report = (done: number, total: number) => void;

/**
 * The tokens of all images of a run. Codes of a folder's images are kept in a file, beside the run's others, and taken
 * up where an interruption left them; all else is encoded in memory.
 *
 * @param config The run's configuration.
 * @param params Parameters of its tokenizer.
 * @param images Its images.
 * @param folder The run's folder.
 * @param report Told how far it is.
 * @param warn Told of images that cannot be read.
 * @param mpi The processes, each of which encodes a part.
 * @returns The tokens.
 */
export async function encodeRun(
  { tokenizer: model, data }: RunConfig,
  params: ParametersOf<Tokenizer>,
  images: RunImages,
  folder: string,
  report: Report,
  warn: (message: string) => void = console.warn,
  mpi: Mpi = alone,
): Promise<TokenDataset> {
  const { values, ...grids } = tokenLayout(model, imageSizeOf(data));
  if (!isFolder(images) || data.source !== "folder" || values.kind === "vectors") {
    return await encodeData(model, params, images, report, mpi);
  }
  const out = `${folder}/codes.safetensors`;
  const isThere = await Deno.stat(out).then(() => true, () => false);
  if (!mpi.share(isThere)) {
    const { size, augmentation, workers, strict } = data;
    const { height, width } = sequenceGrid(grids);
    const encode = encoderOf(model, params);
    await extractCodes({
      ...{ out, size, workers, strict, vocabulary: values.vocabulary, grid: [height, width] },
      images: images.folder,
      mpi,
      augmentation: augmentation === "center" ? "center" : "flips",
      encode: (pixels, count) => encode(pixels, [count, 3, size, size]),
      onBroken: ({ path, message }) => warn(`Left out ${path}: ${message}`),
      onProgress: ({ done, total }) => report(done, total),
    });
    mpi.barrier(); // the file is there once rank 0 is done
  }
  return tokensOfCodes(await openPackedCodes(out));
}

/**
 * A function that encodes pixels in batches of one size, so that one program serves all, a smaller last one too.
 *
 * @param model The tokenizer.
 * @param params Its parameters.
 * @returns A function from pixels in -1..1 and their shape [B, C, H, W] to codes [B·N] or vectors [B·N·channels].
 */
export function encoderOf<M extends Tokenizer>(
  model: M,
  params: ParametersOf<Tokenizer>,
): (
  pixels: Float32Array<ArrayBuffer>,
  shape: readonly [number, number, number, number],
) => Promise<TokenArray> {
  const kind = tokenizerKind<Tokenizer>(model);
  const encode = jit((params: ParametersOf<Tokenizer>, images: Tensor) =>
    kind.encode(model, params, images)
  );
  let largest = 0;
  return async (pixels, [count, ...image]) => {
    largest = Math.max(largest, count);
    const filled = new Float32Array(pixels.length / count * largest);
    filled.set(pixels);
    const tokens = encode(params, tensor(filled, { shape: [largest, ...image] }));
    const data = await tokens.data() as TokenArray;
    tokens.dispose();
    return data.subarray(0, data.length / largest * count);
  };
}

/** Values of pixels encoded together: 250 images of MNIST. */
const encodeValues = 250 * 28 * 28;

/**
 * Encodes all images in memory.
 *
 * @param model The tokenizer.
 * @param params Its parameters.
 * @param data The images; of a folder a view of each, and in place of a broken one the next.
 * @param report Told how many batches are done.
 * @param mpi The processes, each of which encodes a part and gets all.
 * @returns Their tokens and classes.
 */
export async function encodeData(
  model: Tokenizer,
  params: ParametersOf<Tokenizer>,
  data: RunImages,
  report: Report,
  mpi: Mpi = alone,
): Promise<TokenDataset> {
  const encode = encoderOf(model, params);
  const perImage = isFolder(data) ? 3 * data.size ** 2 : data.images.length / data.count;
  const size = Math.max(1, Math.floor(encodeValues / perImage));
  const [start, end] = ownRange(mpi, data.count);
  const total = Math.ceil((end - start) / size);
  const batches: TokenArray[] = [];
  const classes: number[] = [];
  for (let batch = 0; batch < total; batch++) {
    const at = start + batch * size;
    const count = Math.min(size, end - at);
    const indices = Array.from({ length: count }, (_, i) => at + i);
    const { images, labels } = await readImages(data, indices, [0, 0]);
    const pixels = await images.data() as Float32Array<ArrayBuffer>;
    batches.push(await encode(pixels, images.shape as [number, number, number, number]));
    classes.push(...Array.from(labels));
    report(batch + 1, total);
  }
  const first = batches[0]!;
  const length = batches.reduce((sum, tokens) => sum + tokens.length, 0);
  const own = first instanceof Int32Array ? new Int32Array(length) : new Float32Array(length);
  batches.forEach((tokens, batch) => own.set(tokens, batch * first.length));
  const all = joinBytes(mpi.gatherBytes(new Uint8Array(own.buffer)));
  const tokens = own instanceof Int32Array ? new Int32Array(all) : new Float32Array(all);
  return tokensInMemory(tokens, mpi.gather(classes).flat());
}
