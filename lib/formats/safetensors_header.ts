// The header of a safetensors file: what it may say, checked completely before a byte is allocated.
// Format: https://github.com/huggingface/safetensors#format
import { z } from "npm:zod@4.6.7";

/** The array classes of the dtypes. 16-bit and 8-bit floats that JavaScript lacks are their raw bits. */
const ARRAYS = {
  F64: Float64Array,
  F32: Float32Array,
  F16: Float16Array,
  BF16: Uint16Array,
  F8_E4M3: Uint8Array,
  F8_E5M2: Uint8Array,
  I64: BigInt64Array,
  I32: Int32Array,
  I16: Int16Array,
  I8: Int8Array,
  U64: BigUint64Array,
  U32: Uint32Array,
  U16: Uint16Array,
  U8: Uint8Array,
  BOOL: Uint8Array,
} as const;

/** The element types of safetensors files. */
export type SafetensorsDtype = keyof typeof ARRAYS;

/** The array that holds the elements of a dtype, by default of any. */
export type SafetensorsArray<D extends SafetensorsDtype = SafetensorsDtype> = InstanceType<
  (typeof ARRAYS)[D]
>;

/** What a header says of one tensor. */
export interface SafetensorsEntry {
  /** Element type. */
  dtype: SafetensorsDtype;
  /** Sizes of the dimensions; `[]` is a scalar. */
  shape: number[];
  /** Size of the elements in bytes. */
  byteLength: number;
}

/** An entry together with its place behind the header. */
export interface PlacedEntry extends SafetensorsEntry {
  /** Where the elements begin, in bytes after the header. */
  begin: number;
}

/** A checked header. */
export interface SafetensorsHeader {
  /** Free texts by name. */
  metadata: Record<string, string>;
  /** Tensors by name, in the order of the file. */
  entries: Map<string, PlacedEntry>;
}

/** Headers above this size are refused, as the format's own library does. */
const LARGEST_HEADER = 100_000_000;

/** The bytes in front of the header: its length as a 64-bit little-endian integer. */
export const PREFIX_BYTES = 8;

const METADATA = "__metadata__";

const dimension = z.int().nonnegative();
const entrySchema = z.strictObject({
  dtype: z.enum(Object.keys(ARRAYS) as [SafetensorsDtype, ...SafetensorsDtype[]]),
  shape: z.array(dimension),
  data_offsets: z.tuple([dimension, dimension]),
});
const metadataSchema = z.map(z.string(), z.string());

/** Reads the length of the header from the first bytes of a file, `source` being its name in errors. */
export function headerLength(prefix: Uint8Array, fileBytes: number, source: string): number {
  if (prefix.length < PREFIX_BYTES) {
    throw broken(source, `expected at least ${PREFIX_BYTES} bytes but found ${prefix.length}`);
  }
  const view = new DataView(prefix.buffer, prefix.byteOffset, PREFIX_BYTES);
  const length = view.getBigUint64(0, true);
  if (length > BigInt(LARGEST_HEADER)) {
    throw broken(
      source,
      `expected a header of at most ${LARGEST_HEADER} bytes but found ${length}`,
    );
  }
  if (Number(length) > fileBytes - PREFIX_BYTES) {
    throw broken(
      source,
      `expected a header of ${length} bytes but the file ends after ${fileBytes - PREFIX_BYTES}`,
    );
  }
  return Number(length);
}

/** Reads a header and checks it against the bytes that follow it. */
export function parseHeader(
  bytes: Uint8Array,
  dataBytes: number,
  source: string,
): SafetensorsHeader {
  const json = parseJson(bytes, source);
  let metadata: Record<string, string> = {};
  const placed: [string, PlacedEntry][] = [];
  for (const [name, value] of entriesOf(json, `${source}: the header`)) {
    if (name === METADATA) {
      const texts = new Map(entriesOf(value, `${source}: ${METADATA}`));
      metadata = Object.fromEntries(check(metadataSchema, texts, `${source}: ${METADATA}`));
    } else {
      placed.push([name, parseEntry(value, `${source}: tensor "${name}"`)]);
    }
  }
  placed.sort(([, a], [, b]) => a.begin - b.begin || a.byteLength - b.byteLength);
  checkCoverage(placed, dataBytes, source);
  return { metadata, entries: new Map(placed) };
}

/** Writes the prefix and the header, padded with spaces to a multiple of 8 bytes. */
export function encodeHeader(
  entries: Iterable<[string, PlacedEntry]>,
  metadata: Record<string, string> | undefined,
): Uint8Array {
  const described = Array.from(entries, ([name, { dtype, shape, begin, byteLength }]) => {
    if (name === METADATA) throw new TypeError(`writeSafetensors: "${METADATA}" names no tensor`);
    return [name, { dtype, shape, data_offsets: [begin, begin + byteLength] }] as const;
  });
  const json = JSON.stringify(Object.fromEntries<unknown>([
    ...(metadata ? [[METADATA, metadata] as const] : []),
    ...described,
  ]));
  const text = new TextEncoder().encode(json);
  const length = Math.ceil(text.length / 8) * 8;
  if (length > LARGEST_HEADER) {
    throw new RangeError(
      `writeSafetensors: expected a header of at most ${LARGEST_HEADER} bytes but it needs ${length}`,
    );
  }
  const bytes = new Uint8Array(PREFIX_BYTES + length).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
  bytes.set(text, PREFIX_BYTES);
  return bytes;
}

