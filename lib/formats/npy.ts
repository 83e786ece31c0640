// Reading and writing NumPy's .npy files.
// Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
import { z } from "npm:zod@4.6.7";
import { writeFileAtomically } from "./atomic_write.ts";

const ARRAYS = {
  f4: Float32Array,
  f8: Float64Array,
  i4: Int32Array,
  i8: BigInt64Array,
  u1: Uint8Array,
  u4: Uint32Array,
  b1: Uint8Array,
} as const;

/** The element types of .npy files that are read and written, in NumPy's notation. */
export type NpyDtype = keyof typeof ARRAYS;

/** An array of a .npy file with its elements in row-major (C) order. */
export interface NpyArray {
  /** Element type. */
  dtype: NpyDtype;
  /** Sizes of the dimensions; `[]` is a scalar. */
  shape: number[];
  /** The elements; booleans (`b1`) are 0 or 1 in a Uint8Array. */
  data: InstanceType<(typeof ARRAYS)[NpyDtype]>;
}

/** The signature; the major and the minor version follow it. */
const MAGIC = [0x93, ...new TextEncoder().encode("NUMPY")];

const headerSchema = z.strictObject({
  descr: z.string("structured dtypes are not supported"),
  fortran_order: z.boolean(),
  shape: z.array(z.int().nonnegative()),
});

/**
 * Reads a .npy file (format versions 1 and 2, little-endian, C order).
 *
 * @param path the file
 * @returns the array
 * @throws {Error} if the file is broken or of a kind that is not supported; the message says which
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { readNpy, writeNpy } from "./npy.ts";
 *
 * const path = await Deno.makeTempFile();
 * await writeNpy(path, { dtype: "f4", shape: [2], data: new Float32Array([1, 2]) });
 * assertEquals((await readNpy(path)).data, new Float32Array([1, 2]));
 * await Deno.remove(path);
 * ```
 */
export async function readNpy(path: string | URL): Promise<NpyArray> {
  return parseNpy(await Deno.readFile(path), String(path));
}

/**
 * Reads the bytes of a .npy file.
 *
 * @param bytes the content of the file
 * @param source what errors call the file
 * @returns the array, its elements copied
 * @throws {Error} if the bytes are broken or of a kind that is not supported; the message says which
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { encodeNpy, parseNpy } from "./npy.ts";
 *
 * const bytes = encodeNpy({ dtype: "b1", shape: [1, 2], data: new Uint8Array([0, 1]) });
 * assertEquals(parseNpy(bytes).shape, [1, 2]);
 * ```
 */
export function parseNpy(bytes: Uint8Array, source = "in memory"): NpyArray {
  const { dtype, shape, dataStart, byteLength } = parseNpyHeader(bytes, source);
  if (bytes.length - dataStart !== byteLength) {
    throw broken(
      source,
      `expected ${byteLength} bytes of data for shape [${shape.join(", ")}] of ${dtype}` +
        ` but found ${bytes.length - dataStart}`,
    );
  }
  return { dtype, shape, data: npyElements(dtype, new Uint8Array(bytes.subarray(dataStart))) };
}

/** What the header of a .npy file says. */
export interface NpyHeader {
  /** Element type. */
  dtype: NpyDtype;
  /** Sizes of the dimensions; `[]` is a scalar. */
  shape: number[];
  /** Where the elements begin, in bytes from the start of the file. */
  dataStart: number;
  /** Bytes of the elements. */
  byteLength: number;
}

/**
 * Reads the header of a .npy file from its first bytes (64 KiB are enough for version 1).
 *
 * @param bytes the beginning of the file, at least its header
 * @param source what errors call the file
 * @returns the type and shape of the array and the place of its elements
 * @throws {Error} if the header is broken or of a kind that is not supported; the message says which
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { encodeNpy, parseNpyHeader } from "./npy.ts";
 *
 * const bytes = encodeNpy({ dtype: "u1", shape: [2], data: new Uint8Array([3, 4]) });
 * const header = parseNpyHeader(bytes.subarray(0, 128));
 * assertEquals(header, { dtype: "u1", shape: [2], dataStart: 128, byteLength: 2 });
 * ```
 */
export function parseNpyHeader(bytes: Uint8Array, source = "in memory"): NpyHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 12 || MAGIC.some((byte, i) => bytes[i] !== byte)) {
    throw broken(source, "expected it to begin with the signature of the format");
  }
  const version = bytes[6];
  if (version !== 1 && version !== 2) {
    throw broken(source, `expected format version 1 or 2 but found ${version}`);
  }
  const headerStart = version === 1 ? 10 : 12;
  const headerBytes = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  const dataStart = headerStart + headerBytes;
  if (dataStart > bytes.length) {
    throw broken(source, `expected a header of ${headerBytes} bytes but the file ends within it`);
  }
  let literal: unknown;
  try {
    literal = parseLiteral(new TextDecoder().decode(bytes.subarray(headerStart, dataStart)));
  } catch (error) {
    throw broken(source, "expected the header to be a Python dictionary", error);
  }
  const header = headerSchema.safeParse(literal);
  if (!header.success) {
    const { path, message } = header.error.issues[0];
    throw broken(source, `${path.join(".")}: ${message}`);
  }
  const { descr, fortran_order, shape } = header.data;
  if (fortran_order) {
    throw broken(source, "expected C order but found Fortran order, not supported");
  }
  if (descr.startsWith(">")) throw broken(source, `big-endian dtype ${descr} is not supported`);
  const dtype = descr.slice(1);
  const isOneByte = dtype === "u1" || dtype === "b1";
  if (!isDtype(dtype) || !(descr[0] === "<" || (isOneByte && descr[0] === "|"))) {
    throw broken(
      source,
      `dtype ${descr} is not supported (${Object.keys(ARRAYS).join(", ")} are)`,
    );
  }
  return { dtype, shape, dataStart, byteLength: byteLength(dtype, shape) };
}

