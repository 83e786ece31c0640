// Where an extraction writes codes: one packed file, or LlamaGen's two files an image.
import { writeAll } from "../../lib/formats/atomic_write.ts";
import { encodeNpy } from "../../lib/formats/npy.ts";
import { arrayClass, encodeHeader, PREFIX_BYTES } from "../../lib/formats/safetensors_header.ts";
import { type CodeMeaning, packedDtype, packedMetadata } from "./packed_codes.ts";

/** A result that grows image by image. */
export interface CodeSink extends AsyncDisposable {
  /** Appends images: tokens `[count, views, tokens]` and labels `[count]`. */
  write(codes: Int32Array, labels: Int32Array): Promise<void>;
  /** Makes sure that what was written stays. */
  flush(): Promise<void>;
  /** Completes the result; `labels` are those of all its images. */
  finish(labels: Int32Array): Promise<void>;
}

/** What a result will hold. */
export interface SinkOptions extends CodeMeaning {
  /** The most images that it can come to hold. */
  total: number;
  /** Views of an image. */
  views: number;
  /** Rows and columns of an image in pixels. */
  size: number;
}

/** Room for the JSON of a packed file's header, which takes some 250 bytes. */
const HEADER_ROOM = 1024;

/**
 * Opens the part of a packed file. In front of the codes, room is left for the header and the labels
 * of all images; the header is padded to what the labels leave of it.
 *
 * @param path the file
 * @param options what it will hold
 * @param written images that it holds already; what comes after them is cut off
 * @returns the sink
 * @throws {Error} if the file holds fewer images
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openPackedSink } from "./extract_sinks.ts";
 * import { openPackedCodes } from "./packed_codes.ts";
 *
 * const path = await Deno.makeTempFile();
 * const meaning = { grid: [1, 2], vocabulary: 8, classes: 10 } as const;
 * {
 *   await using sink = await openPackedSink(path, { total: 9, views: 1, size: 8, ...meaning }, 0);
 *   await sink.write(new Int32Array([1, 2]), new Int32Array([7]));
 *   await sink.finish(new Int32Array([7]));
 * }
 * {
 *   await using dataset = await openPackedCodes(path);
 *   assertEquals((await dataset.read([0])).codes, new Int32Array([1, 2]));
 * }
 * await Deno.remove(path);
 * ```
 */
export async function openPackedSink(
  path: string,
  { total, views, ...meaning }: SinkOptions,
  written: number,
): Promise<CodeSink> {
  const dtype = packedDtype(meaning.vocabulary);
  const Elements = arrayClass(dtype);
  const tokens = meaning.grid[0] * meaning.grid[1];
  const imageBytes = views * tokens * Elements.BYTES_PER_ELEMENT;
  const codesStart = Math.ceil((HEADER_ROOM + 4 * total) / 8) * 8;
  const file = await Deno.open(path, { write: true, create: true });
  const end = codesStart + written * imageBytes;
  const { size } = await file.stat();
  if (written > 0 && size < end) {
    file.close();
    throw new Error(
      `${path}: expected the ${written} images of its journal but it is too short;` +
        ` remove it to begin anew`,
    );
  }
  await file.truncate(end);
  await file.seek(end, Deno.SeekMode.Start);
  return {
    async write(codes) {
      const elements = new Elements(codes);
      await writeAll(file, new Uint8Array(elements.buffer));
    },
    flush: () => file.syncData(),
    async finish(labels) {
      const count = labels.length;
      const [labelBytes, codeBytes] = [4 * count, count * imageBytes];
      const codes = {
        dtype,
        shape: [count, views, tokens],
        begin: labelBytes,
        byteLength: codeBytes,
      };
      const encoded = encodeHeader([
        ["labels", { dtype: "I32", shape: [count], begin: 0, byteLength: labelBytes }],
        ["codes", codes],
      ], packedMetadata(meaning));
      const header = new Uint8Array(codesStart - labelBytes).fill(0x20);
      header.set(encoded);
      const padded = BigInt(header.length - PREFIX_BYTES);
      new DataView(header.buffer).setBigUint64(0, padded, true);
      await file.seek(0, Deno.SeekMode.Start);
      await writeAll(file, header);
      await writeAll(file, new Uint8Array(Int32Array.from(labels).buffer));
      await file.sync();
    },
    [Symbol.asyncDispose]() {
      file.close();
      return Promise.resolve();
    },
  };
}

/**
 * Opens the part of a folder in LlamaGen's layout: `imagenet{S}_codes/{i}.npy` of int64
 * (1, views, tokens) and `imagenet{S}_labels/{i}.npy` of int64 (1).
 *
 * @param path the folder
 * @param options what it will hold
 * @param written images that it holds already
 * @returns the sink
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { readNpy } from "../../lib/formats/npy.ts";
 * import { openLlamaGenSink } from "./extract_sinks.ts";
 *
 * const root = await Deno.makeTempDir();
 * const options = { total: 9, views: 1, size: 8, grid: [1, 2], vocabulary: 8, classes: 9 } as const;
 * await using sink = await openLlamaGenSink(`${root}/codes`, options, 0);
 * await sink.write(new Int32Array([1, 2]), new Int32Array([7]));
 * const { shape } = await readNpy(`${root}/codes/imagenet8_codes/0.npy`);
 * assertEquals(shape, [1, 1, 2]);
 * await Deno.remove(root, { recursive: true });
 * ```
 */
export async function openLlamaGenSink(
  path: string,
  { views, size, grid }: SinkOptions,
  written: number,
): Promise<CodeSink> {
  const tokens = grid[0] * grid[1];
  const folders = {
    codes: `${path}/imagenet${size}_codes`,
    labels: `${path}/imagenet${size}_labels`,
  };
  if (written === 0) await removeFolder(path);
  for (const folder of Object.values(folders)) await Deno.mkdir(folder, { recursive: true });
  let next = written;
  const writeArray = (folder: string, shape: number[], values: Int32Array) =>
    Deno.writeFile(
      `${folder}/${next}.npy`,
      encodeNpy({ dtype: "i8", shape, data: BigInt64Array.from(values, BigInt) }),
    );
  return {
    async write(codes, labels) {
      for (let i = 0; i < labels.length; i++, next++) {
        const own = codes.subarray(i * views * tokens, (i + 1) * views * tokens);
        await writeArray(folders.codes, [1, views, tokens], own);
        await writeArray(folders.labels, [1], labels.subarray(i, i + 1));
      }
    },
    flush: () => Promise.resolve(),
    finish: () => Promise.resolve(),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

async function removeFolder(path: string): Promise<void> {
  try {
    await Deno.remove(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
