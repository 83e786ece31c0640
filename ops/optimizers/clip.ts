/** Clipping gradients by their global norm. */
import type { Tensor } from "../../lib/tensor.ts";
import { treeLeaves, treeMap } from "../../lib/tree.ts";
import { add, div, mul } from "../arithmetic.ts";
import { zeros } from "../create.ts";
import { minimum } from "../extremes.ts";
import { sqrt } from "../math.ts";
import { square } from "../power.ts";
import { sum } from "../reduce.ts";

/**
 * The Euclidean norm of all elements of a tree of tensors.
 *
 * @param tree A tree of floating-point tensors.
 * @returns A scalar tensor.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { globalNorm, openDevice, tensor } from "../../mod.ts";
 * await openDevice("reference");
 * assertEquals(await globalNorm({ a: tensor([3]), b: tensor([[4]]) }).item(), 5);
 * ```
 */
export function globalNorm(tree: unknown): Tensor {
  const squares = treeLeaves(tree).map((x) => sum(square(x)));
  return sqrt(squares.reduce((total, x) => add(total, x), zeros([])));
}

/**
 * Scales gradients down so that their global norm is at most `limit` (Pascanu et al. 2013).
 *
 * @param gradients A tree of floating-point tensors.
 * @param limit The largest norm.
 * @param norm Their global norm, if it is known already.
 * @returns A tree like `gradients`.
 * @throws {RangeError} If the limit is not positive.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { clipByGlobalNorm, openDevice, tensor } from "../../mod.ts";
 * await openDevice("reference");
 * assertEquals(await clipByGlobalNorm(tensor([6, 8]), 5).toArray(), [3, 4]);
 * ```
 */
export function clipByGlobalNorm<T>(gradients: T, limit: number, norm = globalNorm(gradients)): T {
  if (!(limit > 0)) {
    throw new RangeError(`clipByGlobalNorm: expected limit to be positive but found ${limit}`);
  }
  const scale = minimum(1, div(limit, norm));
  return treeMap((g: Tensor) => mul(g, scale), gradients);
}
