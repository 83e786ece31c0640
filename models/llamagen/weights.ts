/** Weights from files by name, checked against a model's parameters before any is read. */
import { openPytorch } from "../../lib/formats/pytorch.ts";
import {
  openSafetensors,
  type SafetensorsArray,
  type SafetensorsDtype,
  type SafetensorsEntry,
  type SafetensorsFile,
} from "../../lib/formats/safetensors.ts";
import { sameShape, showShape } from "../../lib/shape.ts";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { treeEntries, treeMap } from "../../lib/tree.ts";
import type { Created, Parameter } from "../layers/parameter.ts";

/** Entries of LlamaGen's checkpoints that the network does not use: a record of recent codes. */
export const unusedBuffers: readonly string[] = ["quantize.codebook_used"];

/** How many mismatches an error names. */
const mostNamed = 20;

/** Readers of the element types that weights are stored in. */
const readers: { readonly [D in SafetensorsDtype]?: (array: never) => Float32Array } = {
  F32: (array: Float32Array) => array,
  F64: (array: Float64Array) => Float32Array.from(array),
  F16: (array: Float16Array) => Float32Array.from(array),
  BF16(array: Uint16Array) {
    const bits = new Uint32Array(array.length);
    for (let i = 0; i < array.length; i++) bits[i] = array[i]! << 16;
    return new Float32Array(bits.buffer);
  },
};

/** Elements of any floating-point type as f32. */
export function asFloat32(array: SafetensorsArray, dtype: SafetensorsDtype): Float32Array {
  return readers[dtype]!(array as never);
}

/**
 * Compares what a file holds with what a model needs.
 *
 * @param tree Plain objects and arrays with {@link Parameter} (or tensor) leaves; their paths are the names.
 * @param entries What the file holds.
 * @param ignore Names that may be there and are not used.
 * @returns A line for each name that is missing, unexpected, or of another shape or type; empty if all fits.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Parameter } from "../layers/parameter.ts";
 * import { findMismatches } from "./weights.ts";
 *
 * const tree = { norm: { weight: new Parameter([2], "ones") } };
 * const entries = new Map([["bias", { dtype: "F32" as const, shape: [2], byteLength: 8 }]]);
 * assertEquals(findMismatches(tree, entries), ["missing norm.weight [2]", "unexpected bias [2]"]);
 * ```
 */
export function findMismatches(
  tree: unknown,
  entries: ReadonlyMap<string, SafetensorsEntry>,
  ignore: readonly string[] = unusedBuffers,
): string[] {
  const wanted = new Map(treeEntries<Parameter | Tensor>(tree));
  const problems: string[] = [];
  for (const [name, { shape }] of wanted) {
    const found = entries.get(name);
    if (!found) problems.push(`missing ${name} ${showShape(shape)}`);
    else if (!sameShape(found.shape, shape)) {
      problems.push(`expected ${name} ${showShape(shape)} but found ${showShape(found.shape)}`);
    } else if (!(found.dtype in readers)) {
      problems.push(`expected ${name} of a floating-point type but found ${found.dtype}`);
    }
  }
  for (const [name, { shape }] of entries) {
    if (!wanted.has(name) && !ignore.includes(name)) {
      problems.push(`unexpected ${name} ${showShape(shape)}`);
    }
  }
  return problems;
}

/**
 * Reads the parameters of a model from an open file of weights.
 *
 * @param tree Plain objects and arrays with {@link Parameter} leaves; their paths are the names.
 * @param file The file.
 * @param options `source`: what errors call the file; `ignore`: names that may be there and are not used.
 * @returns A tree of the same structure with f32 tensors as leaves.
 * @throws {TypeError} If a name is missing or unexpected, or of another shape or type; the first are named.
 */
export async function readParameters<T>(
  tree: T,
  file: Pick<SafetensorsFile, "entries" | "read">,
  options: { source: string; ignore?: readonly string[] },
): Promise<Created<T>> {
  checkFits("readParameters", tree, file.entries, options);
  const read = new Map<unknown, Tensor>();
  for (const [name, parameter] of treeEntries<Parameter>(tree)) {
    const { dtype, shape } = file.entries.get(name)!;
    read.set(parameter, tensor(asFloat32(await file.read(name), dtype), { shape }));
  }
  return treeMap((parameter: Parameter) => read.get(parameter), tree) as Created<T>;
}

/**
 * Fails where a file does not hold what a model needs.
 *
 * @throws {TypeError} If a name is missing or unexpected, or of another shape or type; the first are named.
 */
export function checkFits(
  caller: string,
  tree: unknown,
  entries: ReadonlyMap<string, SafetensorsEntry>,
  { source, ignore }: { source: string; ignore?: readonly string[] },
): void {
  const problems = findMismatches(tree, entries, ignore);
  if (problems.length === 0) return;
  const more = problems.length - mostNamed;
  const named = problems.slice(0, mostNamed).join("; ") + (more > 0 ? `; and ${more} more` : "");
  throw new TypeError(
    `${caller}: expected ${source} to hold the model's parameters but found ${named}`,
  );
}

/**
 * Opens a file of weights, told apart by its first bytes: `.safetensors`, or an archive of `torch.save` (`.pt`).
 *
 * @param path The file.
 * @param options `part`: the key of a checkpoint's weights, such as `ema` (see `openPytorch`).
 * @returns The open file.
 * @throws {Error} If it is broken, or asks for what is not plain data.
 */
export async function openWeights(
  path: string,
  options: { part?: string } = {},
): Promise<SafetensorsFile> {
  const first = new Uint8Array(2);
  {
    using file = await Deno.open(path, { read: true });
    await file.read(first);
  }
  const isZip = String.fromCharCode(...first) === "PK";
  return isZip ? await openPytorch(path, options) : await openSafetensors(path);
}

/**
 * Loads the parameters of a model from a `.safetensors` or `.pt` file.
 *
 * @param tree Plain objects and arrays with {@link Parameter} leaves; their paths are the names.
 * @param path The file.
 * @param options `part`: the key of a checkpoint's weights, such as `ema`.
 * @returns A tree of the same structure with f32 tensors as leaves.
 * @throws {TypeError} As `readParameters`; {Error} as `openWeights`.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { gptParameters } from "./gpt.ts";
 * import { gpt } from "./gpt_config.ts";
 * import { loadParameters } from "./weights.ts";
 *
 * const path = new URL("../../tests/fixtures/llamagen_pt/gpt.pt", import.meta.url).pathname;
 * const model = gpt({ dim: 8, heads: 2, layers: 2, vocabulary: 16, classes: 3, ffnMultiple: 8 });
 * const params = await loadParameters(gptParameters(model), path);
 * assertEquals(params.output.weight.shape, [16, 8]);
 * ```
 */
export async function loadParameters<T>(
  tree: T,
  path: string,
  options: { part?: string } = {},
): Promise<Created<T>> {
  await using file = await openWeights(path, options);
  return await readParameters(tree, file, { source: path });
}
