/**
 * A small convolutional image tokenizer: images to codes and back, and the loss that trains it.
 *
 * Source: van den Oord et al., "Neural discrete representation learning" (2017); codes of length 1 as in
 * LlamaGen (Sun et al. 2024, section 2.1).
 */
import { showShape } from "../../lib/shape.ts";
import type { Tensor } from "../../lib/tensor.ts";
import { stopGradient } from "../../lib/transforms/vjp.ts";
import { silu } from "../../ops/activations.ts";
import { add, mul, sub } from "../../ops/arithmetic.ts";
import { square } from "../../ops/power.ts";
import { mean } from "../../ops/reduce.ts";
import { upsampleNearest } from "../../ops/upsample.ts";
import {
  type Codebook,
  codebookParameters,
  codeVectors,
  quantize,
  type Quantized,
  straightThrough,
} from "../layers/codebook.ts";
import { applyConv2d, type Conv2d, conv2dParameters } from "../layers/conv2d.ts";
import type { Parameter } from "../layers/parameter.ts";
import type { VqConfig } from "./config.ts";

/** Parameters of the tokenizer; their paths are the names in files of weights. */
export interface VqParameters<Leaf = Tensor> {
  readonly encoder: {
    /** Convolutions 4×4 with stride 2, one for each level. */
    readonly down: readonly Conv2d<Leaf>[];
    /** A convolution 3×3 on the token grid. */
    readonly out: Conv2d<Leaf>;
  };
  /** To the width of the codebook, 1×1. */
  readonly quant_conv: Conv2d<Leaf>;
  readonly quantize: Codebook<Leaf>;
  readonly decoder: {
    /** From the width of the codebook, 3×3, on the token grid. */
    readonly in: Conv2d<Leaf>;
    /** Convolutions 3×3, each after an enlargement. */
    readonly up: readonly Conv2d<Leaf>[];
    /** To pixels, 3×3. */
    readonly out: Conv2d<Leaf>;
  };
}

/**
 * Describes the parameters of a tokenizer.
 *
 * @param model The configuration.
 * @returns A tree with the shapes and first values as leaves.
 */
export function vqParameters(model: VqConfig): VqParameters<Parameter> {
  const { imageChannels, encoderChannels, decoderChannels, codes, codeChannels } = model;
  const deepest = encoderChannels.at(-1)!;
  const [first, ...levels] = decoderChannels as [number, ...number[]];
  return {
    encoder: {
      down: encoderChannels.map((width, level) =>
        conv2dParameters(encoderChannels[level - 1] ?? imageChannels, width, 4)
      ),
      out: conv2dParameters(deepest, deepest, 3),
    },
    quant_conv: conv2dParameters(deepest, codeChannels, 1),
    quantize: codebookParameters(codes, codeChannels),
    decoder: {
      in: conv2dParameters(codeChannels, first, 3),
      up: levels.map((width, level) => conv2dParameters(decoderChannels[level]!, width, 3)),
      out: conv2dParameters(decoderChannels.at(-1)!, imageChannels, 3),
    },
  };
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
  const wanted = [model.imageChannels, model.imageHeight, model.imageWidth];
  if (images.rank !== 4 || String(images.shape.slice(1)) !== String(wanted)) {
    throw new TypeError(
      `encodeImages: expected images [B, ${wanted.join(", ")}] but found shape ${
        showShape(images.shape)
      }`,
    );
  }
  const { down, out } = params.encoder;
  const halved = down.reduce(
    (x, level) => silu(applyConv2d(level, x, { stride: 2, padding: 1 })),
    images,
  );
  const latent = applyConv2d(params.quant_conv, silu(applyConv2d(out, halved)));
  return quantize(model, params, latent);
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
  return decodeVectors(params, codeVectors(model, params, codes));
}

function decodeVectors({ decoder }: VqParameters, vectors: Tensor): Tensor {
  const largest = decoder.up.reduce(
    (x, level) => silu(applyConv2d(level, upsampleNearest(x))),
    silu(applyConv2d(decoder.in, vectors)),
  );
  return applyConv2d(decoder.out, largest);
}

/** Encodes and decodes images [B, C, H, W]; gradients pass the choice of codes straight through. */
export function reconstructImages(model: VqConfig, params: VqParameters, images: Tensor): Tensor {
  return decodeVectors(params, straightThrough(encodeImages(model, params, images)));
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
  const encoding = encodeImages(model, params, images);
  const { compared, quantized } = encoding;
  const decoded = decodeVectors(params, straightThrough(encoding));
  const distance = (a: Tensor, b: Tensor) => mean(square(sub(a, b)));
  const reconstruction = distance(decoded, images);
  const codebook = distance(quantized, stopGradient(compared));
  const commitment = distance(compared, stopGradient(quantized));
  return {
    loss: add(add(reconstruction, codebook), mul(commitment, model.commitment)),
    reconstruction,
    codebook,
  };
}
