/** The discriminator that tells images from reconstructions patch by patch, and what it and the tokenizer learn from it. */
import type { Tensor } from "../../lib/tensor.ts";
import { grad } from "../../lib/transforms/vjp.ts";
import { relu } from "../../ops/activations.ts";
import { add, mul, neg, sub } from "../../ops/arithmetic.ts";
import { maximum } from "../../ops/extremes.ts";
import { square } from "../../ops/power.ts";
import { mean, sum } from "../../ops/reduce.ts";
import { applyConv2d, type Conv2d, conv2dParameters } from "../layers/conv2d.ts";
import { applyGroupNorm, type GroupNorm, groupNormParameters } from "../layers/group_norm.ts";
import type { Parameter } from "../layers/parameter.ts";

/** A discriminator as data. */
export interface DiscriminatorConfig {
  /** Values of a pixel. */
  readonly imageChannels: number;
  /** Channels of the first level; each further one has twice as many, up to 8 times. */
  readonly channels: number;
  /** Levels that halve the image. */
  readonly levels: number;
}

/** Parameters of a discriminator. */
export interface DiscriminatorParameters<Leaf = Tensor> {
  /** 4×4 with stride 2, from pixels. */
  readonly first: Conv2d<Leaf>;
  /** 4×4, with stride 2 but for the last, each normalized. */
  readonly levels: readonly { readonly conv: Conv2d<Leaf>; readonly norm: GroupNorm<Leaf> }[];
  /** 4×4, to one logit for each patch. */
  readonly out: Conv2d<Leaf>;
}

/** Describes the parameters of a discriminator. */
export function discriminatorParameters(
  { imageChannels, channels, levels }: DiscriminatorConfig,
): DiscriminatorParameters<Parameter> {
  const widths = Array.from(
    { length: levels + 1 },
    (_, level) => channels * Math.min(2 ** level, 8),
  );
  return {
    first: conv2dParameters(imageChannels, channels, 4),
    levels: widths.slice(1).map((width, level) => ({
      conv: conv2dParameters(widths[level]!, width, 4),
      norm: groupNormParameters(width),
    })),
    out: conv2dParameters(widths[levels]!, 1, 4),
  };
}

/**
 * Judges images patch by patch.
 *
 * It is PatchGAN, but for its normalization: over all channels and places of each image instead of over the batch,
 * so that the gradient penalty is of each image alone (as Gulrajani et al. 2017, section 4, advise) and nothing but
 * parameters is kept.
 *
 * Source: Isola et al., "Image-to-image translation with conditional adversarial networks" (2017), section 3.2.2.
 *
 * @param params Its parameters.
 * @param images Images [B, C, H, W] in -1..1, of at least 2^(levels + 1) pixels a side.
 * @returns Logits [B, 1, h, w], greater for what looks like an image.
 * @throws {TypeError} If the images are too small for its levels.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { zeros } from "../../ops/create.ts";
 * import { key } from "../../ops/random.ts";
 * import { createParameters } from "../layers/parameter.ts";
 * import { discriminate, discriminatorParameters } from "./discriminator.ts";
 *
 * const model = { imageChannels: 1, channels: 4, levels: 2 };
 * const params = createParameters(discriminatorParameters(model), key(0));
 * assertEquals(discriminate(params, zeros([2, 1, 28, 28])).shape, [2, 1, 5, 5]);
 * ```
 */
export function discriminate(
  { first, levels, out }: DiscriminatorParameters,
  images: Tensor,
): Tensor {
  const start = leakyRelu(applyConv2d(first, images, { stride: 2, padding: 1 }));
  const deepest = levels.reduce((x, { conv, norm }, level) => {
    const stride = level < levels.length - 1 ? 2 : 1;
    const y = applyConv2d(conv, x, { stride, padding: 1 });
    return leakyRelu(applyGroupNorm(norm, y, { groups: 1, epsilon: 1e-5 }));
  }, start);
  return applyConv2d(out, deepest, { padding: 1 });
}

function leakyRelu(x: Tensor): Tensor {
  return maximum(x, mul(x, 0.2));
}

/** What of the tokenizer's loss a discriminator judges: less where it takes reconstructions for images. */
export function adversarialLoss(params: DiscriminatorParameters, reconstructions: Tensor): Tensor {
  return neg(mean(discriminate(params, reconstructions)));
}

/**
 * The discriminator's hinge loss: 0 where every image is judged above 1 and every reconstruction below -1.
 *
 * Source: Lim and Ye, "Geometric GAN" (2017); halved as in VQGAN (Esser et al. 2021).
 *
 * @param params Its parameters.
 * @param images Images [B, C, H, W].
 * @param reconstructions As many reconstructions.
 * @returns A scalar.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { ones, zeros } from "../../ops/create.ts";
 * import { key } from "../../ops/random.ts";
 * import { createParameters } from "../layers/parameter.ts";
 * import { discriminatorParameters, hingeLoss } from "./discriminator.ts";
 *
 * const model = { imageChannels: 1, channels: 2, levels: 1 };
 * const params = createParameters(discriminatorParameters(model), key(0));
 * const [image, reconstruction] = [ones([1, 1, 8, 8]), zeros([1, 1, 8, 8])];
 * assert(await hingeLoss(params, image, reconstruction).item() > 0);
 * ```
 */
export function hingeLoss(
  params: DiscriminatorParameters,
  images: Tensor,
  reconstructions: Tensor,
): Tensor {
  const real = relu(sub(1, discriminate(params, images)));
  const fake = relu(add(1, discriminate(params, reconstructions)));
  return mul(add(mean(real), mean(fake)), 0.5);
}

/**
 * The penalty R1: the squared norm of the gradient of an image's judgement (the mean of its logits) by its pixels,
 * a mean over the images. Differentiated by the parameters, it is a gradient of a gradient.
 *
 * Source: Mescheder et al., "Which training methods for GANs do actually converge?" (2018), equation 9, without γ/2.
 *
 * @param params Its parameters.
 * @param images Images [B, C, H, W].
 * @returns A scalar.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { ones } from "../../ops/create.ts";
 * import { key } from "../../ops/random.ts";
 * import { createParameters } from "../layers/parameter.ts";
 * import { discriminatorParameters, gradientPenalty } from "./discriminator.ts";
 *
 * const model = { imageChannels: 1, channels: 2, levels: 1 };
 * const params = createParameters(discriminatorParameters(model), key(0));
 * assert(await gradientPenalty(params, ones([1, 1, 8, 8])).item() > 0);
 * ```
 */
export function gradientPenalty(params: DiscriminatorParameters, images: Tensor): Tensor {
  const judge = (x: Tensor) => sum(mean(discriminate(params, x), { axes: [1, 2, 3] }));
  return mean(sum(square(grad(judge)(images)), { axes: [1, 2, 3] }));
}
