/** The nonlinearities of neural networks, element by element. */
import type { Expr, ExprBuilder } from "../lib/compiler/expr.ts";
import type { DType } from "../lib/dtype.ts";
import type { Op } from "../lib/op.ts";
import { bindOne, type Tensor, type TensorLike } from "../lib/tensor.ts";
import { add, mul, sub } from "./arithmetic.ts";
import { greater } from "./compare.ts";
import { exp, tanh } from "./math.ts";
import { applyPointwise, type Pointwise, pointwise } from "./pointwise.ts";
import { pow, square } from "./power.ts";
import { where } from "./where.ts";

/** 1 / (1 + e^-x). */
function logistic(e: ExprBuilder, x: Expr): Expr {
  const one = e.constant(x.dtype, 1);
  return e.apply("div", one, e.apply("add", one, e.apply("exp", e.apply("neg", x))));
}

const sigmoidOp = pointwise("sigmoid", {
  domain: "float",
  element: (e, x) => logistic(e, x!),
  gradient: (g, _, output) => [mul(g, mul(output, sub(1, output)))],
});

/**
 * The logistic function `1 / (1 + exp(-x))`.
 *
 * @param x A float tensor or number.
 * @returns A tensor of the same shape and type.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { sigmoid } from "./activations.ts";
 * assertEquals(await sigmoid(0).item(), 0.5);
 * ```
 */
export function sigmoid(x: TensorLike): Tensor {
  return applyPointwise(sigmoidOp, x);
}

const softplusOp = pointwise("softplus", {
  domain: "float",
  element(e, x) {
    // max(x, 0) + log(1 + exp(-|x|)) does not overflow.
    const number = (value: number) => e.constant(x!.dtype, value);
    const tail = e.apply("exp", e.apply("neg", e.apply("abs", x!)));
    const rest = e.apply("log", e.apply("add", number(1), tail));
    return e.apply("add", e.apply("maximum", x!, number(0)), rest);
  },
  gradient: (g, [x]) => [mul(g, sigmoid(x!))],
});

/**
 * The smooth ramp `log(1 + exp(x))`.
 *
 * @param x A float tensor or number.
 * @returns A tensor of the same shape and type.
 *
 * @example
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { softplus } from "./activations.ts";
 * assertAlmostEquals(await softplus(0).item(), Math.LN2, 1e-6);
 * ```
 */
export function softplus(x: TensorLike): Tensor {
  return applyPointwise(softplusOp, x);
}

/**
 * The rectifier `max(x, 0)`. Its gradient at 0 is 0.
 *
 * @param x A tensor or number.
 * @returns A tensor of the same shape and type.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { relu } from "./activations.ts";
 * assertEquals(await relu(tensor([-1, 2])).toArray(), [0, 2]);
 * ```
 */
export function relu(x: TensorLike): Tensor {
  return where(greater(x, 0), x, 0);
}

/**
 * An activation that keeps nothing but its input for the backward pass: its slope is computed there.
 *
 * @param name The name of the op.
 * @param element The function.
 * @param slope Its derivative.
 * @param curvature Its second derivative, in ops.
 */
function activation(
  name: string,
  element: Pointwise["element"],
  slope: Pointwise["element"],
  curvature: (x: Tensor) => Tensor,
): Op {
  const slopeOp = pointwise(`${name}Slope`, {
    domain: "float",
    element: slope,
    gradient: (g, [x]) => [mul(g, curvature(x!))],
  });
  return pointwise(name, {
    domain: "float",
    element,
    gradient: (g, [x]) => [mul(g, bindOne(slopeOp, [x!]))],
  });
}

/** Sums and products of expressions and numbers. */
function arithmetic(e: ExprBuilder, dtype: DType) {
  const operand = (x: Expr | number) => typeof x === "number" ? e.constant(dtype, x) : x;
  const fold = (op: "add" | "mul") => (...x: (Expr | number)[]) =>
    x.map(operand).reduce((a, b) => e.apply(op, a, b));
  return { plus: fold("add"), times: fold("mul"), apply: e.apply.bind(e) };
}

