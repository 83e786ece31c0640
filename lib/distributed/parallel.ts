/** Data-parallel training: the same parameters in every process, gradients averaged over them. */
import { currentDevice } from "../device.ts";
import type { HostArray } from "../dtype.ts";
import { realize, Tensor, tensor } from "../tensor.ts";
import { flatten } from "../tree.ts";
import type { Mpi } from "./mpi.ts";

/** Smaller gradients are averaged together, up to so many elements at once. */
const bucketElements = 2 ** 22;

/** The elements of a tensor on the host, and the tensor of them once they have been changed. */
interface HostTensor {
  readonly elements: HostArray;
  readonly changed: () => Tensor;
}

/**
 * The mean of gradients over all processes.
 *
 * @param mpi The processes; of one alone, the gradients are returned as they are.
 * @param gradients A tree of f32 tensors, the same in every process but for their elements. They
 * are given up: on `wasm` they are overwritten where they lie.
 * @returns A tree of the means; every process gets the same bits.
 * @throws {TypeError} If a leaf is no tensor of f32.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { averageGradients, openDevice, openMpi, tensor } from "../../mod.ts";
 * await openDevice("wasm");
 * const { w } = await averageGradients(openMpi(), { w: tensor([1, 2]) });
 * assertEquals(await w.toArray(), [1, 2]);
 * ```
 */
export async function averageGradients<T>(mpi: Mpi, gradients: T): Promise<T> {
  const { leaves, structure } = flatten(gradients);
  const tensors = leaves.map((leaf, i) => {
    if (leaf instanceof Tensor && leaf.dtype === "f32") return leaf;
    throw new TypeError(
      `averageGradients: expected tensors of f32 but found ${leaf} as leaf ${i}`,
    );
  });
  if (mpi.size === 1) return gradients;
  await realize(...tensors);
  const hosts = await Promise.all(tensors.map(onHost));
  average(mpi, hosts.map(({ elements }) => elements as Float32Array));
  return structure.build(hosts.map(({ changed }) => changed())) as T;
}

/** Averages arrays in place; small ones are copied together first. */
function average(mpi: Mpi, arrays: readonly Float32Array[]): void {
  let bucket: Float32Array[] = [];
  let filled = 0;
  const flush = () => {
    const all = new Float32Array(filled);
    let at = 0;
    for (const array of bucket) {
      all.set(array, at);
      at += array.length;
    }
    mpi.allreduce(all, "mean");
    at = 0;
    for (const array of bucket) array.set(all.subarray(at, at += array.length));
    bucket = [];
    filled = 0;
  };
  for (const array of arrays) {
    if (array.length >= bucketElements) {
      mpi.allreduce(array, "mean");
      continue;
    }
    if (filled + array.length > bucketElements) flush();
    bucket.push(array);
    filled += array.length;
  }
  if (filled > 0) flush();
}

/**
 * The parameters of one process, in all of them.
 *
 * @param mpi The processes; of one alone, the parameters are returned as they are.
 * @param parameters A tree of tensors, the same in every process but for their elements. They are
 * given up, as those of `averageGradients`.
 * @param root The process whose parameters all get.
 * @returns A tree of the same structure.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { broadcastParameters, openDevice, openMpi, tensor } from "../../mod.ts";
 * await openDevice("wasm");
 * const { w } = await broadcastParameters(openMpi(), { w: tensor([1, 2]) });
 * assertEquals(await w.toArray(), [1, 2]);
 * ```
 */
export async function broadcastParameters<T>(mpi: Mpi, parameters: T, root = 0): Promise<T> {
  if (mpi.size === 1) return parameters;
  const { leaves, structure } = flatten(parameters);
  const tensors = leaves.filter((leaf) => leaf instanceof Tensor);
  await realize(...tensors);
  const built: unknown[] = [];
  for (const leaf of leaves) {
    if (!(leaf instanceof Tensor)) {
      built.push(leaf);
      continue;
    }
    const { elements, changed } = await onHost(leaf);
    mpi.broadcast(elements, root);
    built.push(changed());
  }
  return structure.build(built) as T;
}

/** The elements where they lie, if the device lets the host at them, else a copy. */
async function onHost(x: Tensor): Promise<HostTensor> {
  const { storage } = x.value;
  const elements = storage && storage.backend === currentDevice() && !storage.released
    ? storage.backend.view?.(storage.buffer, x.value)
    : undefined;
  if (elements) return { elements, changed: () => x };
  const copy = await x.data();
  return {
    elements: copy,
    changed() {
      x.dispose();
      return tensor(copy, { shape: x.shape, dtype: x.dtype });
    },
  };
}
