/** The nonlinearities of neural networks, element by element. */
import type { Tensor, TensorLike } from "../lib/tensor.ts";
import { add, mul, sub } from "./arithmetic.ts";
import { greater } from "./compare.ts";
import { erf, tanh } from "./math.ts";
import { applyPointwise, pointwise } from "./pointwise.ts";
import { pow } from "./power.ts";
import { where } from "./where.ts";

const sigmoidOp = pointwise("sigmoid", {
  domain: "float",
  element(e, x) {
    const one = e.constant(x!.dtype, 1);
    return e.apply("div", one, e.apply("add", one, e.apply("exp", e.apply("neg", x!))));
  },
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
  const cumulative = options.approximate
    ? tanh(mul(Math.sqrt(2 / Math.PI), add(x, mul(0.044715, pow(x, 3)))))
    : erf(mul(x, Math.SQRT1_2));
  return mul(mul(0.5, x), add(1, cumulative));
}

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
  return mul(x, sigmoid(x));
}