/** φ(x) is `bell · exp(-x²/2)`. */
const bell = 1 / Math.sqrt(2 * Math.PI);

const geluOp = activation(
  "gelu",
  (e, x) => {
    const { plus, times, apply } = arithmetic(e, x!.dtype);
    return times(x!, plus(times(apply("erf", times(x!, Math.SQRT1_2)), 0.5), 0.5));
  },
  (e, x) => {
    const { plus, times, apply } = arithmetic(e, x!.dtype);
    const density = times(apply("exp", times(x!, x!, -0.5)), bell);
    return plus(times(apply("erf", times(x!, Math.SQRT1_2)), 0.5), times(x!, density), 0.5);
  },
  (x) => mul(mul(exp(mul(square(x), -0.5)), bell), sub(2, square(x))),
);

/** The formula with tanh is that of u(x) = slope · (x + cubic · x³). */
const slope = Math.sqrt(2 / Math.PI), cubic = 0.044715;

const geluTanhOp = activation(
  "gelu",
  (e, x) => {
    const { plus, times, apply } = arithmetic(e, x!.dtype);
    const u = times(x!, plus(times(x!, x!, slope * cubic), slope));
    return times(x!, plus(times(apply("tanh", u), 0.5), 0.5));
  },
  (e, x) => {
    const { plus, times, apply } = arithmetic(e, x!.dtype);
    const squared = times(x!, x!);
    const t = apply("tanh", times(x!, plus(times(squared, slope * cubic), slope)));
    const half = plus(times(t, 0.5), 0.5); // 1 - t² = 4 · half · (1 - half)
    const du = times(x!, plus(times(squared, 6 * slope * cubic), 2 * slope));
    return plus(half, times(du, half, plus(times(half, -1), 1)));
  },
  (x) => {
    const t = tanh(mul(slope, add(x, mul(cubic, pow(x, 3)))));
    const du = mul(slope, add(1, mul(3 * cubic, square(x))));
    const bend = sub(mul(3 * slope * cubic, square(x)), mul(mul(x, t), square(du)));
    return mul(sub(1, square(t)), add(du, bend));
  },
);

/**
 * The Gaussian error linear unit `x · Φ(x)`.
 *
 * Source: Hendrycks and Gimpel, "Gaussian error linear units" (2016), section 2.
 *
 * @param x A float tensor or number.
 * @param options `approximate`: use the paper's formula with tanh instead of erf (default false).
 * @returns A tensor of the same shape and type.
 *
 * @example
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { gelu } from "./activations.ts";
 * assertAlmostEquals(await gelu(1).item(), 0.8413447, 1e-6);
 * assertAlmostEquals(await gelu(1, { approximate: true }).item(), 0.8411920, 1e-6);
 * ```
 */
export function gelu(x: TensorLike, options: { approximate?: boolean } = {}): Tensor {
  return applyPointwise(options.approximate ? geluTanhOp : geluOp, x);
}

const siluOp = activation(
  "silu",
  (e, x) => e.apply("mul", x!, logistic(e, x!)),
  (e, x) => {
    const { plus, times } = arithmetic(e, x!.dtype);
    const s = logistic(e, x!);
    return times(s, plus(times(x!, plus(times(s, -1), 1)), 1));
  },
  (x) => {
    const s = sigmoid(x);
    return mul(mul(s, sub(1, s)), add(2, mul(x, sub(1, mul(2, s)))));
  },
);

/**
 * The sigmoid linear unit `x · sigmoid(x)`, also called swish.
 *
 * @param x A float tensor or number.
 * @returns A tensor of the same shape and type.
 *
 * @example
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { silu } from "./activations.ts";
 * assertAlmostEquals(await silu(1).item(), 0.7310586, 1e-6);
 * ```
 */
export function silu(x: TensorLike): Tensor {
  return applyPointwise(siluOp, x);
}
