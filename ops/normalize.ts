/** The normalizations of layers: of features, of their scale alone, of groups of channels. */
import { type DType, promote } from "../lib/dtype.ts";
import { showShape } from "../lib/shape.ts";
import type { Tensor } from "../lib/tensor.ts";
import { add, mul, sub } from "./arithmetic.ts";
import { checkDType, checkShapeIs } from "./arguments.ts";
import { cast } from "./cast.ts";
import { rsqrt } from "./math.ts";
import { square } from "./power.ts";
import { mean, type ReduceOptions } from "./reduce.ts";
import { reshape } from "./reshape.ts";

/** What is computed with: squares of f16 would overflow from 256 on. */
function widened(x: Tensor): Tensor {
  return x.dtype === "f16" ? cast(x, "f32") : x;
}

/** The common type of the operands that there are. */
function resultType(x: Tensor, ...others: readonly (Tensor | undefined)[]): DType {
  return others.reduce<DType>((type, y) => y ? promote(type, y.dtype) : type, x.dtype);
}

/** Numbers shifted and scaled to mean 0 and variance 1 along some axes. */
function standardize(x: Tensor, axes: ReduceOptions["axes"], epsilon: number): Tensor {
  const centered = sub(x, mean(x, { axes, keepDims: true }));
  const variance = mean(square(centered), { axes, keepDims: true });
  return mul(centered, rsqrt(add(variance, epsilon)));
}

/**
 * Layer normalization: mean 0 and variance 1 along the last axis, then a learned scale and shift.
 *
 * Source: Ba et al., "Layer normalization" (2016), section 3.
 *
 * @param x A float tensor [..., D].
 * @param weight The scale [D]; none if undefined.
 * @param bias The shift [D]; none if undefined.
 * @param epsilon Added to the variance (default 1e-5).
 * @returns A tensor of the same shape.
 * @throws {TypeError} If weight or bias have another shape.
 *
 * @example
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { layerNorm } from "./normalize.ts";
 * const [x] = await layerNorm(tensor([1, 3])).toArray() as number[];
 * assertAlmostEquals(x!, -1, 1e-4);
 * ```
 */
export function layerNorm(x: Tensor, weight?: Tensor, bias?: Tensor, epsilon = 1e-5): Tensor {
  checkDType("layerNorm", "x", x, "float");
  const width = x.shape.slice(-1);
  if (weight) checkShapeIs("layerNorm", "weight", weight, width);
  if (bias) checkShapeIs("layerNorm", "bias", bias, width);
  let y = standardize(widened(x), -1, epsilon);
  if (weight) y = mul(y, weight);
  return cast(bias ? add(y, bias) : y, resultType(x, weight, bias));
}

/**
 * Root-mean-square normalization: mean square 1 along the last axis, then a learned scale.
 *
 * Source: Zhang and Sennrich, "Root mean square layer normalization" (2019), section 4.
 *
 * @param x A float tensor [..., D].
 * @param weight The scale [D]; none if undefined.
 * @param epsilon Added to the mean square (default 1e-5).
 * @returns A tensor of the same shape.
 * @throws {TypeError} If the weight has another shape.
 *
 * @example
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { rmsNorm } from "./normalize.ts";
 * const [x] = await rmsNorm(tensor([2, 2])).toArray() as number[];
 * assertAlmostEquals(x!, 1, 1e-4);
 * ```
 */
export function rmsNorm(x: Tensor, weight?: Tensor, epsilon = 1e-5): Tensor {
  checkDType("rmsNorm", "x", x, "float");
  if (weight) checkShapeIs("rmsNorm", "weight", weight, x.shape.slice(-1));
  const wide = widened(x);
  const y = mul(wide, rsqrt(add(mean(square(wide), { axes: -1, keepDims: true }), epsilon)));
  return cast(weight ? mul(y, weight) : y, resultType(x, weight));
}

/**
 * Group normalization: mean 0 and variance 1 over each group of channels of each sample, then a
 * learned scale and shift per channel.
 *
 * Source: Wu and He, "Group normalization" (2018), section 3.1.
 *
 * @param x A float tensor [B, C, ...].
 * @param groups The number of groups, which divides C.
 * @param weight The scale [C]; none if undefined.
 * @param bias The shift [C]; none if undefined.
 * @param epsilon Added to the variance (default 1e-5).
 * @returns A tensor of the same shape.
 * @throws {TypeError} If there are fewer than two axes, or weight or bias have another shape.
 * @throws {RangeError} If the groups do not divide the channels.
 *
 * @example
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { groupNorm } from "./normalize.ts";
 * const [[x]] = await groupNorm(tensor([[1, 3, 7, 9]]), 2).toArray() as [[number]];
 * assertAlmostEquals(x, -1, 1e-4);
 * ```
 */
export function groupNorm(
  x: Tensor,
  groups: number,
  weight?: Tensor,
  bias?: Tensor,
  epsilon = 1e-5,
): Tensor {
  checkDType("groupNorm", "x", x, "float");
  if (x.rank < 2) {
    throw new TypeError(
      `groupNorm: expected x to have at least 2 axes but found shape ${showShape(x.shape)}`,
    );
  }
  const [batch, channels] = x.shape as [number, number];
  if (!Number.isInteger(groups) || groups < 1 || channels % groups !== 0) {
    throw new RangeError(
      `groupNorm: expected groups to divide the ${channels} channels but found ${groups}`,
    );
  }
  if (weight) checkShapeIs("groupNorm", "weight", weight, [channels]);
  if (bias) checkShapeIs("groupNorm", "bias", bias, [channels]);
  const grouped = reshape(widened(x), [batch, groups, x.size / (batch * groups) || 0]);
  const perChannel = (p: Tensor) => reshape(p, [channels, ...x.shape.slice(2).map(() => 1)]);
  let y = reshape(standardize(grouped, -1, epsilon), x.shape);
  if (weight) y = mul(y, perChannel(weight));
  return cast(bias ? add(y, perChannel(bias)) : y, resultType(x, weight, bias));
}
