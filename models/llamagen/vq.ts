/**
 * LlamaGen's image tokenizer: images to codes and back. Parameters have the names of its checkpoints.
 *
 * Source: Sun et al., "Autoregressive model beats diffusion: Llama for scalable image generation" (2024),
 * section 2.1, arXiv 2406.06525; Esser et al., "Taming transformers" (2021).
 */
import { showShape } from "../../lib/shape.ts";
import type { Tensor } from "../../lib/tensor.ts";
import { silu } from "../../ops/activations.ts";
import { cast } from "../../ops/cast.ts";
import { upsampleNearest } from "../../ops/upsample.ts";
import {
  type Codebook,
  codebookLosses,
  codebookParameters,
  codeUse,
  codeVectors,
  quantize,
  type Quantized,
  straightThrough,
} from "../layers/codebook.ts";
import { applyConv2d, type Conv2d, conv2dParameters } from "../layers/conv2d.ts";
import { type GroupNorm, groupNormParameters } from "../layers/group_norm.ts";
import type { Parameter } from "../layers/parameter.ts";
import type { CodedImages } from "../vq/vq.ts";
import {
  applyLevel,
  applyMiddle,
  type LevelBlocks,
  levelBlocks,
  type Middle,
  middle,
  normalize,
} from "./vq_blocks.ts";
import { type LlamagenVqConfig, pixelsPerCode } from "./vq_config.ts";

/** Parameters of encoder and decoder; the levels of each in the order in which they run. */
interface Half<Level, Leaf> {
  readonly conv_in: Conv2d<Leaf>;
  readonly conv_blocks: readonly Level[];
  readonly mid: Middle<Leaf>;
  readonly norm_out: GroupNorm<Leaf>;
  readonly conv_out: Conv2d<Leaf>;
}

/** A level of the encoder; all but the last halve the image. */
export interface EncoderLevel<Leaf = Tensor> extends LevelBlocks<Leaf> {
  readonly downsample?: { readonly conv: Conv2d<Leaf> };
}

/** A level of the decoder; all but the last double the image. */
export interface DecoderLevel<Leaf = Tensor> extends LevelBlocks<Leaf> {
  readonly upsample?: { readonly conv: Conv2d<Leaf> };
}

/** Parameters of the tokenizer; their paths are the names in its checkpoints. */
export interface LlamagenVqParameters<Leaf = Tensor> {
  readonly encoder: Half<EncoderLevel<Leaf>, Leaf>;
  readonly decoder: Half<DecoderLevel<Leaf>, Leaf>;
  readonly quantize: Codebook<Leaf>;
  readonly quant_conv: Conv2d<Leaf>;
  readonly post_quant_conv: Conv2d<Leaf>;
}

/**
 * Describes the parameters of a tokenizer.
 *
 * @param model The configuration.
 * @returns A tree with the shapes and first values as leaves.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { countParameters } from "../layers/parameter.ts";
 * import { llamagenVqParameters } from "./vq.ts";
 * import { llamagenVq } from "./vq_config.ts";
 *
 * assertEquals(countParameters(llamagenVqParameters(llamagenVq("VQ-16"))), 71_883_403);
 * ```
 */
export function llamagenVqParameters(model: LlamagenVqConfig): LlamagenVqParameters<Parameter> {
  const { latentChannels, codes, codeChannels } = model;
  return {
    encoder: encoderParameters(model),
    decoder: decoderParameters(model),
    quantize: codebookParameters(codes, codeChannels),
    quant_conv: conv2dParameters(latentChannels, codeChannels, 1),
    post_quant_conv: conv2dParameters(codeChannels, latentChannels, 1),
  };
}

function encoderParameters(model: LlamagenVqConfig): LlamagenVqParameters<Parameter>["encoder"] {
  const { channels, encoderMultipliers: multipliers, blocks, attentionLevels } = model;
  const last = multipliers.length - 1;
  const widths = multipliers.map((multiplier) => channels * multiplier);
  const deepest = widths[last]!;
  return {
    conv_in: conv2dParameters(3, channels, 3),
    conv_blocks: widths.map((width, level) => ({
      ...levelBlocks(widths[level - 1] ?? channels, width, blocks, last - level < attentionLevels),
      ...(level < last ? { downsample: { conv: conv2dParameters(width, width, 3) } } : {}),
    })),
    mid: middle(deepest),
    norm_out: groupNormParameters(deepest),
    conv_out: conv2dParameters(deepest, model.latentChannels, 3),
  };
}

function decoderParameters(model: LlamagenVqConfig): LlamagenVqParameters<Parameter>["decoder"] {
  const { channels, decoderMultipliers, blocks, attentionLevels } = model;
  const widths = decoderMultipliers.map((multiplier) => channels * multiplier).reverse();
  const last = widths.length - 1;
  const deepest = widths[0]!;
  return {
    conv_in: conv2dParameters(model.latentChannels, deepest, 3),
    conv_blocks: widths.map((width, level) => ({
      ...levelBlocks(widths[level - 1] ?? deepest, width, blocks + 1, level < attentionLevels),
      ...(level < last ? { upsample: { conv: conv2dParameters(width, width, 3) } } : {}),
    })),
    mid: middle(deepest),
    norm_out: groupNormParameters(widths[last]!),
    conv_out: conv2dParameters(widths[last]!, 3, 3),
  };
}

