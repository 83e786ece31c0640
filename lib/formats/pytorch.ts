// Reading tensors from the archives of torch.save, one at a time and without running what they pickle.
// Format: https://pytorch.org/docs/stable/notes/serialization.html
import { findStoredEntries, type StoredEntry } from "./stored_zip.ts";
import { type PickleGlobal, readPickle } from "./pickle.ts";
import type { SafetensorsFile } from "./safetensors.ts";
import {
  arrayClass,
  byteLengthOf,
  type SafetensorsArray,
  type SafetensorsDtype,
  type SafetensorsEntry,
} from "./safetensors_header.ts";

/** The keys under which checkpoints keep their weights, the first found being used. */
const PARTS = ["model", "module", "state_dict", "ema"];

/** Containers nested deeper, or holding more values, are refused. */
const DEEPEST = 64, MOST_VALUES = 1_000_000;

/** The element types of PyTorch's storages. */
const STORAGES: Readonly<Record<string, SafetensorsDtype>> = {
  FloatStorage: "F32",
  DoubleStorage: "F64",
  HalfStorage: "F16",
  BFloat16Storage: "BF16",
  LongStorage: "I64",
  IntStorage: "I32",
  ShortStorage: "I16",
  CharStorage: "I8",
  ByteStorage: "U8",
  BoolStorage: "BOOL",
};

/** A storage of an archive: elements that tensors are views of. */
interface Storage {
  readonly dtype: SafetensorsDtype;
  readonly key: string;
  readonly length: number;
}

/** A tensor of an archive: a strided view of a storage. */
interface StoredTensor {
  readonly storage: Storage;
  readonly offset: number;
  readonly shape: number[];
  readonly strides: number[];
}

/**
 * Opens a checkpoint written by `torch.save` (PyTorch 1.6 or later). Its pickle is read as data: tensors, containers, numbers
 * and texts; a checkpoint that names anything else is refused. Names of nested dicts are joined by dots.
 *
 * @param path the file
 * @param options `part`: the key of the weights, such as `ema`; by default `model`, `module`, `state_dict` or `ema`, the
 *   first that holds tensors, else the whole checkpoint
 * @returns the open file; tensors are read one by one on demand, in row-major order
 * @throws {Error} if the file is no such archive, is broken, or names a global that is not allowed
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openPytorch } from "./pytorch.ts";
 *
 * const path = new URL("../../tests/fixtures/llamagen_pt/checkpoint.pt", import.meta.url);
 * await using file = await openPytorch(path);
 * assertEquals(file.entries.get("column"), { dtype: "F32", shape: [4], byteLength: 16 });
 * assertEquals(await file.read("column"), new Float32Array([2, 8, 14, 20]));
 * ```
 */
