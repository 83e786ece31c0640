/** Logic on bool tensors and on the bits of integers, element by element. */
import type { Tensor, TensorLike } from "../lib/tensor.ts";
import { applyPointwise, pointwise } from "./pointwise.ts";

const logicalAndOp = pointwise("logicalAnd", {
  domain: "bool",
  element: (e, x, y) => e.apply("and", x!, y!),
  gradient: null,
});

/**
 * Whether both are true.
 *
 * @param x A bool tensor or a boolean.
 * @param y One that broadcasts with it.
 * @returns A tensor of the common shape and type.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { logicalAnd } from "./logic.ts";
 * assertEquals(await logicalAnd(tensor([true, true, false]), tensor([true, false, false])).toArray(), [true, false, false]);
 * ```
 */
export function logicalAnd(x: TensorLike, y: TensorLike): Tensor {
  return applyPointwise(logicalAndOp, x, y);
}

const logicalOrOp = pointwise("logicalOr", {
  domain: "bool",
  element: (e, x, y) => e.apply("or", x!, y!),
  gradient: null,
});

/**
 * Whether at least one is true.
 *
 * @param x A bool tensor or a boolean.
 * @param y One that broadcasts with it.
 * @returns A tensor of the common shape and type.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { logicalOr } from "./logic.ts";
 * assertEquals(await logicalOr(tensor([true, true, false]), tensor([true, false, false])).toArray(), [true, true, false]);
 * ```
 */
export function logicalOr(x: TensorLike, y: TensorLike): Tensor {
  return applyPointwise(logicalOrOp, x, y);
}

const logicalXorOp = pointwise("logicalXor", {
  domain: "bool",
  element: (e, x, y) => e.apply("xor", x!, y!),
  gradient: null,
});

/**
 * Whether exactly one is true.
 *
 * @param x A bool tensor or a boolean.
 * @param y One that broadcasts with it.
 * @returns A tensor of the common shape and type.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { logicalXor } from "./logic.ts";
 * assertEquals(await logicalXor(tensor([true, true, false]), tensor([true, false, false])).toArray(), [false, true, false]);
 * ```
 */
export function logicalXor(x: TensorLike, y: TensorLike): Tensor {
  return applyPointwise(logicalXorOp, x, y);
}

const logicalNotOp = pointwise("logicalNot", {
  domain: "bool",
  element: (e, x) => e.apply("not", x!),
  gradient: null,
});

/**
 * Whether it is false.
 *
 * @param x A bool tensor or a boolean.
 * @returns A tensor of the same shape and type.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { logicalNot } from "./logic.ts";
 * assertEquals(await logicalNot(tensor([true, false])).toArray(), [false, true]);
 * ```
 */
export function logicalNot(x: TensorLike): Tensor {
  return applyPointwise(logicalNotOp, x);
}

const bitAndOp = pointwise("bitAnd", {
  domain: "integer",
  element: (e, x, y) => e.apply("bitAnd", x!, y!),
  gradient: null,
});

/**
 * The bits set in both integers.
 *
 * @param x An integer tensor or number.
 * @param y One that broadcasts with it.
 * @returns A tensor of the common shape and type.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { bitAnd } from "./logic.ts";
 * assertEquals(await bitAnd(tensor([1, 2, 3], { dtype: "i32" }), 2).toArray(), [0, 2, 2]);
 * ```
 */
export function bitAnd(x: TensorLike, y: TensorLike): Tensor {
  return applyPointwise(bitAndOp, x, y);
}

const bitOrOp = pointwise("bitOr", {
  domain: "integer",
  element: (e, x, y) => e.apply("bitOr", x!, y!),
  gradient: null,
});

/**
 * The bits set in at least one integer.
 *
 * @param x An integer tensor or number.
 * @param y One that broadcasts with it.
 * @returns A tensor of the common shape and type.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { bitOr } from "./logic.ts";
 * assertEquals(await bitOr(tensor([1, 2, 3], { dtype: "i32" }), 2).toArray(), [3, 2, 3]);
 * ```
 */
export function bitOr(x: TensorLike, y: TensorLike): Tensor {
  return applyPointwise(bitOrOp, x, y);
}

const bitXorOp = pointwise("bitXor", {
  domain: "integer",
  element: (e, x, y) => e.apply("bitXor", x!, y!),
  gradient: null,
});

/**
 * The bits set in exactly one integer.
 *
 * @param x An integer tensor or number.
 * @param y One that broadcasts with it.
 * @returns A tensor of the common shape and type.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { bitXor } from "./logic.ts";
 * assertEquals(await bitXor(tensor([1, 2, 3], { dtype: "i32" }), 2).toArray(), [3, 0, 1]);
 * ```
 */
export function bitXor(x: TensorLike, y: TensorLike): Tensor {
  return applyPointwise(bitXorOp, x, y);
}

const shiftLeftOp = pointwise("shiftLeft", {
  domain: "integer",
  element: (e, x, y) => e.apply("shiftLeft", x!, y!),
  gradient: null,
});

/**
 * The bits moved left by `y` places (modulo 32).
 *
 * @param x An integer tensor or number.
 * @param y One that broadcasts with it.
 * @returns A tensor of the common shape and type.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { shiftLeft } from "./logic.ts";
 * assertEquals(await shiftLeft(tensor([1, 2, 3], { dtype: "i32" }), 2).toArray(), [4, 8, 12]);
 * ```
 */
export function shiftLeft(x: TensorLike, y: TensorLike): Tensor {
  return applyPointwise(shiftLeftOp, x, y);
}

const shiftRightOp = pointwise("shiftRight", {
  domain: "integer",
  element: (e, x, y) => e.apply("shiftRight", x!, y!),
  gradient: null,
});

/**
 * The bits moved right by `y` places (modulo 32); i32 keeps its sign.
 *
 * @param x An integer tensor or number.
 * @param y One that broadcasts with it.
 * @returns A tensor of the common shape and type.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { shiftRight } from "./logic.ts";
 * assertEquals(await shiftRight(tensor([1, 2, 3], { dtype: "i32" }), 2).toArray(), [0, 0, 0]);
 * ```
 */
export function shiftRight(x: TensorLike, y: TensorLike): Tensor {
  return applyPointwise(shiftRightOp, x, y);
}

const bitNotOp = pointwise("bitNot", {
  domain: "integer",
  element: (e, x) => e.apply("bitNot", x!),
  gradient: null,
});

/**
 * The bits that are not set.
 *
 * @param x An integer tensor.
 * @returns A tensor of the same shape and type.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { bitNot } from "./logic.ts";
 * assertEquals(await bitNot(tensor([0, -1], { dtype: "i32" })).toArray(), [-1, 0]);
 * ```
 */
export function bitNot(x: TensorLike): Tensor {
  return applyPointwise(bitNotOp, x);
}
