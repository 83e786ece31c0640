/** Exponentials, logarithms, roots and other functions of one float, element by element. */
import type { Expr } from "../lib/compiler/expr.ts";
import type { Tensor, TensorLike } from "../lib/tensor.ts";
import { add, div, mul, neg, sub } from "./arithmetic.ts";
import { applyPointwise, pointwise } from "./pointwise.ts";
import { reciprocal, square } from "./power.ts";

const expOp = pointwise("exp", {
  domain: "float",
  element: (e, x) => e.apply("exp", x!),
  gradient: (g, _, output) => [mul(g, output)],
});

/**
 * The exponential `e^x`.
 *
 * @param x A float tensor or number.
 * @returns A tensor of the same shape and type.
 *
 * @example
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { exp } from "./math.ts";
 * assertAlmostEquals(await exp(0).item(), 1, 1e-6);
 * ```
 */
export function exp(x: TensorLike): Tensor {
  return applyPointwise(expOp, x);
}

const logOp = pointwise("log", {
  domain: "float",
  element: (e, x) => e.apply("log", x!),
  gradient: (g, [x]) => [div(g, x!)],
});

/**
 * The natural logarithm.
 *
 * @param x A float tensor or number.
 * @returns A tensor of the same shape and type.
 *
 * @example
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { log } from "./math.ts";
 * assertAlmostEquals(await log(Math.E).item(), 1, 1e-6);
 * ```
 */
export function log(x: TensorLike): Tensor {
  return applyPointwise(logOp, x);
}

const sqrtOp = pointwise("sqrt", {
  domain: "float",
  element: (e, x) => e.apply("sqrt", x!),
  gradient: (g, _, output) => [div(mul(g, 0.5), output)],
});

/**
 * The square root.
 *
 * @param x A float tensor or number.
 * @returns A tensor of the same shape and type.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { sqrt } from "./math.ts";
 * assertEquals(await sqrt(tensor([4, 9])).toArray(), [2, 3]);
 * ```
 */
export function sqrt(x: TensorLike): Tensor {
  return applyPointwise(sqrtOp, x);
}

const sinOp = pointwise("sin", {
  domain: "float",
  element: (e, x) => e.apply("sin", x!),
  gradient: (g, [x]) => [mul(g, cos(x!))],
});

/**
 * The sine of an angle in radians.
 *
 * @param x A float tensor or number.
 * @returns A tensor of the same shape and type.
 *
 * @example
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { sin } from "./math.ts";
 * assertAlmostEquals(await sin(Math.PI / 2).item(), 1, 1e-6);
 * ```
 */
export function sin(x: TensorLike): Tensor {
  return applyPointwise(sinOp, x);
}

const cosOp = pointwise("cos", {
  domain: "float",
  element: (e, x) => e.apply("cos", x!),
  gradient: (g, [x]) => [neg(mul(g, sin(x!)))],
});

/**
 * The cosine of an angle in radians.
 *
 * @param x A float tensor or number.
 * @returns A tensor of the same shape and type.
 *
 * @example
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { cos } from "./math.ts";
 * assertAlmostEquals(await cos(Math.PI).item(), -1, 1e-6);
 * ```
 */
export function cos(x: TensorLike): Tensor {
  return applyPointwise(cosOp, x);
}

const tanhOp = pointwise("tanh", {
  domain: "float",
  element: (e, x) => e.apply("tanh", x!),
  gradient: (g, _, output) => [mul(g, sub(1, square(output)))],
});

/**
 * The hyperbolic tangent.
 *
 * @param x A float tensor or number.
 * @returns A tensor of the same shape and type.
 *
 * @example
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { tanh } from "./math.ts";
 * assertAlmostEquals(await tanh(0).item(), 0, 1e-6);
 * ```
 */
export function tanh(x: TensorLike): Tensor {
  return applyPointwise(tanhOp, x);
}

const erfOp = pointwise("erf", {
  domain: "float",
  element: (e, x) => e.apply("erf", x!),
  gradient: (g, [x]) => [mul(g, mul(2 / Math.sqrt(Math.PI), exp(neg(square(x!)))))],
});

/**
 * The error function, `2/√π ∫ exp(-t²) dt` from 0 to `x`.
 *
 * @param x A float tensor or number.
 * @returns A tensor of the same shape and type.
 *
 * @example
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { erf } from "./math.ts";
 * assertAlmostEquals(await erf(1).item(), 0.8427007929, 1e-6);
 * ```
 */
export function erf(x: TensorLike): Tensor {
  return applyPointwise(erfOp, x);
}