/** Views bytes that own their buffer as the elements of an array. */
export function npyElements(dtype: NpyDtype, bytes: Uint8Array<ArrayBuffer>): NpyArray["data"] {
  return new ARRAYS[dtype](bytes.buffer);
}

/**
 * Writes a .npy file atomically.
 *
 * @param path where the file goes
 * @param array the array
 * @returns a promise that resolves once the file is in place
 * @throws {TypeError} if the elements do not fit the dtype and the shape
 *
 * @example
 * ```ts
 * import { writeNpy } from "./npy.ts";
 *
 * const path = await Deno.makeTempFile();
 * await writeNpy(path, { dtype: "i4", shape: [1, 2], data: new Int32Array([1, 2]) });
 * await Deno.remove(path);
 * ```
 */
export async function writeNpy(path: string | URL, array: NpyArray): Promise<void> {
  await writeFileAtomically(path, encodeNpy(array));
}

/**
 * The bytes of a .npy file, of format version 1 unless the shape needs the longer header of 2.
 *
 * @param array the array
 * @returns the content of the file
 * @throws {TypeError} if the elements do not fit the dtype and the shape
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { encodeNpy } from "./npy.ts";
 *
 * const bytes = encodeNpy({ dtype: "u1", shape: [], data: new Uint8Array([7]) });
 * assertEquals(bytes.length, 128 + 1);
 * ```
 */
export function encodeNpy({ dtype, shape, data }: NpyArray): Uint8Array<ArrayBuffer> {
  if (!isDtype(dtype) || !(data instanceof ARRAYS[dtype])) {
    throw new TypeError(`encodeNpy: dtype ${dtype} does not go with a ${data?.constructor.name}`);
  }
  if (byteLength(dtype, shape) !== data.byteLength) {
    throw new TypeError(
      `encodeNpy: expected data to fill shape [${
        shape.join(", ")
      }] but found ${data.length} elements`,
    );
  }
  const header = encodeNpyHeader(dtype, shape);
  const bytes = new Uint8Array(header.length + data.byteLength);
  bytes.set(header);
  bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), header.length);
  return bytes;
}

/**
 * The bytes that come before the elements in a .npy file.
 *
 * @param dtype element type
 * @param shape sizes of the dimensions
 * @returns the signature and the header, padded to a multiple of 64 bytes
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { encodeNpyHeader } from "./npy.ts";
 *
 * assertEquals(encodeNpyHeader("u1", [50_000, 256, 256, 3]).length, 128);
 * ```
 */
export function encodeNpyHeader(
  dtype: NpyDtype,
  shape: readonly number[],
): Uint8Array<ArrayBuffer> {
  const order = ARRAYS[dtype].BYTES_PER_ELEMENT === 1 ? "|" : "<";
  const tuple = shape.map((size) => `${size},`).join(" ");
  const text = `{'descr': '${order}${dtype}', 'fortran_order': False, 'shape': (${tuple}), }`;
  const version = text.length + 64 > 0xffff ? 2 : 1;
  const headerStart = version === 1 ? 10 : 12;
  const dataStart = Math.ceil((headerStart + text.length + 1) / 64) * 64;
  const header = text.padEnd(dataStart - headerStart - 1) + "\n";

  const bytes = new Uint8Array(dataStart);
  const view = new DataView(bytes.buffer);
  bytes.set([...MAGIC, version, 0]);
  if (version === 1) view.setUint16(8, header.length, true);
  else view.setUint32(8, header.length, true);
  bytes.set(new TextEncoder().encode(header), headerStart);
  return bytes;
}

function broken(source: string, what: string, cause?: unknown): Error {
  return new Error(`Broken npy file ${source}: ${what}`, { cause });
}

function isDtype(dtype: string): dtype is NpyDtype {
  return Object.hasOwn(ARRAYS, dtype);
}

function byteLength(dtype: NpyDtype, shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, ARRAYS[dtype].BYTES_PER_ELEMENT);
}

/** Reads the Python literal of a header by way of JSON, of which it is a close relative. */
function parseLiteral(text: string): unknown {
  const json = text
    .replaceAll("'", '"')
    .replaceAll("(", "[")
    .replaceAll(")", "]")
    .replace(/\bTrue\b/g, "true")
    .replace(/\bFalse\b/g, "false")
    .replace(/(\d)L\b/g, "$1")
    .replace(/,\s*([\]}])/g, "$1");
  return JSON.parse(json);
}
