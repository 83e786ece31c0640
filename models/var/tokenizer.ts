/**
 * The multi-scale residual tokenizer: images to one grid of codes for each scale and back, and the loss that
 * trains it.
 *
 * Source: Tian et al., "Visual autoregressive modeling: scalable image generation via next-scale prediction"
 * (2024), algorithms 1 and 2.
 */
import type { Tensor } from "../../lib/tensor.ts";
import { add, mul, sub } from "../../ops/arithmetic.ts";
import { cast } from "../../ops/cast.ts";
import { concat } from "../../ops/concat.ts";
import { square } from "../../ops/power.ts";
import { mean } from "../../ops/reduce.ts";
import { reshape } from "../../ops/reshape.ts";
import { split } from "../../ops/slice.ts";
import {
  type Codebook,
  type CodebookLosses,
  codebookLosses,
  codebookParameters,
  type CodeUse,
  codeUse,
  codeVectors,
  quantize,
  straightThrough,
} from "../layers/codebook.ts";
import { applyConv2d, type Conv2d, conv2dParameters } from "../layers/conv2d.ts";
import type { Parameter } from "../layers/parameter.ts";
import {
  convolutionParameters,
  type Convolutions,
  decodeLatents,
  encodeLatents,
} from "../vq/convolutions.ts";
import type { CodedImages } from "../vq/vq.ts";
import type { MultiscaleVqConfig } from "./config.ts";
import { areaWeights, bicubicWeights, resize } from "./resize.ts";

/** Parameters of the tokenizer; their paths are the names in files of weights. */
export interface MultiscaleVqParameters<Leaf = Tensor> extends Convolutions<Leaf> {
  /** One codebook for all scales. */
  readonly quantize: Codebook<Leaf>;
  /** Convolutions 3×3 after the enlargement. */
  readonly refine: readonly Conv2d<Leaf>[];
}

/** Images, coded. */
export interface ScaleEncoding {
  /** The codes of each scale i32 [B, s, s], coarse to fine. */
  readonly codes: readonly Tensor[];
  /** What was coded [B, C, S, S]. */
  readonly latent: Tensor;
  /** What each scale coded of it [B, C, s, s]. */
  readonly rests: readonly Tensor[];
  /** What the scales up to each stand for together [B, C, S, S]. */
  readonly sums: readonly Tensor[];
}

/**
 * Describes the parameters of a tokenizer.
 *
 * @param model The configuration.
 * @returns A tree with the shapes and first values as leaves.
 */
export function multiscaleVqParameters(
  model: MultiscaleVqConfig,
): MultiscaleVqParameters<Parameter> {
  const { codes, codeChannels, refinements, scales } = model;
  return {
    ...convolutionParameters(model, codeChannels),
    quantize: codebookParameters(codes, codeChannels),
    refine: Array.from(
      { length: Math.min(refinements, scales.length) },
      () => conv2dParameters(codeChannels, codeChannels, 3),
    ),
  };
}

/**
 * Encodes images: each scale codes what is left of the latents after the coarser ones. It is reduced by areas to the
 * scale's grid, every cell takes the nearest code, and these are enlarged (bicubic), refined and subtracted.
 *
 * @param model The configuration.
 * @param params Its parameters.
 * @param images Images [B, C, H, W] in -1..1.
 * @returns Codes of every scale, the latents, and their approximations.
 * @throws {TypeError} If the images have another shape.
 */
export function encodeScales(
  model: MultiscaleVqConfig,
  params: MultiscaleVqParameters,
  images: Tensor,
): ScaleEncoding {
  const latent = encodeLatents(model, params, images);
  const finest = latent.shape[2]!;
  const codes: Tensor[] = [];
  const rests: Tensor[] = [];
  const sums: Tensor[] = [];
  for (const [scale, side] of model.scales.entries()) {
    const rest = scale === 0 ? latent : sub(latent, sums[scale - 1]!);
    rests.push(side === finest ? rest : resize(rest, areaWeights(finest, side)));
    codes.push(quantize(euclidean, params, rests[scale]!).codes);
    sums.push(addScale(model, params, sums[scale - 1], codes[scale]!, scale));
  }
  return { codes, latent, rests, sums };
}