export async function openPytorch(
  path: string | URL,
  options: { part?: string } = {},
): Promise<SafetensorsFile> {
  const source = String(path);
  const file = await Deno.open(path, { read: true });
  try {
    const broken = (problem: string) => new Error(`openPytorch: ${source}: ${problem}`);
    const archive = await findStoredEntries(file, broken);
    const root = [...archive.entries.keys()].find((name) => /^[^/]*\/data\.pkl$/.test(name))
      ?.slice(0, -"data.pkl".length);
    if (root === undefined) throw broken("expected an archive of torch.save but found no data.pkl");
    const order = archive.entries.get(`${root}byteorder`);
    if (order && new TextDecoder().decode(await archive.read(order)).trim() !== "little") {
      throw broken("expected little-endian elements but found another byte order");
    }
    const pickle = await archive.read(archive.entries.get(`${root}data.pkl`)!);
    const tensors = collect(partOf(readCheckpoint(pickle, source), options.part, broken), broken);
    const entries = new Map<string, SafetensorsEntry>();
    for (const [name, { storage, shape }] of tensors) {
      const problem = (what: string) => broken(`tensor "${name}": ${what}`);
      const byteLength = byteLengthOf(storage.dtype, shape, problem);
      checkView(tensors.get(name)!, problem);
      entries.set(name, { dtype: storage.dtype, shape, byteLength });
    }
    const readStorage = (storage: Storage) => {
      const entry = archive.entries.get(`${root}data/${storage.key}`);
      return archive.read(checkStorage(entry, storage, broken));
    };
    // Parts of one storage mostly follow each other: the last one read stays.
    let latest: { key: string; bytes: Promise<Uint8Array<ArrayBuffer>> } | undefined;
    const shared = (storage: Storage) => {
      if (latest?.key !== storage.key) latest = { key: storage.key, bytes: readStorage(storage) };
      return latest.bytes;
    };
    let closed: Promise<void> | undefined;
    const close = () => closed ??= archive.close();
    return {
      metadata: {},
      entries,
      async read(name) {
        const found = tensors.get(name);
        if (!found) throw new RangeError(`openPytorch: ${source} holds no tensor "${name}"`);
        const { storage } = found;
        return isWhole(found)
          ? new (arrayClass(storage.dtype))((await readStorage(storage)).buffer)
          : contiguous(found, await shared(storage));
      },
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    file.close();
    throw error;
  }
}

/** The globals of checkpoints that hold weights; all are read as plain data. */
function knownGlobals(fail: (problem: string) => never): Map<string, PickleGlobal> {
  const newDict = () => new Map();
  const known: [string, PickleGlobal][] = [
    // An ordered dict's state is metadata of modules.
    ["collections.OrderedDict", { create: newDict, setState() {} }],
    ["argparse.Namespace", {
      create: newDict,
      setState(target, state) {
        if (!(state instanceof Map)) return fail("expected the state of a namespace to be a dict");
        for (const [name, value] of state) (target as Map<unknown, unknown>).set(name, value);
      },
    }],
    ["torch.Size", { create: ([sizes]) => sizes }],
    ["torch._utils._rebuild_parameter", { create: ([tensor]) => tensor }],
    ["torch._utils._rebuild_tensor_v2", {
      create([storage, offset, shape, strides]): StoredTensor {
        if (!isStorage(storage) || !areSizes([offset]) || !areSizes(shape) || !areSizes(strides)) {
          return fail("expected a tensor to have a storage, an offset, sizes and strides");
        }
        return { storage, offset: offset as number, shape, strides };
      },
    }],
  ];
  for (const name of Object.keys(STORAGES)) known.push([`torch.${name}`, {}]);
  return new Map(known);
}

function readCheckpoint(pickle: Uint8Array, source: string): unknown {
  const fail = (problem: string): never => {
    throw new Error(`openPytorch: ${source}: ${problem}`);
  };
  const globals = knownGlobals(fail);
  const dtypes = new Map(
    Object.entries(STORAGES).map(([name, dtype]) => [globals.get(`torch.${name}`)!, dtype]),
  );
  return readPickle(pickle, {
    source: `${source}: data.pkl`,
    globals,
    persistent(id): Storage {
      const [tag, type, key, , length] = Array.isArray(id) ? id : [];
      const dtype = dtypes.get(type);
      if (tag !== "storage" || !dtype || typeof key !== "string" || !areSizes([length])) {
        return fail("expected a persistent id to name a storage");
      }
      return { dtype, key, length };
    },
  });
}

function isStorage(value: unknown): value is Storage {
  return isPlain(value) && "dtype" in value;
}

function isTensor(value: unknown): value is StoredTensor {
  return isPlain(value) && "strides" in value;
}

/** Whether a value was made here: what a pickle describes itself is never a plain object. */
function isPlain(value: unknown): value is object {
  return typeof value === "object" && value !== null &&
    Object.getPrototypeOf(value) === Object.prototype;
}

function areSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

function partOf(
  checkpoint: unknown,
  part: string | undefined,
  broken: (problem: string) => Error,
): unknown {
  const at = (key: string) => checkpoint instanceof Map ? checkpoint.get(key) : undefined;
  if (part === undefined) {
    const found = PARTS.find((key) => {
      const value = at(key);
      return value instanceof Map && value.values().some(isTensor);
    });
    return found === undefined ? checkpoint : at(found);
  }
  if (at(part) === undefined) {
    const keys = checkpoint instanceof Map ? [...checkpoint.keys()].join(", ") : "no dict";
    throw broken(`expected a part ${part} but found ${keys}`);
  }
  return at(part);
}

/** The tensors of nested containers by their joined names. */
function collect(root: unknown, broken: (problem: string) => Error): Map<string, StoredTensor> {
  const tensors = new Map<string, StoredTensor>();
  let values = 0;
  const go = (value: unknown, path: string[]): void => {
    if (isTensor(value)) {
      tensors.set(path.join("."), value);
      return;
    }
    if (!(value instanceof Map || Array.isArray(value))) return;
    if (path.length > DEEPEST) throw broken(`expected at most ${DEEPEST} nested containers`);
    for (const [key, child] of value.entries()) {
      if (++values > MOST_VALUES) throw broken(`expected at most ${MOST_VALUES} values`);
      go(child, [...path, String(key)]);
    }
  };
  go(root, []);
  return tensors;
}

/** Checks that a tensor lies within its storage. */
function checkView(
  { storage, offset, shape, strides }: StoredTensor,
  problem: (what: string) => Error,
): void {
  if (shape.length !== strides.length) {
    throw problem(
      `expected as many strides as sizes but found ${strides.length} and ${shape.length}`,
    );
  }
  if (shape.includes(0)) return;
  const last = shape.reduce((sum, size, axis) => sum + (size - 1) * strides[axis]!, offset);
  if (last >= storage.length) {
    throw problem(
      `expected elements within its storage of ${storage.length} but found number ${last}`,
    );
  }
}

function checkStorage(
  entry: StoredEntry | undefined,
  { key, dtype, length }: Storage,
  broken: (problem: string) => Error,
): StoredEntry {
  const wanted = length * arrayClass(dtype).BYTES_PER_ELEMENT;
  if (entry && entry.size === wanted) return entry;
  throw broken(
    `expected storage ${key} to have ${wanted} bytes but found ${entry ? entry.size : "none"}`,
  );
}

/** Whether a tensor has the elements of its storage in their order. */
function isWhole({ storage, shape, strides }: StoredTensor): boolean {
  let count = 1;
  const isDense = shape.toReversed().every((size, i) => {
    const stride = strides[shape.length - 1 - i];
    const follows = size === 1 || stride === count;
    count *= size;
    return follows;
  });
  return isDense && count === storage.length;
}

/** The elements of a tensor in row-major order, in memory of their own. */
function contiguous(
  { storage, offset, shape, strides }: StoredTensor,
  bytes: Uint8Array<ArrayBuffer>,
): SafetensorsArray {
  const ArrayOf = arrayClass(storage.dtype);
  const all = new ArrayOf(bytes.buffer);
  const elements = new ArrayOf(shape.reduce((product, size) => product * size, 1));
  const index = shape.map(() => 0);
  for (let i = 0, at = offset; i < elements.length; i++) {
    elements[i] = all[at]!;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      at += strides[axis]!;
      if (++index[axis]! < shape[axis]!) break;
      at -= strides[axis]! * shape[axis]!;
      index[axis] = 0;
    }
  }
  return elements;
}
