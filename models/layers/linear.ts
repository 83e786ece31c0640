/** The linear layer without bias. */
import type { Tensor } from "../../lib/tensor.ts";
import { matmul } from "../../ops/matmul/matmul.ts";
import { reshape } from "../../ops/reshape.ts";
import { transpose } from "../../ops/transpose.ts";
import { Parameter } from "./parameter.ts";

/** Parameters: `weight` [outputs, inputs]. */
export interface Linear<Leaf = Tensor> {
  readonly weight: Leaf;
}

/** Describes the parameters of a linear layer; `deviation` 0 starts with zeros. */
export function linearParameters(
  inputs: number,
  outputs: number,
  deviation: number,
): Linear<Parameter> {
  const fill = deviation === 0 ? "zeros" : { normal: deviation };
  return { weight: new Parameter([outputs, inputs], fill) };
}

/**
 * Applies a linear layer: `x · weightᵀ`.
 *
 * @param params `weight` [outputs, inputs].
 * @param x A tensor [..., inputs].
 * @returns A tensor [..., outputs].
 * @throws {TypeError} If the last axis of `x` is not the layer's number of inputs.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../../lib/tensor.ts";
 * import { linear } from "./linear.ts";
 *
 * const y = linear({ weight: tensor([[1, 2], [0, 1], [3, 0]]) }, tensor([[1, 10]]));
 * assertEquals(await y.toArray(), [[21, 10, 3]]);
 * ```
 */
export function linear({ weight }: Linear, x: Tensor): Tensor {
  const [outputs, inputs] = weight.shape as [number, number];
  const rows = reshape(x, [-1, x.shape.at(-1)!]);
  if (rows.shape[1] !== inputs) {
    throw new TypeError(
      `linear: expected x to end in ${inputs} features but found ${x}`,
    );
  }
  return reshape(matmul(rows, transpose(weight)), [...x.shape.slice(0, -1), outputs]);
}
