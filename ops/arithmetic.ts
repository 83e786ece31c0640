/** The arithmetic of numbers, element by element, with broadcasting. */
import { isFloat } from "../lib/dtype.ts";
import type { Tensor, TensorLike } from "../lib/tensor.ts";
import { applyPointwise, pointwise } from "./pointwise.ts";
import { floor } from "./rounding.ts";

const addOp = pointwise("add", {
  domain: "number",
  element: (e, x, y) => e.apply("add", x!, y!),
  gradient: (g) => [g, g],
});

/**
 * The sum `x + y`.
 *
 * @param x A tensor or number.
 * @param y A tensor or number that broadcasts with it.
 * @returns A tensor of the common shape and type.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { add } from "./arithmetic.ts";
 * assertEquals(await add(tensor([1, 2]), 3).toArray(), [4, 5]);
 * ```
 */
export function add(x: TensorLike, y: TensorLike): Tensor {
  return applyPointwise(addOp, x, y);
}

const subOp = pointwise("sub", {
  domain: "number",
  element: (e, x, y) => e.apply("sub", x!, y!),
  gradient: (g) => [g, neg(g)],
});

/**
 * The difference `x - y`.
 *
 * @param x A tensor or number.
 * @param y A tensor or number that broadcasts with it.
 * @returns A tensor of the common shape and type.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { sub } from "./arithmetic.ts";
 * assertEquals(await sub(1, tensor([1, 2])).toArray(), [0, -1]);
 * ```
 */
export function sub(x: TensorLike, y: TensorLike): Tensor {
  return applyPointwise(subOp, x, y);
}

const mulOp = pointwise("mul", {
  domain: "number",
  element: (e, x, y) => e.apply("mul", x!, y!),
  gradient: (g, [x, y]) => [mul(g, y!), mul(g, x!)],
});

/**
 * The product `x · y`, element by element (see `matmul` for matrices).
 *
 * @param x A tensor or number.
 * @param y A tensor or number that broadcasts with it.
 * @returns A tensor of the common shape and type.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { mul } from "./arithmetic.ts";
 * assertEquals(await mul(tensor([[1], [2]]), tensor([3, 4])).toArray(), [[3, 4], [6, 8]]);
 * ```
 */
export function mul(x: TensorLike, y: TensorLike): Tensor {
  return applyPointwise(mulOp, x, y);
}

const divOp = pointwise("div", {
  domain: "float",
  element: (e, x, y) => e.apply("div", x!, y!),
  gradient: (g, [, y], output) => [div(g, y!), neg(div(mul(g, output), y!))],
});

/**
 * The quotient `x / y` of floats (see `floorDivide` for integers).
 *
 * @param x A tensor or number.
 * @param y A tensor or number that broadcasts with it.
 * @returns A tensor of the common shape and type.
 * @throws {TypeError} If both are integers.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { div } from "./arithmetic.ts";
 * assertEquals(await div(tensor([1, 3]), 2).toArray(), [0.5, 1.5]);
 * ```
 */
export function div(x: TensorLike, y: TensorLike): Tensor {
  return applyPointwise(divOp, x, y);
}

const floorDivideOp = pointwise("floorDivide", {
  domain: "integer",
  element(e, x, y) {
    const quotient = e.apply("divide", x!, y!);
    if (x!.dtype === "u32") return quotient;
    const zero = e.int(0);
    const exact = e.apply("equal", e.apply("modulo", x!, y!), zero);
    const negative = e.apply("xor", e.apply("less", x!, zero), e.apply("less", y!, zero));
    const below = e.apply("and", negative, e.apply("not", exact));
    return e.apply("sub", quotient, e.cast("i32", below));
  },
  gradient: null,
});

/**
 * The quotient of integers, rounded down; 0 where `y` is 0.
 *
 * @param x An integer tensor or number.
 * @param y An integer tensor or number that broadcasts with it.
 * @returns A tensor of the common shape and type.
 * @throws {TypeError} If one of them is not an integer.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { floorDivide } from "./arithmetic.ts";
 * const x = tensor([-3, 3], { dtype: "i32" });
 * assertEquals(await floorDivide(x, 2).toArray(), [-2, 1]);
 * ```
 */
export function floorDivide(x: TensorLike, y: TensorLike): Tensor {
  return applyPointwise(floorDivideOp, x, y);
}

const remainderOp = pointwise("remainder", {
  domain: "number",
  element(e, x, y) {
    if (isFloat(x!.dtype)) {
      const whole = e.apply("floor", e.apply("div", x!, y!));
      return e.apply("sub", x!, e.apply("mul", whole, y!));
    }
    const rest = e.apply("modulo", x!, y!);
    if (x!.dtype === "u32") return rest;
    const zero = e.int(0);
    const differs = e.apply("xor", e.apply("less", rest, zero), e.apply("less", y!, zero));
    const wrong = e.apply("and", differs, e.apply("notEqual", rest, zero));
    return e.apply("where", wrong, e.apply("add", rest, y!), rest);
  },
  gradient: (g, [x, y]) => [g, neg(mul(g, floor(div(x!, y!))))],
});

/**
 * The remainder `x - floor(x / y) · y`, which has the sign of `y`; 0 for integers where `y` is 0.
 *
 * @param x A tensor or number.
 * @param y A tensor or number that broadcasts with it.
 * @returns A tensor of the common shape and type.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { remainder } from "./arithmetic.ts";
 * assertEquals(await remainder(tensor([-1, 5]), 3).toArray(), [2, 2]);
 * ```
 */
export function remainder(x: TensorLike, y: TensorLike): Tensor {
  return applyPointwise(remainderOp, x, y);
}

const negOp = pointwise("neg", {
  domain: "number",
  element: (e, x) =>
    x!.dtype === "u32" ? e.apply("sub", e.constant("u32", 0), x!) : e.apply("neg", x!),
  gradient: (g) => [neg(g)],
});

/**
 * The negative `-x`.
 *
 * @param x A tensor or number.
 * @returns A tensor of the same shape and type.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { neg } from "./arithmetic.ts";
 * assertEquals(await neg(tensor([1, -2])).toArray(), [-1, 2]);
 * ```
 */
export function neg(x: TensorLike): Tensor {
  return applyPointwise(negOp, x);
}

const absOp = pointwise("abs", {
  domain: "number",
  element: (e, x) => x!.dtype === "u32" ? x! : e.apply("abs", x!),
  gradient: (g, [x]) => [mul(g, sign(x!))],
});

/**
 * The absolute value. Its gradient at 0 is 0.
 *
 * @param x A tensor or number.
 * @returns A tensor of the same shape and type.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { abs } from "./arithmetic.ts";
 * assertEquals(await abs(tensor([1, -2])).toArray(), [1, 2]);
 * ```
 */
export function abs(x: TensorLike): Tensor {
  return applyPointwise(absOp, x);
}

const signOp = pointwise("sign", {
  domain: "number",
  element: (e, x) =>
    x!.dtype === "u32"
      ? e.cast("u32", e.apply("notEqual", x!, e.constant("u32", 0)))
      : e.apply("sign", x!),
  gradient: null,
});

/**
 * The sign: -1, 0 or 1.
 *
 * @param x A tensor or number.
 * @returns A tensor of the same shape and type.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { sign } from "./arithmetic.ts";
 * assertEquals(await sign(tensor([3, 0, -2])).toArray(), [1, 0, -1]);
 * ```
 */
export function sign(x: TensorLike): Tensor {
  return applyPointwise(signOp, x);
}
