/** Exponential moving averages of parameters. */
import type { Tensor } from "../../lib/tensor.ts";
import { treeMap } from "../../lib/tree.ts";
import { add, mul } from "../arithmetic.ts";

/**
 * One step of an exponential moving average: average·decay + params·(1 − decay).
 *
 * @param average The average so far; start it with the parameters times 1.
 * @param params The parameters, a tree like it.
 * @param decay The share that is kept, in 0..1.
 * @returns The new average.
 * @throws {RangeError} If decay is outside 0..1.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { ema, openDevice, tensor } from "../../mod.ts";
 * await openDevice("reference");
 * assertEquals(await ema(tensor([0, 4]), tensor([8, 4]), 0.75).toArray(), [2, 4]);
 * ```
 */
export function ema<P>(average: P, params: P, decay: number): P {
  if (!(decay >= 0 && decay <= 1)) {
    throw new RangeError(`ema: expected decay to be in 0..1 but found ${decay}`);
  }
  return treeMap(
    (a: Tensor, p: Tensor) => add(mul(a, decay), mul(p, 1 - decay)),
    average,
    params,
  );
}
