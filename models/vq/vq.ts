/**
 * A small convolutional image tokenizer: images to codes and back, and the loss that trains it.
 *
 * Source: van den Oord et al., "Neural discrete representation learning" (2017); codes of length 1 as in
 * LlamaGen (Sun et al. 2024, section 2.1).
 */
import type { Tensor } from "../../lib/tensor.ts";
import { add, mul, sub } from "../../ops/arithmetic.ts";
import { square } from "../../ops/power.ts";
import { mean } from "../../ops/reduce.ts";
import {
  type Codebook,
  type CodebookLosses,
  codebookLosses,
  codebookParameters,
  type CodeUse,
  codeUse,
  codeVectors,
  quantize,
  type Quantized,
  straightThrough,
} from "../layers/codebook.ts";
import type { Parameter } from "../layers/parameter.ts";
import type { VqConfig } from "./config.ts";
import {
  convolutionParameters,
  type Convolutions,
  decodeLatents,
  encodeLatents,
} from "./convolutions.ts";

/** Parameters of the tokenizer; their paths are the names in files of weights. */
export interface VqParameters<Leaf = Tensor> extends Convolutions<Leaf> {
  readonly quantize: Codebook<Leaf>;
}

/**
 * Describes the parameters of a tokenizer.
 *
 * @param model The configuration.
 * @returns A tree with the shapes and first values as leaves.
 */
export function vqParameters(model: VqConfig): VqParameters<Parameter> {
  const { encoder, quant_conv, decoder } = convolutionParameters(model, model.codeChannels);
  const quantize = codebookParameters(model.codes, model.codeChannels);
  return { encoder, quant_conv, quantize, decoder };
}

/**
 * Encodes images.
 *
 * @param model The configuration.
 * @param params Its parameters.
 * @param images Images [B, C, H, W] in -1..1.
 * @returns `codes` i32 [B, h, w], and the vectors that were compared.
 * @throws {TypeError} If the images have another shape.
 */
export function encodeImages(model: VqConfig, params: VqParameters, images: Tensor): Quantized {
  return quantize(model, params, encodeLatents(model, params, images));
}

/**
 * Decodes codes.
 *
 * @param model The configuration.
 * @param params Its parameters.
 * @param codes Codes i32 [B, h, w].
 * @returns Images [B, C, H, W], about -1..1, not clamped.
 */
export function decodeCodes(model: VqConfig, params: VqParameters, codes: Tensor): Tensor {
  return decodeLatents(params, codeVectors(model, params, codes));
}

/** Encodes and decodes images [B, C, H, W]; gradients pass the choice of codes straight through. */
export function reconstructImages(model: VqConfig, params: VqParameters, images: Tensor): Tensor {
  return decodeLatents(params, straightThrough(encodeImages(model, params, images)));
}

/** Images as a tokenizer gives them back in training; gradients pass the choice of codes straight through. */
export interface CodedImages extends CodebookLosses {
  /** About -1..1, not clamped [B, C, H, W]. */
  readonly images: Tensor;
  readonly use: CodeUse;
}

/** The terms of the training loss, scalars. */
export interface VqLoss {
  /** `reconstruction` + `codebook` + `commitment` · the model's weight for it. */
  readonly loss: Tensor;
  /** Mean squared error of the pixels. */
  readonly reconstruction: Tensor;
  /** Mean squared distance of codes from latents, which moves the codes. */
  readonly codebook: Tensor;
}

/**
 * The training loss of a tokenizer.
 *
 * Source: van den Oord et al. (2017), equation 3.
 *
 * @param model The configuration.
 * @param params Its parameters.
 * @param images Images [B, C, H, W] in -1..1.
 * @returns The loss and its terms.
 * @throws {TypeError} If the images have another shape.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { zeros } from "../../ops/create.ts";
 * import { key } from "../../ops/random.ts";
 * import { createParameters } from "../layers/parameter.ts";
 * import { vqTokenizer } from "./config.ts";
 * import { vqLoss, vqParameters } from "./vq.ts";
 *
 * const model = vqTokenizer({ imageHeight: 4, imageWidth: 4, encoderChannels: [4], decoderChannels: [4, 2] });
 * const params = createParameters(vqParameters(model), key(0));
 * const { loss, reconstruction } = vqLoss(model, params, zeros([2, 1, 4, 4]));
 * assert(await loss.item() > await reconstruction.item());
 * ```
 */
export function vqLoss(model: VqConfig, params: VqParameters, images: Tensor): VqLoss {
  const { images: decoded, codebook, commitment } = codeImages(model, params, images);
  const reconstruction = mean(square(sub(decoded, images)));
  return {
    loss: add(add(reconstruction, codebook), mul(commitment, model.commitment)),
    reconstruction,
    codebook,
  };
}

/** Encodes and decodes images for training: the images again, the codebook's losses, and its use. */
export function codeImages(model: VqConfig, params: VqParameters, images: Tensor): CodedImages {
  const encoding = encodeImages(model, params, images);
  return {
    images: decodeLatents(params, straightThrough(encoding)),
    ...codebookLosses(encoding),
    use: codeUse(encoding),
  };
}
