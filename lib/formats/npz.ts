// Reading and writing NumPy's .npz files (zip archives of .npy files), slice by slice.
// Format: https://numpy.org/doc/stable/reference/generated/numpy.savez.html
import { Reader, ZipReader, ZipWriter } from "npm:@zip.js/zip.js@2.24.0";
import { writeAll, writeAtomically } from "./atomic_write.ts";
import {
  encodeNpyHeader,
  type NpyArray,
  type NpyDtype,
  npyElements,
  type NpyHeader,
  parseNpyHeader,
} from "./npy.ts";

/** An array to write: its elements, or slices of them that are fetched one by one. */
export interface NpzInput {
  /** Element type. */
  dtype: NpyDtype;
  /** Sizes of the dimensions; `[]` is a scalar. */
  shape: readonly number[];
  /** The elements in row-major order, at once or in pieces. */
  data: NpyArray["data"] | Uint8Array | AsyncIterable<NpyArray["data"] | Uint8Array>;
}

/** An open .npz file, closed by `close()` or at the end of an `await using` scope. */
export interface NpzFile extends AsyncDisposable {
  /** Type and shape of what the file holds, by name, in the order of the file. */
  entries: ReadonlyMap<string, Pick<NpyHeader, "dtype" | "shape">>;
  /** Reads one array whole. */
  read(name: string): Promise<NpyArray>;
  /** Reads one array in order, at most `rows` of its first dimension at a time. */
  slices(name: string, rows: number): AsyncGenerator<NpyArray>;
  /** Closes the file. */
  close(): Promise<void>;
}

/**
 * Writes a .npz file atomically. Arrays are stored without compression and in the 64-bit form of zip,
 * as `numpy.savez` does, so that files of more than 4 GB can be written; the same arrays give the same
 * bytes.
 *
 * @param path where the file goes
 * @param arrays arrays by name (`arr_0`, `arr_1`, … are those that have none in NumPy)
 * @returns a promise that resolves once the file is in place
 * @throws {TypeError} if the elements of an array do not fill its shape
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openNpz, writeNpz } from "./npz.ts";
 *
 * const path = await Deno.makeTempFile();
 * async function* images() {
 *   for (let i = 0; i < 3; i++) yield new Uint8Array(4).fill(i);
 * }
 * await writeNpz(path, { arr_0: { dtype: "u1", shape: [3, 2, 2], data: images() } });
 * await using file = await openNpz(path);
 * assertEquals(file.entries.get("arr_0"), { dtype: "u1", shape: [3, 2, 2] });
 * for await (const { shape } of file.slices("arr_0", 3)) assertEquals(shape, [3, 2, 2]);
 * await Deno.remove(path);
 * ```
 */
export async function writeNpz(
  path: string | URL,
  arrays: Readonly<Record<string, NpzInput>>,
): Promise<void> {
  await writeAtomically(path, async (file) => {
    const sink = new WritableStream<Uint8Array>({ write: (bytes) => writeAll(file, bytes) });
    const zip = new ZipWriter(sink, {
      level: 0,
      zip64: true,
      useWebWorkers: false,
      extendedTimestamp: false,
      lastModDate: new Date(1980, 0, 1),
    });
    for (const [name, array] of Object.entries(arrays)) {
      await zip.add(`${name}.npy`, ReadableStream.from(npyBytes(name, array)));
    }
    await zip.close();
  });
}

/** The bytes of a .npy file, piece by piece. */
async function* npyBytes(
  name: string,
  { dtype, shape, data }: NpzInput,
): AsyncGenerator<Uint8Array> {
  yield encodeNpyHeader(dtype, shape);
  const count = shape.reduce((product, size) => product * size, 1);
  let found = 0;
  for await (const piece of ArrayBuffer.isView(data) ? [data] : data) {
    found += piece.length;
    const bytes = new Uint8Array(piece.buffer, piece.byteOffset, piece.byteLength);
    for (let at = 0; at < bytes.length; at += PIECE) yield bytes.subarray(at, at + PIECE);
  }
  if (found === count) return;
  throw new TypeError(
    `writeNpz: expected ${name} to have ${count} elements for shape [${shape.join(", ")}]` +
      ` but found ${found}`,
  );
}

/** Bytes that are handed to the zip writer at once. */
const PIECE = 2 ** 20;

/**
 * Opens a .npz file and reads the headers of its arrays; elements are read on demand.
 *
 * @param path the file
 * @returns the open file
 * @throws {Error} if it is no zip archive of .npy files, or an array is of a kind that is not supported
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openNpz, writeNpz } from "./npz.ts";
 *
 * const path = await Deno.makeTempFile();
 * await writeNpz(path, { mu: { dtype: "f8", shape: [2], data: new Float64Array([1, 2]) } });
 * await using file = await openNpz(path);
 * assertEquals((await file.read("mu")).data, new Float64Array([1, 2]));
 * await Deno.remove(path);
 * ```
 */
