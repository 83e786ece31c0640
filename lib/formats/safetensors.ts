// Reading and writing safetensors files, one tensor in memory at a time.
// Format: https://github.com/huggingface/safetensors#format
import { writeAll, writeAtomically } from "./atomic_write.ts";
import {
  arrayClass,
  broken,
  byteLengthOf,
  encodeHeader,
  headerLength,
  isDtype,
  parseHeader,
  type PlacedEntry,
  PREFIX_BYTES,
  type SafetensorsArray,
  type SafetensorsDtype,
  type SafetensorsEntry,
} from "./safetensors_header.ts";

export type { SafetensorsArray, SafetensorsDtype, SafetensorsEntry };

/** A tensor of a safetensors file with its elements in row-major order. */
export interface SafetensorsTensor {
  /** Element type. */
  dtype: SafetensorsDtype;
  /** Sizes of the dimensions; `[]` is a scalar. */
  shape: number[];
  /** The elements: F16 is a Float16Array; BF16 and F8 are raw bits; BOOL is 0 or 1 in a Uint8Array. */
  data: SafetensorsArray;
}

/** A tensor to write: its elements, or a function that fetches them when their turn has come. */
export interface SafetensorsInput {
  /** Element type. */
  dtype: SafetensorsDtype;
  /** Sizes of the dimensions; `[]` is a scalar. */
  shape: readonly number[];
  /** The elements (for F16 a Float16Array or its bits in a Uint16Array), or a function that gives them. */
  data: SafetensorsArray | (() => SafetensorsArray | Promise<SafetensorsArray>);
}

/** The whole content of a safetensors file. */
export interface SafetensorsContent {
  /** Free texts by name. */
  metadata: Record<string, string>;
  /** Tensors by name, in the order of the file. */
  tensors: Record<string, SafetensorsTensor>;
}

/** An open safetensors file, closed by `close()` or at the end of an `await using` scope. */
export interface SafetensorsFile extends AsyncDisposable {
  /** Free texts by name. */
  metadata: Record<string, string>;
  /** What the file holds, by name, in the order of the file. */
  entries: ReadonlyMap<string, SafetensorsEntry>;
  /** Reads the elements of one tensor. */
  read(name: string): Promise<SafetensorsArray>;
  /** Closes the file, after the reads that are under way. */
  close(): Promise<void>;
}

/**
 * Writes a safetensors file atomically: a crash leaves the old file or the new one. Tensors are laid
 * out by falling element size and then by name, so that each is aligned and the same tensors give
 * the same bytes.
 *
 * @param path where the file goes
 * @param tensors tensors by name; where `data` is a function, it is called when the tensor's turn has
 *   come, so that no more than one is in memory
 * @param metadata free texts that stand in the header
 * @returns a promise that resolves once the file is in place
 * @throws {TypeError} if an array does not fit its dtype and shape
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { readSafetensors, writeSafetensors } from "./safetensors.ts";
 *
 * const path = await Deno.makeTempFile();
 * await writeSafetensors(path, {
 *   weight: { dtype: "F32", shape: [2, 2], data: new Float32Array([1, 2, 3, 4]) },
 *   step: { dtype: "U32", shape: [], data: () => new Uint32Array([7]) },
 * }, { model: "linear" });
 * const { tensors, metadata } = await readSafetensors(path);
 * assertEquals(tensors.weight.data, new Float32Array([1, 2, 3, 4]));
 * assertEquals(tensors.step, { dtype: "U32", shape: [], data: new Uint32Array([7]) });
 * assertEquals(metadata, { model: "linear" });
 * await Deno.remove(path);
 * ```
 */
