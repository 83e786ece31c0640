/** Group normalization with a learned scale and shift per channel. */
import type { Tensor } from "../../lib/tensor.ts";
import { groupNorm } from "../../ops/normalize.ts";
import { Parameter } from "./parameter.ts";

/** Parameters: `weight` and `bias` [channels]. */
export interface GroupNorm<Leaf = Tensor> {
  readonly weight: Leaf;
  readonly bias: Leaf;
}

/** Describes the parameters of a group normalization. */
export function groupNormParameters(channels: number): GroupNorm<Parameter> {
  return { weight: new Parameter([channels], "ones"), bias: new Parameter([channels], "zeros") };
}

/** Applies it to images [B, channels, H, W]: mean 0 and variance 1 in each group of channels of each image. */
export function applyGroupNorm(
  { weight, bias }: GroupNorm,
  x: Tensor,
  options: { readonly groups: number; readonly epsilon: number },
): Tensor {
  return groupNorm(x, options.groups, weight, bias, options.epsilon);
}
