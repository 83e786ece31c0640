/** Rounding to whole numbers, and tests for numbers that are none. */
import type { Tensor, TensorLike } from "../lib/tensor.ts";
import { applyPointwise, pointwise } from "./pointwise.ts";

const floorOp = pointwise("floor", {
  domain: "float",
  element: (e, x) => e.apply("floor", x!),
  gradient: null,
});

/**
 * The largest whole number not above `x`. Its gradient is 0.
 *
 * @param x A float tensor or number.
 * @returns A tensor of the same shape and type.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { floor } from "./rounding.ts";
 * assertEquals(await floor(tensor([1.5, -1.5])).toArray(), [1, -2]);
 * ```
 */
export function floor(x: TensorLike): Tensor {
  return applyPointwise(floorOp, x);
}

const ceilOp = pointwise("ceil", {
  domain: "float",
  element: (e, x) => e.apply("ceil", x!),
  gradient: null,
});

/**
 * The smallest whole number not below `x`. Its gradient is 0.
 *
 * @param x A float tensor or number.
 * @returns A tensor of the same shape and type.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { ceil } from "./rounding.ts";
 * assertEquals(await ceil(tensor([1.5, -1.5])).toArray(), [2, -1]);
 * ```
 */
export function ceil(x: TensorLike): Tensor {
  return applyPointwise(ceilOp, x);
}

const roundOp = pointwise("round", {
  domain: "float",
  element: (e, x) => e.apply("round", x!),
  gradient: null,
});

/**
 * The nearest whole number; halves go to the even neighbor. Its gradient is 0.
 *
 * @param x A float tensor or number.
 * @returns A tensor of the same shape and type.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { round } from "./rounding.ts";
 * assertEquals(await round(tensor([0.5, 1.5, -1.2])).toArray(), [0, 2, -1]);
 * ```
 */
export function round(x: TensorLike): Tensor {
  return applyPointwise(roundOp, x);
}

const isNanOp = pointwise("isNan", {
  domain: "float",
  result: "bool",
  element: (e, x) => e.apply("isNan", x!),
  gradient: null,
});

/**
 * Whether a number is NaN.
 *
 * @param x A float tensor or number.
 * @returns A bool tensor of the same shape.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { isNan } from "./rounding.ts";
 * assertEquals(await isNan(tensor([1, NaN])).toArray(), [false, true]);
 * ```
 */
export function isNan(x: TensorLike): Tensor {
  return applyPointwise(isNanOp, x);
}

const isFiniteOp = pointwise("isFinite", {
  domain: "float",
  result: "bool",
  element: (e, x) => e.apply("less", e.apply("abs", x!), e.constant(x!.dtype, Infinity)),
  gradient: null,
});

/**
 * Whether a number is neither infinite nor NaN.
 *
 * @param x A float tensor or number.
 * @returns A bool tensor of the same shape.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { isFinite } from "./rounding.ts";
 * assertEquals(await isFinite(tensor([1, NaN, Infinity])).toArray(), [true, false, false]);
 * ```
 */
export function isFinite(x: TensorLike): Tensor {
  return applyPointwise(isFiniteOp, x);
}