export async function writeSafetensors(
  path: string | URL,
  tensors: Record<string, SafetensorsInput>,
  metadata?: Record<string, string>,
): Promise<void> {
  const layout = layOut(tensors);
  const header = encodeHeader(layout, metadata);
  await writeAtomically(path, async (file) => {
    await writeAll(file, header);
    for (const [name, { dtype, byteLength }] of layout) {
      const { data } = tensors[name];
      const array = typeof data === "function" ? await data() : data;
      await writeAll(file, bytesOf(array, dtype, byteLength, name));
    }
  });
}

/**
 * Opens a safetensors file and checks its header; tensors are read one by one on demand.
 *
 * @param path the file
 * @returns the open file
 * @throws {Error} if the header is broken: the message names the file, the tensor and the fault
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openSafetensors, writeSafetensors } from "./safetensors.ts";
 *
 * const path = await Deno.makeTempFile();
 * await writeSafetensors(path, { a: { dtype: "I32", shape: [3], data: new Int32Array([1, 2, 3]) } });
 * await using file = await openSafetensors(path);
 * assertEquals(file.entries.get("a"), { dtype: "I32", shape: [3], byteLength: 12 });
 * assertEquals(await file.read("a"), new Int32Array([1, 2, 3]));
 * await Deno.remove(path);
 * ```
 */
