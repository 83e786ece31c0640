/** The linear layer with bias. */
import type { Tensor } from "../../lib/tensor.ts";
import { add } from "../../ops/arithmetic.ts";
import { linear } from "./linear.ts";
import { type Fill, Parameter } from "./parameter.ts";

/** Parameters: `weight` [outputs, inputs] and `bias` [outputs]. */
export interface Affine<Leaf = Tensor> {
  readonly weight: Leaf;
  readonly bias: Leaf;
}

/** Describes a linear layer with bias, uniform as Glorot and Bengio (2010) do by default; the bias starts at 0. */
export function affineParameters(
  inputs: number,
  outputs: number,
  fill: Fill = { uniform: Math.sqrt(6 / (inputs + outputs)) },
): Affine<Parameter> {
  return {
    weight: new Parameter([outputs, inputs], fill),
    bias: new Parameter([outputs], "zeros"),
  };
}

/**
 * Applies a linear layer: `x · weightᵀ + bias`.
 *
 * @param params `weight` [outputs, inputs] and `bias` [outputs].
 * @param x A tensor [..., inputs].
 * @returns A tensor [..., outputs].
 * @throws {TypeError} If the last axis of `x` is not the layer's number of inputs.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../../lib/tensor.ts";
 * import { affine } from "./affine.ts";
 *
 * const y = affine({ weight: tensor([[1, 2]]), bias: tensor([3]) }, tensor([[1, 10]]));
 * assertEquals(await y.toArray(), [[24]]);
 * ```
 */
export function affine({ weight, bias }: Affine, x: Tensor): Tensor {
  return add(linear({ weight }, x), bias);
}
