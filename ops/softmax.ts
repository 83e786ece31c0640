/** Exponentials normalized along an axis, and their logarithms; stable for numbers of any size. */
import { normalizeAxes } from "../lib/shape.ts";
import type { Tensor } from "../lib/tensor.ts";
import { stopGradient } from "../lib/transforms/vjp.ts";
import { add, div, sub } from "./arithmetic.ts";
import { checkDType } from "./arguments.ts";
import { exp, log } from "./math.ts";
import { max, type ReduceOptions, sum } from "./reduce.ts";
import { reshape } from "./reshape.ts";
import { isFinite } from "./rounding.ts";
import { where } from "./where.ts";

/** The greatest element, as a constant; 0 where it is infinite, so that it can be subtracted. */
function offset(x: Tensor, axes: ReduceOptions["axes"]): Tensor {
  const greatest = stopGradient(max(x, { axes, keepDims: true }));
  return where(isFinite(greatest), greatest, 0);
}

/**
 * The logarithm of the sum of exponentials along some axes.
 *
 * @param x A float tensor.
 * @param options `axes` (default all) and `keepDims`.
 * @returns The logarithms; -Infinity where all elements are.
 *
 * @example
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { logsumexp } from "./softmax.ts";
 * assertAlmostEquals(await logsumexp(tensor([1000, 1000])).item(), 1000 + Math.LN2, 1e-3);
 * ```
 */
export function logsumexp(x: Tensor, options: ReduceOptions = {}): Tensor {
  checkDType("logsumexp", "x", x, "float");
  const axes = normalizeAxes("logsumexp", options.axes, x.rank);
  const shift = offset(x, axes);
  const result = add(log(sum(exp(sub(x, shift)), { axes, keepDims: true })), shift);
  const shape = x.shape.filter((_, axis) => !axes.includes(axis));
  return options.keepDims ? result : reshape(result, shape);
}

/**
 * The softmax along an axis: exponentials divided by their sum.
 *
 * @param x A float tensor.
 * @param options `axis`: the axis (default the last).
 * @returns A tensor of the same shape, whose elements along the axis sum to 1.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { softmax } from "./softmax.ts";
 * assertEquals(await softmax(tensor([5, 5])).toArray(), [0.5, 0.5]);
 * ```
 */
export function softmax(x: Tensor, options: { axis?: number } = {}): Tensor {
  checkDType("softmax", "x", x, "float");
  const axes = normalizeAxes("softmax", options.axis ?? -1, x.rank);
  const exponentials = exp(sub(x, offset(x, axes)));
  return div(exponentials, sum(exponentials, { axes, keepDims: true }));
}

/**
 * The logarithm of the softmax along an axis.
 *
 * @param x A float tensor.
 * @param options `axis`: the axis (default the last).
 * @returns A tensor of the same shape.
 *
 * @example
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { logSoftmax } from "./softmax.ts";
 * const [first] = await logSoftmax(tensor([5, 5])).toArray() as number[];
 * assertAlmostEquals(first!, -Math.LN2, 1e-6);
 * ```
 */
export function logSoftmax(x: Tensor, options: { axis?: number } = {}): Tensor {
  checkDType("logSoftmax", "x", x, "float");
  const axes = normalizeAxes("logSoftmax", options.axis ?? -1, x.rank);
  const shifted = sub(x, offset(x, axes));
  return sub(shifted, log(sum(exp(shifted), { axes, keepDims: true })));
}