const log1pOp = pointwise("log1p", {
  domain: "float",
  element(e, x) {
    // log(1 + x) · x / ((1 + x) - 1) undoes the rounding of 1 + x; a series where that is too small.
    const number = (value: number) => e.constant(x!.dtype, value);
    const plain = e.apply("add", number(1), x!);
    const rounded = e.apply("sub", plain, number(1));
    const exact = e.apply("div", e.apply("mul", e.apply("log", plain), x!), rounded);
    let series = number(0);
    for (let n = 5; n >= 1; n--) {
      const term = e.apply("sub", number(1 / n), series);
      series = e.apply("mul", x!, term);
    }
    const large = e.apply("less", number(1e-3), e.apply("abs", x!));
    const unbounded = e.apply("equal", x!, number(Infinity));
    return e.apply("where", unbounded, x!, e.apply("where", large, exact, series));
  },
  gradient: (g, [x]) => [div(g, add(1, x!))],
});

/**
 * The logarithm `log(1 + x)`, accurate for small `x`.
 *
 * @param x A float tensor or number.
 * @returns A tensor of the same shape and type.
 *
 * @example
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { log1p } from "./math.ts";
 * assertAlmostEquals(await log1p(1e-7).item() * 1e7, 1, 1e-6);
 * ```
 */
export function log1p(x: TensorLike): Tensor {
  return applyPointwise(log1pOp, x);
}

const expm1Op = pointwise("expm1", {
  domain: "float",
  element(e, x) {
    // exp(x) - 1 = tanh(x / 2) · (exp(x) + 1)
    const number = (value: number) => e.constant(x!.dtype, value);
    const half = e.apply("tanh", e.apply("mul", x!, number(0.5)));
    return e.apply("mul", half, e.apply("add", e.apply("exp", x!), number(1)));
  },
  gradient: (g, [x]) => [mul(g, exp(x!))],
});

/**
 * The exponential `exp(x) - 1`, accurate for small `x`.
 *
 * @param x A float tensor or number.
 * @returns A tensor of the same shape and type.
 *
 * @example
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { expm1 } from "./math.ts";
 * assertAlmostEquals(await expm1(1e-7).item() * 1e7, 1, 1e-6);
 * ```
 */
export function expm1(x: TensorLike): Tensor {
  return applyPointwise(expm1Op, x);
}

/**
 * The reciprocal square root `1 / √x`.
 *
 * @param x A float tensor or number.
 * @returns A tensor of the same shape and type.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { rsqrt } from "./math.ts";
 * assertEquals(await rsqrt(tensor([1, 4])).toArray(), [1, 0.5]);
 * ```
 */
export function rsqrt(x: TensorLike): Tensor {
  return reciprocal(sqrt(x));
}

const smallErfinv = [
  2.81022636e-08,
  3.43273939e-07,
  -3.5233877e-06,
  -4.39150654e-06,
  0.00021858087,
  -0.00125372503,
  -0.00417768164,
  0.246640727,
  1.50140941,
];
const largeErfinv = [
  -0.000200214257,
  0.000100950558,
  0.00134934322,
  -0.00367342844,
  0.00573950773,
  -0.0076224613,
  0.00943887047,
  1.00167406,
  2.83297682,
];

const erfinvOp = pointwise("erfinv", {
  domain: "float",
  element(e, x) {
    const number = (value: number) => e.constant(x!.dtype, value);
    const polynomial = (coefficients: readonly number[], w: Expr) =>
      coefficients.map(number).reduce((sum, c) => e.apply("add", c, e.apply("mul", sum, w)));
    const inside = e.apply("mul", e.apply("sub", number(1), x!), e.apply("add", number(1), x!));
    const w = e.apply("neg", e.apply("log", inside));
    const small = polynomial(smallErfinv, e.apply("sub", w, number(2.5)));
    const root = e.apply("sqrt", e.apply("maximum", w, number(0)));
    const large = polynomial(largeErfinv, e.apply("sub", root, number(3)));
    return e.apply("mul", x!, e.apply("where", e.apply("less", w, number(5)), small, large));
  },
  gradient: (g, _, output) => [mul(g, mul(Math.sqrt(Math.PI) / 2, exp(square(output))))],
});

/**
 * The inverse of the error function, to a relative error of about 4e-7.
 *
 * Source: Giles, "Approximating the erfinv function" (2010), the single-precision version.
 *
 * @param x A float tensor or number in -1..1, the ends not included.
 * @returns A tensor of the same shape and type.
 *
 * @example
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { erf, erfinv } from "./math.ts";
 * assertAlmostEquals(await erf(erfinv(0.7)).item(), 0.7, 1e-6);
 * ```
 */
export function erfinv(x: TensorLike): Tensor {
  return applyPointwise(erfinvOp, x);
}
