/** Dropout. */
import type { Tensor } from "../lib/tensor.ts";
import { mul } from "./arithmetic.ts";
import { checkDType } from "./arguments.ts";
import { bernoulli } from "./distributions.ts";
import { where } from "./where.ts";

/**
 * A tensor with elements dropped at random, and the others scaled so that the mean stays.
 *
 * Source: Srivastava et al., "Dropout" (2014), section 10.
 *
 * @param x A float tensor.
 * @param rate The share of elements that become 0, in 0..1 (1 not included).
 * @param key The random key, or a list of keys [B, 2], one for each entry along the first axis.
 * @returns A tensor of the same shape.
 * @throws {RangeError} If the rate is outside its range.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { ones } from "./create.ts";
 * import { dropout } from "./dropout.ts";
 * import { key } from "./random.ts";
 * const x = await dropout(ones([100]), 0.5, key(0)).toArray() as number[];
 * assert(x.every((element) => element === 0 || element === 2));
 * ```
 */
export function dropout(x: Tensor, rate: number, key: Tensor): Tensor {
  checkDType("dropout", "x", x, "float");
  if (!(rate >= 0 && rate < 1)) {
    throw new RangeError(`dropout: expected rate to be at least 0 and below 1 but found ${rate}`);
  }
  if (rate === 0) return x;
  return where(bernoulli(key, x.shape, 1 - rate), mul(x, 1 / (1 - rate)), 0);
}
