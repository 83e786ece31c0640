/** The convolution layer with bias. */
import type { Tensor } from "../../lib/tensor.ts";
import { conv2d, type Conv2dOptions } from "../../ops/conv2d/conv2d.ts";
import { Parameter } from "./parameter.ts";

/** Parameters: `weight` [outputs, inputs, k, k] and `bias` [outputs]. */
export interface Conv2d<Leaf = Tensor> {
  readonly weight: Leaf;
  readonly bias: Leaf;
}

/** Describes a convolution with k×k kernels, uniform in ±1/√(inputs · k²) at first, as in PyTorch. */
export function conv2dParameters(inputs: number, outputs: number, k: number): Conv2d<Parameter> {
  const fill = { uniform: 1 / Math.sqrt(inputs * k * k) };
  return {
    weight: new Parameter([outputs, inputs, k, k], fill),
    bias: new Parameter([outputs], fill),
  };
}

/**
 * Applies a convolution.
 *
 * @param params `weight` and `bias`.
 * @param x Images [B, inputs, H, W].
 * @param options `stride` (default 1) and `padding`; by default as many zeros around the image as keep its size.
 * @returns Images [B, outputs, H', W'].
 */
export function applyConv2d(
  { weight, bias }: Conv2d,
  x: Tensor,
  options: Omit<Conv2dOptions, "bias"> = {},
): Tensor {
  return conv2d(x, weight, { padding: (weight.shape[2]! - 1) / 2, ...options, bias });
}
