/** From the losses of places to those of a step: of all that count, and of each set of a recipe. */
import type { Tensor } from "../../lib/tensor.ts";
import { div, mul } from "../../ops/arithmetic.ts";
import { cast } from "../../ops/cast.ts";
import { equal } from "../../ops/compare.ts";
import { arange } from "../../ops/create.ts";
import { sum } from "../../ops/reduce.ts";
import { expandDims } from "../../ops/reshape.ts";
import { where } from "../../ops/where.ts";

/**
 * The mean loss of the places that count.
 *
 * @param losses The loss of every place f32 [B, N].
 * @param weight Of each place f32 [N].
 * @returns A scalar: sum(weight · loss) / sum(weight) over the batch.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice, tensor } from "../../mod.ts";
 * import { meanOfPlaces } from "./losses.ts";
 *
 * await openDevice("reference");
 * const losses = tensor([[9, 1, 2], [9, 3, 4]]);
 * assertEquals(await meanOfPlaces(losses, tensor([0, 1, 1])).item(), 2.5);
 * ```
 */
export function meanOfPlaces(losses: Tensor, weight: Tensor): Tensor {
  const perPlace = sum(losses, { axes: 0 });
  return div(sum(mul(perPlace, weight)), mul(sum(weight), losses.shape[0]!));
}

/**
 * The mean loss of each set.
 *
 * @param losses The loss of every place f32 [B, N].
 * @param sets The set of each place, from 0, i32 [N]; every set has one.
 * @param count The number of sets K.
 * @returns f32 [K].
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice, tensor } from "../../mod.ts";
 * import { meanOfSets } from "./losses.ts";
 *
 * await openDevice("reference");
 * const losses = tensor([[1, 2, 6], [3, 2, 6]]);
 * const sets = tensor(Int32Array.of(0, 1, 1));
 * assertEquals(await meanOfSets(losses, sets, 2).toArray(), [2, 4]);
 * ```
 */
export function meanOfSets(losses: Tensor, sets: Tensor, count: number): Tensor {
  const perPlace = expandDims(sum(losses, { axes: 0 }), 0); // [1, N]
  const isIn = equal(expandDims(arange(count), 1), expandDims(sets, 0)); // [K, N]
  const sizes = sum(cast(isIn, "f32"), { axes: 1 });
  return div(sum(where(isIn, perPlace, 0), { axes: 1 }), mul(sizes, losses.shape[0]!));
}