/**
 * Decodes codes of all scales or the first few: a coarse image from few codes.
 *
 * @param model The configuration.
 * @param params Its parameters.
 * @param codes Codes i32 [B, s, s] of scales from the first on.
 * @returns Images [B, C, H, W], about -1..1, not clamped.
 * @throws {RangeError} If there are no codes or more grids than scales; {TypeError} if a grid has another size.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { zeros } from "../../ops/create.ts";
 * import { key } from "../../ops/random.ts";
 * import { createParameters } from "../layers/parameter.ts";
 * import { multiscaleVq } from "./config.ts";
 * import { decodeScales, encodeScales, multiscaleVqParameters } from "./tokenizer.ts";
 *
 * const model = multiscaleVq({});
 * const params = createParameters(multiscaleVqParameters(model), key(0));
 * const { codes } = encodeScales(model, params, zeros([1, 1, 28, 28]));
 * assertEquals(codes.map(({ shape }) => shape[1]), [1, 2, 4, 7]);
 * assertEquals(decodeScales(model, params, codes.slice(0, 2)).shape, [1, 1, 28, 28]);
 * ```
 */
export function decodeScales(
  model: MultiscaleVqConfig,
  params: MultiscaleVqParameters,
  codes: readonly Tensor[],
): Tensor {
  const { scales } = model;
  if (codes.length < 1 || codes.length > scales.length) {
    throw new RangeError(
      `decodeScales: expected codes of 1 to ${scales.length} scales but found ${codes.length}`,
    );
  }
  let total: Tensor | undefined;
  for (const [scale, grid] of codes.entries()) {
    const side = scales[scale]!;
    if (grid.rank !== 3 || grid.shape[1] !== side || grid.shape[2] !== side) {
      throw new TypeError(
        `decodeScales: expected codes ${scale} to have shape [B, ${side}, ${side}] but found ${grid}`,
      );
    }
    total = addScale(model, params, total, grid, scale);
  }
  return decodeLatents(params, total!);
}

/** Codes are compared as they are: what is left gets smaller from scale to scale. */
const euclidean = { normalizeCodes: false };

/** Adds what the codes of a scale stand for. */
function addScale(
  { scales, refinementShare }: MultiscaleVqConfig,
  params: MultiscaleVqParameters,
  total: Tensor | undefined,
  codes: Tensor,
  scale: number,
): Tensor {
  const finest = scales.at(-1)!, side = scales[scale]!;
  const vectors = codeVectors(euclidean, params, codes);
  const enlarged = side === finest ? vectors : resize(vectors, bicubicWeights(side, finest));
  const { refine } = params;
  const place = scales.length === 1 ? 0 : scale / (scales.length - 1);
  const convolution = refine[Math.round(place * (refine.length - 1))];
  const refined = convolution
    ? add(
      mul(enlarged, 1 - refinementShare),
      mul(
        cast(applyConv2d(convolution, cast(enlarged, convolution.weight.dtype)), "f32"),
        refinementShare,
      ),
    )
    : enlarged;
  return total ? add(total, refined) : refined;
}

/** Encodes and decodes images [B, C, H, W]; gradients pass the choice of codes straight through. */
export function reconstructScales(
  model: MultiscaleVqConfig,
  params: MultiscaleVqParameters,
  images: Tensor,
): Tensor {
  return decodeEncoding(params, encodeScales(model, params, images));
}

function decodeEncoding(
  params: MultiscaleVqParameters,
  { latent, sums }: ScaleEncoding,
): Tensor {
  const through = straightThrough({ compared: latent, quantized: sums.at(-1)! });
  return decodeLatents(params, through);
}