/** The size in bytes of a shape of a dtype, exact; `problem` makes the error where it is not. */
export function byteLengthOf(
  dtype: SafetensorsDtype,
  shape: readonly number[],
  problem: (what: string) => Error,
): number {
  const bytes = shape.reduce((product, size) => product * size, ARRAYS[dtype].BYTES_PER_ELEMENT);
  if (!shape.every((size) => Number.isSafeInteger(size) && size >= 0)) {
    throw problem(`expected sizes that are non-negative integers but found [${shape.join(", ")}]`);
  }
  if (!Number.isSafeInteger(bytes)) {
    throw problem(`shape [${shape.join(", ")}] of ${dtype} is too large`);
  }
  return bytes;
}

/** The array class of a dtype. */
export function arrayClass<D extends SafetensorsDtype>(dtype: D): (typeof ARRAYS)[D] {
  return ARRAYS[dtype];
}

/** Whether a text names a dtype. */
export function isDtype(dtype: string): dtype is SafetensorsDtype {
  return Object.hasOwn(ARRAYS, dtype);
}

/** The error for a file whose content is not as it should be. */
export function broken(source: string, what: string, cause?: unknown): Error {
  return new Error(`Broken safetensors file ${source}: ${what}`, { cause });
}

function parseEntry(value: unknown, source: string): PlacedEntry {
  const { dtype, shape, data_offsets: [begin, end] } = check(entrySchema, value, source);
  const byteLength = byteLengthOf(dtype, shape, (what) => broken(source, what));
  if (end - begin !== byteLength) {
    throw broken(
      source,
      `expected ${byteLength} bytes for shape [${shape.join(", ")}] of ${dtype}` +
        ` but data_offsets [${begin}, ${end}] hold ${end - begin}`,
    );
  }
  return { dtype, shape, byteLength, begin };
}

/** The tensors, sorted by their beginnings, have to cover the data once, without holes. */
function checkCoverage(placed: [string, PlacedEntry][], dataBytes: number, source: string): void {
  let covered = 0;
  for (const [name, { begin, byteLength }] of placed) {
    const tensor = `${source}: tensor "${name}"`;
    if (begin + byteLength > dataBytes) {
      throw broken(
        tensor,
        `expected its data within the file's ${dataBytes} bytes but it ends at ${
          begin + byteLength
        }`,
      );
    }
    if (begin < covered) {
      throw broken(tensor, `its data begins at ${begin}, which overlaps the tensor before it`);
    }
    if (begin > covered) {
      throw broken(
        tensor,
        `its data begins at ${begin}, which leaves a hole after byte ${covered}`,
      );
    }
    covered += byteLength;
  }
  if (covered !== dataBytes) {
    throw broken(source, `expected ${covered} bytes of data but found ${dataBytes}`);
  }
}

/** The fields of a JSON object; records of zod would drop one named __proto__. */
function entriesOf(json: unknown, source: string): [string, unknown][] {
  if (typeof json === "object" && json !== null && !Array.isArray(json)) {
    return Object.entries(json);
  }
  throw broken(source, "expected a JSON object");
}

function check<T>(schema: z.ZodType<T>, value: unknown, source: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const { path, message } = result.error.issues[0];
  throw broken(source, `${path.length ? `${path.join(".")}: ` : ""}${message}`);
}

function parseJson(bytes: Uint8Array, source: string): unknown {
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    const json = JSON.parse(text);
    const duplicate = findDuplicateKey(text);
    if (duplicate === undefined) return json;
    throw new Error(`the key "${duplicate}" stands there twice`);
  } catch (error) {
    throw broken(source, `expected a valid JSON header: ${(error as Error).message}`, error);
  }
}

/** The first key that an object of a valid JSON text repeats: JSON.parse would drop one silently. */
function findDuplicateKey(json: string): string | undefined {
  const objects: Set<string>[] = [];
  for (const [token, text] of json.matchAll(/("(?:[^"\\]|\\.)*")\s*:|"(?:[^"\\]|\\.)*"|[{}]/g)) {
    if (token === "{") objects.push(new Set());
    else if (token === "}") objects.pop();
    else if (text !== undefined) {
      const key = JSON.parse(text) as string;
      const keys = objects[objects.length - 1];
      if (keys.has(key)) return key;
      keys.add(key);
    }
  }
}
