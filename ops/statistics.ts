/** Where the extremes are, variances and norms. */
import { normalizeAxes, normalizeAxis, sizeOf } from "../lib/shape.ts";
import type { Tensor } from "../lib/tensor.ts";
import { div, mul, sub } from "./arithmetic.ts";
import { checkDType } from "./arguments.ts";
import { less } from "./compare.ts";
import { iota } from "./create.ts";
import { maximum } from "./extremes.ts";
import { rsqrt, sqrt } from "./math.ts";
import { max, mean, min, type ReduceOptions, sum } from "./reduce.ts";
import { square } from "./power.ts";
import { where } from "./where.ts";

/** Which axis is searched, and whether it stays with length 1. */
export interface SearchOptions {
  /** The axis (default the last). */
  readonly axis?: number;
  /** Whether the axis stays, with length 1 (default false). */
  readonly keepDims?: boolean;
}

/** The first place along the axis where `misses` is false. */
function firstHit(misses: Tensor, axis: number, keepDims?: boolean): Tensor {
  const length = misses.shape[axis]!;
  return min(where(misses, length, iota(misses.shape, { axis })), { axes: axis, keepDims });
}

/**
 * The place of the greatest element along an axis; the first of several.
 *
 * @param x A tensor of numbers.
 * @param options `axis` (default the last) and `keepDims`.
 * @returns An i32 tensor.
 * @throws {TypeError} If there are no elements.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { argmax } from "./statistics.ts";
 * assertEquals(await argmax(tensor([[1, 5, 5], [9, 2, 3]])).toArray(), [1, 0]);
 * ```
 */
export function argmax(x: Tensor, options: SearchOptions = {}): Tensor {
  const axis = normalizeAxis("argmax", options.axis ?? -1, x.rank);
  const misses = less(x, max(x, { axes: axis, keepDims: true }));
  return firstHit(misses, axis, options.keepDims);
}

/**
 * The place of the least element along an axis; the first of several.
 *
 * @param x A tensor of numbers.
 * @param options `axis` (default the last) and `keepDims`.
 * @returns An i32 tensor.
 * @throws {TypeError} If there are no elements.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { argmin } from "./statistics.ts";
 * assertEquals(await argmin(tensor([[1, 5, 5], [9, 2, 3]])).toArray(), [0, 1]);
 * ```
 */
export function argmin(x: Tensor, options: SearchOptions = {}): Tensor {
  const axis = normalizeAxis("argmin", options.axis ?? -1, x.rank);
  const misses = less(min(x, { axes: axis, keepDims: true }), x);
  return firstHit(misses, axis, options.keepDims);
}

/**
 * The variance of the elements along some axes: the mean squared distance from their mean.
 *
 * @param x A float tensor.
 * @param options `axes` (default all), `keepDims`, and `correction`, which is subtracted from the
 * number of elements (default 0; 1 for the unbiased estimate).
 * @returns The variances.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { variance } from "./statistics.ts";
 * assertEquals(await variance(tensor([1, 3])).item(), 1);
 * assertEquals(await variance(tensor([1, 3]), { correction: 1 }).item(), 2);
 * ```
 */
export function variance(
  x: Tensor,
  options: ReduceOptions & { readonly correction?: number } = {},
): Tensor {
  checkDType("variance", "x", x, "float");
  const { axes, correction = 0 } = options;
  const distances = square(sub(x, mean(x, { axes, keepDims: true })));
  if (correction === 0) return mean(distances, options);
  const count = sizeOf(normalizeAxes("variance", axes, x.rank).map((axis) => x.shape[axis]!));
  return div(sum(distances, options), count - correction);
}

/**
 * The Euclidean norm of the elements along some axes. Its gradient at zero is not defined.
 *
 * @param x A float tensor.
 * @param options `axes` (default all) and `keepDims`.
 * @returns The norms.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { norm } from "./statistics.ts";
 * assertEquals(await norm(tensor([3, 4])).item(), 5);
 * ```
 */
export function norm(x: Tensor, options: ReduceOptions = {}): Tensor {
  return sqrt(sum(square(x), options));
}

/**
 * Vectors scaled to Euclidean norm 1.
 *
 * @param x A float tensor.
 * @param options `axis`: the axis of the vectors (default the last); `epsilon`: the least norm that
 * is divided by (default 1e-12).
 * @returns A tensor of the same shape.
 *
 * @example
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { l2Normalize } from "./statistics.ts";
 * const [x] = await l2Normalize(tensor([3, 4])).toArray() as number[];
 * assertAlmostEquals(x!, 0.6, 1e-6);
 * ```
 */
export function l2Normalize(
  x: Tensor,
  options: { readonly axis?: number; readonly epsilon?: number } = {},
): Tensor {
  const { axis = -1, epsilon = 1e-12 } = options;
  const squares = sum(square(x), { axes: axis, keepDims: true });
  return mul(x, rsqrt(maximum(squares, epsilon ** 2)));
}
