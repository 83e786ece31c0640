/** Data-parallel training: the same parameters in every process, gradients averaged over them. */
import { realize, Tensor } from "../tensor.ts";
import { flatten } from "../tree.ts";
import { onHost } from "./host.ts";
import type { Mpi } from "./mpi.ts";
import { overlappedSums } from "./overlap.ts";

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
  const { leaves } = flatten(gradients);
  for (const [i, leaf] of leaves.entries()) {
    if (leaf instanceof Tensor && leaf.dtype === "f32") continue;
    throw new TypeError(
      `averageGradients: expected tensors of f32 but found ${leaf} as leaf ${i}`,
    );
  }
  if (mpi.size === 1) return gradients;
  const averages = overlappedSums(mpi, { operation: "mean" });
  averages.begin();
  return await averages.finish(gradients);
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
