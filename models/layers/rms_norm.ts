/** RMS normalization with a learned scale per feature. */
import type { Tensor } from "../../lib/tensor.ts";
import { rmsNorm } from "../../ops/normalize.ts";
import { Parameter } from "./parameter.ts";

/** Parameters: `weight` [features]. */
export interface RmsNorm<Leaf = Tensor> {
  readonly weight: Leaf;
}

/** Describes the parameters of an RMS normalization. */
export function rmsNormParameters(features: number): RmsNorm<Parameter> {
  return { weight: new Parameter([features], "ones") };
}

/** Applies it to the last axis: `x / sqrt(mean(x²) + epsilon) · weight`. */
export function applyRmsNorm({ weight }: RmsNorm, x: Tensor, epsilon: number): Tensor {
  return rmsNorm(x, weight, epsilon);
}