/** What the encoder makes of images; what is not used is not computed. */
export interface EncodedImages extends Quantized {
  /** Output of the convolutions [B, Z, h, w]. */
  readonly encoded: Tensor;
  /** Its projection to the width of the codebook [B, C, h, w]. */
  readonly latent: Tensor;
}

/**
 * Encodes images.
 *
 * @param model The configuration.
 * @param params Its parameters.
 * @param images Images [B, 3, H, W] in -1..1, H and W multiples of `pixelsPerCode(model)`.
 * @returns Codes i32 [B, h, w] and what led to them.
 * @throws {TypeError} If the images have another shape.
 */
export function encodeLlamagenImages(
  model: LlamagenVqConfig,
  params: LlamagenVqParameters,
  images: Tensor,
): EncodedImages {
  const factor = pixelsPerCode(model);
  const [, channels, height, width] = images.shape;
  if (images.rank !== 4 || channels !== 3 || height! % factor !== 0 || width! % factor !== 0) {
    throw new TypeError(
      `encodeLlamagenImages: expected images [B, 3, H, W], H and W multiples of ${factor}, but found shape ${
        showShape(images.shape)
      }`,
    );
  }
  const { conv_in, conv_blocks, mid, norm_out, conv_out } = params.encoder;
  const deepest = conv_blocks.reduce((x, level) => {
    const h = applyLevel(model, level, x);
    if (!level.downsample) return h;
    return applyConv2d(level.downsample.conv, h, { stride: 2, padding: [0, 1, 0, 1] });
  }, applyConv2d(conv_in, cast(images, conv_in.weight.dtype)));
  const h = applyMiddle(model, mid, deepest);
  const encoded = applyConv2d(conv_out, silu(normalize(model, norm_out, h)));
  const latent = cast(applyConv2d(params.quant_conv, encoded), "f32");
  return { encoded, latent, ...quantize(model, params, latent) };
}

/**
 * Decodes codes.
 *
 * @param model The configuration.
 * @param params Its parameters.
 * @param codes Codes i32 [B, h, w].
 * @returns Images [B, 3, H, W], about -1..1, not clamped.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { zeros } from "../../ops/create.ts";
 * import { key } from "../../ops/random.ts";
 * import { init } from "../model.ts";
 * import { decodeLlamagenCodes, encodeLlamagenImages } from "./vq.ts";
 * import { llamagenVq } from "./vq_config.ts";
 *
 * const levels = { encoderMultipliers: [1, 1], decoderMultipliers: [1, 1] };
 * const model = llamagenVq({ channels: 4, groups: 2, latentChannels: 4, codes: 8, ...levels });
 * const params = init(model, key(0));
 * const images = decodeLlamagenCodes(model, params, zeros([1, 2, 3], { dtype: "i32" }));
 * assertEquals(images.shape, [1, 3, 4, 6]);
 * assertEquals(encodeLlamagenImages(model, params, images).codes.shape, [1, 2, 3]);
 * ```
 */
export function decodeLlamagenCodes(
  model: LlamagenVqConfig,
  params: LlamagenVqParameters,
  codes: Tensor,
): Tensor {
  return decodeVectors(model, params, codeVectors(model, params, codes));
}

/** Decodes vectors [B, C, h, w] to images [B, 3, H, W]. */
export function decodeVectors(
  model: LlamagenVqConfig,
  params: LlamagenVqParameters,
  vectors: Tensor,
): Tensor {
  const { conv_in, conv_blocks, mid, norm_out, conv_out } = params.decoder;
  const own = cast(vectors, conv_in.weight.dtype);
  const first = applyConv2d(conv_in, applyConv2d(params.post_quant_conv, own));
  const largest = conv_blocks.reduce((x, level) => {
    const h = applyLevel(model, level, x);
    return level.upsample ? applyConv2d(level.upsample.conv, upsampleNearest(h)) : h;
  }, applyMiddle(model, mid, first));
  return cast(applyConv2d(conv_out, silu(normalize(model, norm_out, largest))), "f32");
}

/**
 * Encodes and decodes images for training: gradients pass the choice of codes straight through.
 *
 * Source: van den Oord et al., "Neural discrete representation learning" (2017), equation 3.
 *
 * @param model The configuration.
 * @param params Its parameters.
 * @param images Images [B, 3, H, W] in -1..1.
 * @returns The images again, their codes i32 [B, h, w] and how these are used, and two scalar losses: `codebook`, which
 * draws the codes to the latents, and `commitment`, which draws the latents to the codes (LlamaGen adds it times 0.25).
 */
export function reconstructLlamagenImages(
  model: LlamagenVqConfig,
  params: LlamagenVqParameters,
  images: Tensor,
): CodedImages & { readonly codes: Tensor } {
  const encoding = encodeLlamagenImages(model, params, images);
  return {
    images: decodeVectors(model, params, straightThrough(encoding)),
    codes: encoding.codes,
    ...codebookLosses(encoding),
    use: codeUse(encoding),
  };
}
