/** Squares, reciprocals and powers, element by element. */
import type { Tensor, TensorLike } from "../lib/tensor.ts";
import { div, mul, sub } from "./arithmetic.ts";
import { equal, greater } from "./compare.ts";
import { log } from "./math.ts";
import { applyPointwise, pointwise } from "./pointwise.ts";
import { where } from "./where.ts";

/**
 * The reciprocal `1 / x`.
 *
 * @param x A float tensor or number.
 * @returns A tensor of the same shape and type.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { reciprocal } from "./power.ts";
 * assertEquals(await reciprocal(tensor([2, -4])).toArray(), [0.5, -0.25]);
 * ```
 */
export function reciprocal(x: TensorLike): Tensor {
  return div(1, x);
}

/**
 * The square `x · x`.
 *
 * @param x A tensor or number.
 * @returns A tensor of the same shape and type.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { square } from "./power.ts";
 * assertEquals(await square(tensor([3, -4])).toArray(), [9, 16]);
 * ```
 */
export function square(x: TensorLike): Tensor {
  return mul(x, x);
}

const powOp = pointwise("pow", {
  domain: "float",
  element: (e, x, y) => e.apply("pow", x!, y!),
  gradient(g, [x, y], output) {
    const slope = where(equal(y!, 0), 0, mul(y!, pow(x!, sub(y!, 1))));
    const positive = greater(x!, 0);
    const rate = where(positive, mul(output, log(where(positive, x!, 1))), 0);
    return [mul(g, slope), mul(g, rate)];
  },
});

/** The largest whole exponent that `pow` turns into multiplications. */
const mostMultiplied = 16;

/**
 * The power `x^y` of floats. A whole JavaScript number as exponent works for negative `x` too.
 *
 * @param x A float tensor or number.
 * @param y A tensor or number that broadcasts with it.
 * @returns A tensor of the common shape and type.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { pow } from "./power.ts";
 * assertEquals(await pow(tensor([2, -3]), 3).toArray(), [8, -27]);
 * ```
 */
export function pow(x: TensorLike, y: TensorLike): Tensor {
  if (typeof y === "number" && Number.isInteger(y) && Math.abs(y) <= mostMultiplied && y !== 0) {
    return y < 0 ? reciprocal(wholePower(x, -y)) : wholePower(x, y);
  }
  return applyPointwise(powOp, x, y);
}

/** Repeated squaring, for exponents of at least 1. */
function wholePower(x: TensorLike, exponent: number): Tensor {
  if (exponent === 1) return mul(x, 1);
  const half = square(wholePower(x, Math.floor(exponent / 2)));
  return exponent % 2 === 0 ? half : mul(half, x);
}