export async function openNpz(path: string | URL): Promise<NpzFile> {
  const source = String(path);
  const reader = new FileSource(await Deno.open(path, { read: true }));
  try {
    const zip = new ZipReader(reader, { useWebWorkers: false, checkSignature: true });
    const members = new Map<string, Member>();
    for (const entry of await zip.getEntries().catch((error) => reject(source, error))) {
      if (entry.directory || !entry.filename.endsWith(".npy")) continue;
      const name = entry.filename.slice(0, -".npy".length);
      const open = () => bytesOf((sink) => entry.getData(sink), `${name} of ${source}`);
      const size = entry.uncompressedSize;
      members.set(name, { open, header: await readHeader(open, size, `${name} of ${source}`) });
    }
    const find = (name: string) => {
      const member = members.get(name);
      if (member) return member;
      throw new RangeError(
        `openNpz: expected an array of ${source} (${[...members.keys()].join(", ")})` +
          ` but found "${name}"`,
      );
    };
    const close = async () => {
      await zip.close();
      reader.close();
    };
    return {
      entries: new Map(
        Array.from(members, ([name, { header: { dtype, shape } }]) => [name, { dtype, shape }]),
      ),
      async read(name) {
        const { header: { dtype, shape, dataStart, byteLength }, open } = find(name);
        await using bytes = open();
        await bytes.take(dataStart);
        const data = npyElements(dtype, await bytes.take(byteLength));
        await bytes.end();
        return { dtype, shape, data };
      },
      async *slices(name, rows) {
        const { header: { dtype, shape: [count, ...rest], dataStart, byteLength }, open } = find(
          name,
        );
        if (count === undefined || !Number.isInteger(rows) || rows < 1) {
          throw new RangeError(
            `openNpz: expected an array with rows, and at least 1 of them at a time, but found` +
              ` ${rows} of ${name}`,
          );
        }
        await using bytes = open();
        await bytes.take(dataStart);
        for (let at = 0; at < count; at += rows) {
          const taken = Math.min(rows, count - at);
          const data = npyElements(dtype, await bytes.take(byteLength / count * taken));
          yield { dtype, shape: [taken, ...rest], data };
        }
        await bytes.end();
      },
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    reader.close();
    throw error;
  }
}

/** An array of an open file. */
interface Member {
  open(): Bytes;
  header: NpyHeader;
}

/** Bytes that come in order. */
interface Bytes extends AsyncDisposable {
  /** Exactly the next `length` bytes. */
  take(length: number): Promise<Uint8Array<ArrayBuffer>>;
  /** Waits until the source has been read to its end, and checked. */
  end(): Promise<void>;
}

/** Turns a function that writes into a stream into bytes that are asked for. */
function bytesOf(write: (sink: WritableStream) => Promise<unknown>, source: string): Bytes {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const written = write(writable);
  // What fails before its first byte does not end the stream.
  const failed = new Promise<never>((_, reject) => void written.catch(reject));
  failed.catch(() => {});
  const reader = readable.getReader();
  let held: Uint8Array = new Uint8Array(0);
  return {
    async take(length) {
      const bytes = new Uint8Array(length);
      for (let at = 0; at < length;) {
        if (held.length === 0) {
          const { value, done } = await Promise.race([reader.read(), failed])
            .catch((error) => reject(source, error));
          if (done) throw broken(source, `expected ${length - at} more bytes but it ends`);
          held = value!;
        }
        const piece = held.subarray(0, length - at);
        bytes.set(piece, at);
        at += piece.length;
        held = held.subarray(piece.length);
      }
      return bytes;
    },
    async end() {
      const { done } = await Promise.race([reader.read(), failed])
        .catch((error) => reject(source, error));
      if (!done || held.length > 0) throw broken(source, "expected it to end but found more bytes");
      await written.catch((error) => reject(source, error));
    },
    async [Symbol.asyncDispose]() {
      await reader.cancel().catch(() => {});
      await written.catch(() => {});
    },
  };
}

async function readHeader(
  open: () => Bytes,
  size: number,
  source: string,
): Promise<NpyHeader> {
  await using bytes = open();
  const beginning = await bytes.take(Math.min(size, LARGEST_HEADER));
  const header = parseNpyHeader(beginning, source);
  if (header.dataStart + header.byteLength === size) return header;
  throw broken(
    source,
    `expected ${header.byteLength} bytes of data for shape [${header.shape.join(", ")}]` +
      ` of ${header.dtype} but found ${size - header.dataStart}`,
  );
}

/** Bytes in which the header of an array has to be; those of NumPy have 128. */
const LARGEST_HEADER = 2 ** 16;

/** A file that zip.js reads parts of. */
class FileSource extends Reader<Deno.FsFile> {
  readonly #file: Deno.FsFile;
  #previous: Promise<unknown> = Promise.resolve();
  #open = true;

  constructor(file: Deno.FsFile) {
    super(file);
    this.#file = file;
  }

  override async init(): Promise<void> {
    await super.init?.();
    this.size = (await this.#file.stat()).size;
  }

  /** Reads in turn, because the file has one position. */
  override readUint8Array(index: number, length: number): Promise<Uint8Array> {
    const result = this.#previous.then(() => this.#read(index, length));
    this.#previous = result.catch(() => {});
    return result;
  }

  async #read(index: number, length: number): Promise<Uint8Array> {
    await this.#file.seek(index, Deno.SeekMode.Start);
    const bytes = new Uint8Array(Math.max(0, Math.min(length, this.size - index)));
    for (let at = 0; at < bytes.length;) {
      const count = await this.#file.read(bytes.subarray(at));
      if (count === null) throw new Error("it became shorter while it was read");
      at += count;
    }
    return bytes;
  }

  close(): void {
    if (this.#open) this.#file.close();
    this.#open = false;
  }
}

function broken(source: string, what: string, cause?: unknown): Error {
  return new Error(`Broken npz file ${source}: ${what}`, { cause });
}

function reject(source: string, error: unknown): never {
  throw broken(source, error instanceof Error ? error.message : String(error), error);
}
