/** Comparisons, element by element, with broadcasting; none has a gradient. */
import type { Tensor, TensorLike } from "../lib/tensor.ts";
import { applyPointwise, pointwise } from "./pointwise.ts";

const equalOp = pointwise("equal", {
  domain: "any",
  result: "bool",
  element: (e, x, y) => e.apply("equal", x!, y!),
  gradient: null,
});

/**
 * Whether two elements are equal (NaN equals nothing).
 *
 * @param x A tensor or number.
 * @param y One that broadcasts with it.
 * @returns A bool tensor of the common shape.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { equal } from "./compare.ts";
 * assertEquals(await equal(tensor([1, 2, 3]), 2).toArray(), [false, true, false]);
 * ```
 */
export function equal(x: TensorLike, y: TensorLike): Tensor {
  return applyPointwise(equalOp, x, y);
}

const notEqualOp = pointwise("notEqual", {
  domain: "any",
  result: "bool",
  element: (e, x, y) => e.apply("notEqual", x!, y!),
  gradient: null,
});

/**
 * Whether two elements differ (NaN differs from everything).
 *
 * @param x A tensor or number.
 * @param y One that broadcasts with it.
 * @returns A bool tensor of the common shape.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { notEqual } from "./compare.ts";
 * assertEquals(await notEqual(tensor([1, 2, 3]), 2).toArray(), [true, false, true]);
 * ```
 */
export function notEqual(x: TensorLike, y: TensorLike): Tensor {
  return applyPointwise(notEqualOp, x, y);
}

const lessOp = pointwise("less", {
  domain: "number",
  result: "bool",
  element: (e, x, y) => e.apply("less", x!, y!),
  gradient: null,
});

/**
 * Whether `x < y`.
 *
 * @param x A tensor or number.
 * @param y One that broadcasts with it.
 * @returns A bool tensor of the common shape.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { less } from "./compare.ts";
 * assertEquals(await less(tensor([1, 2, 3]), 2).toArray(), [true, false, false]);
 * ```
 */
export function less(x: TensorLike, y: TensorLike): Tensor {
  return applyPointwise(lessOp, x, y);
}

const lessEqualOp = pointwise("lessEqual", {
  domain: "number",
  result: "bool",
  element: (e, x, y) => e.apply("lessEqual", x!, y!),
  gradient: null,
});

/**
 * Whether `x <= y`.
 *
 * @param x A tensor or number.
 * @param y One that broadcasts with it.
 * @returns A bool tensor of the common shape.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { lessEqual } from "./compare.ts";
 * assertEquals(await lessEqual(tensor([1, 2, 3]), 2).toArray(), [true, true, false]);
 * ```
 */
export function lessEqual(x: TensorLike, y: TensorLike): Tensor {
  return applyPointwise(lessEqualOp, x, y);
}

const greaterOp = pointwise("greater", {
  domain: "number",
  result: "bool",
  element: (e, x, y) => e.apply("less", y!, x!),
  gradient: null,
});

/**
 * Whether `x > y`.
 *
 * @param x A tensor or number.
 * @param y One that broadcasts with it.
 * @returns A bool tensor of the common shape.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { greater } from "./compare.ts";
 * assertEquals(await greater(tensor([1, 2, 3]), 2).toArray(), [false, false, true]);
 * ```
 */
export function greater(x: TensorLike, y: TensorLike): Tensor {
  return applyPointwise(greaterOp, x, y);
}

const greaterEqualOp = pointwise("greaterEqual", {
  domain: "number",
  result: "bool",
  element: (e, x, y) => e.apply("lessEqual", y!, x!),
  gradient: null,
});

/**
 * Whether `x >= y`.
 *
 * @param x A tensor or number.
 * @param y One that broadcasts with it.
 * @returns A bool tensor of the common shape.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { greaterEqual } from "./compare.ts";
 * assertEquals(await greaterEqual(tensor([1, 2, 3]), 2).toArray(), [false, true, true]);
 * ```
 */
export function greaterEqual(x: TensorLike, y: TensorLike): Tensor {
  return applyPointwise(greaterEqualOp, x, y);
}