/**
 * Encodes and decodes images for training: the images again, the losses between latents and their approximations
 * (means over the scales), and the codebook's use by all scales together.
 */
export function codeScales(
  model: MultiscaleVqConfig,
  params: MultiscaleVqParameters,
  images: Tensor,
): CodedImages {
  const encoding = encodeScales(model, params, images);
  const { codes, latent, rests, sums } = encoding;
  const losses = sums.map((quantized) => codebookLosses({ compared: latent, quantized }));
  const overScales = (name: keyof CodebookLosses) =>
    mul(losses.map((loss) => loss[name]).reduce((a, b) => add(a, b)), 1 / losses.length);
  const uses = rests.map((compared, scale) =>
    codeUse({
      codes: codes[scale]!,
      compared,
      quantized: codeVectors(euclidean, params, codes[scale]!),
    })
  );
  const together = (name: keyof CodeUse) => concat(uses.map((use) => use[name]), { axis: 1 });
  return {
    images: decodeEncoding(params, encoding),
    codebook: overScales("codebook"),
    commitment: overScales("commitment"),
    use: {
      codes: together("codes"),
      vectors: together("vectors"),
      distances: together("distances"),
    },
  };
}

/** The terms of the training loss, scalars. */
export interface MultiscaleVqLoss {
  /** `reconstruction` + `codebook` + `commitment` · the model's weight for it. */
  readonly loss: Tensor;
  /** Mean squared error of the pixels. */
  readonly reconstruction: Tensor;
  /** Mean squared distance of the approximations from the latents, over all scales, which moves the codes. */
  readonly codebook: Tensor;
}

/**
 * The training loss of a tokenizer.
 *
 * Source: Tian et al. (2024), equation 5, without the terms that other networks judge; the codebook's terms
 * are means over the scales.
 *
 * @param model The configuration.
 * @param params Its parameters.
 * @param images Images [B, C, H, W] in -1..1.
 * @returns The loss and its terms.
 * @throws {TypeError} If the images have another shape.
 */
export function multiscaleVqLoss(
  model: MultiscaleVqConfig,
  params: MultiscaleVqParameters,
  images: Tensor,
): MultiscaleVqLoss {
  const { images: decoded, codebook, commitment } = codeScales(model, params, images);
  const reconstruction = mean(square(sub(decoded, images)));
  return {
    loss: add(add(reconstruction, codebook), mul(commitment, model.commitment)),
    reconstruction,
    codebook,
  };
}

/**
 * The codes of all scales as one sequence, each scale row by row.
 *
 * @param codes Codes i32 [B, s, s] of each scale.
 * @returns Tokens i32 [B, Σ s²].
 */
export function joinScales(codes: readonly Tensor[]): Tensor {
  return concat(codes.map((grid) => reshape(grid, [grid.shape[0]!, -1])), { axis: 1 });
}

/**
 * The inverse of `joinScales`.
 *
 * @param scales Rows and columns of each scale.
 * @param tokens Tokens i32 [B, Σ s²].
 * @returns Codes i32 [B, s, s] of each scale.
 * @throws {TypeError} If there are more or fewer tokens.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../../lib/tensor.ts";
 * import { joinScales, splitScales } from "./tokenizer.ts";
 *
 * const tokens = tensor([[5, 1, 2, 3, 4]], { dtype: "i32" });
 * const codes = splitScales([1, 2], tokens);
 * assertEquals(await codes[1]!.toArray(), [[[1, 2], [3, 4]]]);
 * assertEquals(await joinScales(codes).toArray(), await tokens.toArray());
 * ```
 */
export function splitScales(scales: readonly number[], tokens: Tensor): Tensor[] {
  const parts = split(tokens, scales.map((side) => side * side), { axis: 1 });
  return parts.map((part, scale) =>
    reshape(part, [tokens.shape[0]!, scales[scale]!, scales[scale]!])
  );
}
