/** Checkpoints: parameters and training states as safetensors files, each written atomically. */
import {
  readSafetensors,
  type SafetensorsInput,
  writeSafetensors,
} from "../../lib/formats/safetensors.ts";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { treeEntries } from "../../lib/tree.ts";
import { type Created, parametersFrom } from "../layers/parameter.ts";
import type { TrainingState } from "./step.ts";

/**
 * Writes a tree of f32 tensors under their paths.
 *
 * @param path Where the file goes; until it is complete, an old one stays.
 * @param tree Plain objects and arrays of tensors.
 * @param metadata Texts that go with it.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../../lib/tensor.ts";
 * import { Parameter } from "../layers/parameter.ts";
 * import { loadTree, saveTree } from "./checkpoint.ts";
 *
 * const path = await Deno.makeTempFile();
 * await saveTree(path, { layers: [{ weight: tensor([1, 2]) }] }, { step: "7" });
 * const tree = { layers: [{ weight: new Parameter([2], "zeros") }] };
 * const { tensors, metadata } = await loadTree(path, tree);
 * assertEquals([await tensors.layers[0]!.weight.toArray(), metadata.step], [[1, 2], "7"]);
 * await Deno.remove(path);
 * ```
 */
export async function saveTree(
  path: string,
  tree: unknown,
  metadata: Record<string, string>,
): Promise<void> {
  const inputs: [string, SafetensorsInput][] = treeEntries<Tensor>(tree).map(([name, x]) => [
    name,
    { dtype: "F32", shape: x.shape, data: async () => await x.data() as Float32Array<ArrayBuffer> },
  ]);
  await writeSafetensors(path, Object.fromEntries(inputs), metadata);
}

/**
 * Reads a tree of f32 tensors.
 *
 * @param path The file.
 * @param tree Its structure, with `Parameter` leaves.
 * @returns The tensors, and the texts that go with them.
 * @throws {TypeError} If the file does not hold exactly these tensors.
 */
export async function loadTree<T>(
  path: string,
  tree: T,
): Promise<{ tensors: Created<T>; metadata: Record<string, string> }> {
  const { tensors, metadata } = await readSafetensors(path);
  return { tensors: parametersFrom(tree, tensors, path), metadata };
}

/** What identifies the randomness and place of a training. */
export interface Progress {
  /** Steps made. */
  readonly step: number;
  /** Seed of data order and keys; with `step` it says where both are. */
  readonly seed: number;
}

/** Writes the whole state of a training in one file, so that it is of one step always. */
export async function saveState<P>(
  path: string,
  { params, optimizer, average, buffers }: TrainingState<P>,
  progress: Progress,
): Promise<void> {
  const { mean, variance } = optimizer;
  const optional = { ...(average ? { average } : {}), ...(buffers ? { buffers } : {}) };
  await saveTree(path, { params, mean, variance, ...optional }, {
    step: String(progress.step),
    seed: String(progress.seed),
  });
}

/**
 * Reads the state of a training.
 *
 * @param path The file.
 * @param described `parameters` describes the parameters P, `buffers` the buffers if there are any.
 * @param hasAverage Whether there is a moving average.
 * @returns The state, and the steps made.
 * @throws {TypeError} If the file is of another model; {RangeError} if it does not say how many steps were made.
 */
export async function loadState<P, Buffers = unknown>(
  path: string,
  { parameters, buffers: describeBuffers }: {
    readonly parameters: () => unknown;
    readonly buffers?: () => unknown;
  },
  hasAverage: boolean,
): Promise<{ state: TrainingState<P, Buffers>; step: number }> {
  const { tensors, metadata } = await loadTree(path, {
    params: parameters(),
    mean: parameters(),
    variance: parameters(),
    ...(hasAverage ? { average: parameters() } : {}),
    ...(describeBuffers ? { buffers: describeBuffers() } : {}),
  });
  const { params, mean, variance, average, buffers } = tensors as unknown as Record<string, P>;
  if (!/^\d{1,9}$/.test(metadata.step ?? "")) {
    throw new RangeError(
      `loadState: expected metadata.step to be a whole number but found ${metadata.step} in ${path}`,
    );
  }
  const step = Number(metadata.step);
  return {
    state: {
      params: params!,
      optimizer: { step: tensor(step, { dtype: "i32" }), mean: mean!, variance: variance! },
      ...(average ? { average } : {}),
      ...(buffers ? { buffers: buffers as unknown as Buffers } : {}),
    },
    step,
  };
}