export async function openSafetensors(path: string | URL): Promise<SafetensorsFile> {
  const source = String(path);
  const file = await Deno.open(path, { read: true });
  try {
    const { size } = await file.stat();
    const prefix = await readAt(file, 0, Math.min(PREFIX_BYTES, size), source);
    const length = headerLength(prefix, size, source);
    const dataStart = PREFIX_BYTES + length;
    const text = await readAt(file, PREFIX_BYTES, length, source);
    const { metadata, entries } = parseHeader(text, size - dataStart, source);
    let previous: Promise<unknown> = Promise.resolve();
    const inTurn = <T>(action: () => T | Promise<T>): Promise<T> => {
      const result = previous.then(action);
      previous = result.catch(() => {});
      return result;
    };
    const read = async (name: string) => {
      const { dtype, begin, byteLength } = entryOf(entries, name, source);
      return await inTurn(async () =>
        asArray(await readAt(file, dataStart + begin, byteLength, source), dtype)
      );
    };
    let closed: Promise<void> | undefined;
    const close = () => closed ??= inTurn(() => file.close());
    return {
      metadata,
      entries: withoutPlaces(entries),
      read,
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    file.close();
    throw error;
  }
}

/**
 * Reads a whole safetensors file.
 *
 * @param path the file
 * @returns all tensors and the metadata
 * @throws {Error} if the file is broken: the message names the file, the tensor and the fault
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { readSafetensors, writeSafetensors } from "./safetensors.ts";
 *
 * const path = await Deno.makeTempFile();
 * await writeSafetensors(path, { a: { dtype: "BOOL", shape: [2], data: new Uint8Array([0, 1]) } });
 * const { tensors: { a } } = await readSafetensors(path);
 * assertEquals(a, { dtype: "BOOL", shape: [2], data: new Uint8Array([0, 1]) });
 * await Deno.remove(path);
 * ```
 */
export async function readSafetensors(path: string | URL): Promise<SafetensorsContent> {
  await using file = await openSafetensors(path);
  const tensors: [string, SafetensorsTensor][] = [];
  for (const [name, { dtype, shape }] of file.entries) {
    tensors.push([name, { dtype, shape, data: await file.read(name) }]);
  }
  return { metadata: file.metadata, tensors: Object.fromEntries(tensors) };
}

/**
 * Reads a safetensors file from bytes in memory, such as the body of a response.
 *
 * @param bytes the content of the file
 * @param source what errors call the file
 * @returns all tensors, copied, and the metadata
 * @throws {Error} if the file is broken: the message names the source, the tensor and the fault
 *
 * @example
 * ```ts
 * import { assertThrows } from "@std/assert";
 * import { parseSafetensors } from "./safetensors.ts";
 *
 * assertThrows(() => parseSafetensors(new Uint8Array(3), "weights"), Error, "at least 8 bytes");
 * ```
 */
export function parseSafetensors(bytes: Uint8Array, source = "in memory"): SafetensorsContent {
  const dataStart = PREFIX_BYTES + headerLength(bytes, bytes.length, source);
  const { metadata, entries } = parseHeader(
    bytes.subarray(PREFIX_BYTES, dataStart),
    bytes.length - dataStart,
    source,
  );
  const tensors = Array.from(entries, ([name, { dtype, shape, begin, byteLength }]) => {
    const start = dataStart + begin;
    const data = asArray(new Uint8Array(bytes.subarray(start, start + byteLength)), dtype);
    return [name, { dtype, shape, data }] as const;
  });
  return { metadata, tensors: Object.fromEntries(tensors) };
}

/** The order and the places of the tensors in a file. */
function layOut(tensors: Record<string, SafetensorsInput>): Map<string, PlacedEntry> {
  const sorted = Object.keys(tensors).map((name) => {
    const { dtype, shape } = tensors[name];
    const problem = (what: string) => new TypeError(`writeSafetensors: tensor "${name}": ${what}`);
    if (!isDtype(dtype)) throw problem(`unknown dtype ${dtype}`);
    const byteLength = byteLengthOf(dtype, shape, problem);
    return { name, dtype, shape: [...shape], byteLength };
  });
  const elementBytes = (dtype: SafetensorsDtype) => arrayClass(dtype).BYTES_PER_ELEMENT;
  sorted.sort((a, b) =>
    elementBytes(b.dtype) - elementBytes(a.dtype) || (a.name < b.name ? -1 : 1)
  );
  let begin = 0;
  return new Map(sorted.map(({ name, dtype, shape, byteLength }) => {
    const entry = { dtype, shape, byteLength, begin };
    begin += byteLength;
    return [name, entry];
  }));
}

function bytesOf(
  array: SafetensorsArray,
  dtype: SafetensorsDtype,
  byteLength: number,
  name: string,
): Uint8Array {
  const expected = arrayClass(dtype);
  if (!(array instanceof expected || (dtype === "F16" && array instanceof Uint16Array))) {
    throw new TypeError(
      `writeSafetensors: expected tensor "${name}" of ${dtype} to be a ${expected.name}` +
        ` but found ${(array as object)?.constructor?.name ?? array}`,
    );
  }
  if (array.byteLength !== byteLength) {
    throw new TypeError(
      `writeSafetensors: expected tensor "${name}" to have ${
        byteLength / expected.BYTES_PER_ELEMENT
      } elements but found ${array.length}`,
    );
  }
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** Views bytes that own their buffer as an array; files and all machines Deno runs on are little-endian. */
function asArray(bytes: Uint8Array<ArrayBuffer>, dtype: SafetensorsDtype): SafetensorsArray {
  return new (arrayClass(dtype))(bytes.buffer);
}

function entryOf(
  entries: Map<string, PlacedEntry>,
  name: string,
  source: string,
): PlacedEntry {
  const entry = entries.get(name);
  if (entry) return entry;
  throw new RangeError(`openSafetensors: ${source} holds no tensor "${name}"`);
}

function withoutPlaces(entries: Map<string, PlacedEntry>): Map<string, SafetensorsEntry> {
  return new Map(
    Array.from(entries, ([name, { dtype, shape, byteLength }]) => [
      name,
      { dtype, shape, byteLength },
    ]),
  );
}

async function readAt(
  file: Deno.FsFile,
  position: number,
  length: number,
  source: string,
): Promise<Uint8Array<ArrayBuffer>> {
  await file.seek(position, Deno.SeekMode.Start);
  const bytes = new Uint8Array(length);
  for (let offset = 0; offset < length;) {
    const count = await file.read(bytes.subarray(offset));
    if (count === null) throw broken(source, "it became shorter while it was read");
    offset += count;
  }
  return bytes;
}
