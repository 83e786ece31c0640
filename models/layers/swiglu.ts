/** The gated feed-forward network of LLaMA. */
import type { Tensor } from "../../lib/tensor.ts";
import { silu } from "../../ops/activations.ts";
import { mul } from "../../ops/arithmetic.ts";
import { type Linear, linear, linearParameters } from "./linear.ts";
import type { Parameter } from "./parameter.ts";

/** Parameters: `w1` (gate) and `w3` [hidden, dim], `w2` [dim, hidden]. */
export interface SwiGlu<Leaf = Tensor> {
  readonly w1: Linear<Leaf>;
  readonly w3: Linear<Leaf>;
  readonly w2: Linear<Leaf>;
}

/** Describes the parameters of a gated feed-forward network. */
export function swiGluParameters(
  dim: number,
  hidden: number,
  deviation: number,
): SwiGlu<Parameter> {
  return {
    w1: linearParameters(dim, hidden, deviation),
    w3: linearParameters(dim, hidden, deviation),
    w2: linearParameters(hidden, dim, deviation),
  };
}

/**
 * Applies it: `w2(silu(w1 x) · w3 x)`.
 *
 * Source: Shazeer, "GLU variants improve transformer" (2020), equation 6.
 *
 * @param params `w1`, `w2`, `w3`.
 * @param x A tensor [..., dim].
 * @returns A tensor [..., dim].
 *
 * @example
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { tensor } from "../../lib/tensor.ts";
 * import { swiGlu } from "./swiglu.ts";
 *
 * const weight = tensor([[1]]);
 * const y = swiGlu({ w1: { weight }, w2: { weight }, w3: { weight } }, tensor([[2]]));
 * assertAlmostEquals(await y.item(), 4 / (1 + Math.exp(-2)), 1e-6);
 * ```
 */
export function swiGlu({ w1, w2, w3 }: SwiGlu, x: Tensor): Tensor {
  return linear(w2, mul(silu(linear(w1, x)), linear(w3, x)));
}
