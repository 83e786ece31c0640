/**
 * The convolutional encoder and decoder that small tokenizers share: images to latents and back. They compute in the type
 * of their parameters; what they take and give is f32.
 */
import { showShape } from "../../lib/shape.ts";
import type { Tensor } from "../../lib/tensor.ts";
import { silu } from "../../ops/activations.ts";
import { cast } from "../../ops/cast.ts";
import { upsampleNearest } from "../../ops/upsample.ts";
import { applyConv2d, type Conv2d, conv2dParameters } from "../layers/conv2d.ts";
import type { Parameter } from "../layers/parameter.ts";
import type { VqConfig } from "./config.ts";

/** Parameters of encoder and decoder. */
export interface Convolutions<Leaf = Tensor> {
  readonly encoder: {
    /** Convolutions 4×4 with stride 2, one for each level. */
    readonly down: readonly Conv2d<Leaf>[];
    /** A convolution 3×3 on the token grid. */
    readonly out: Conv2d<Leaf>;
  };
  /** To the width of a latent, 1×1. */
  readonly quant_conv: Conv2d<Leaf>;
  readonly decoder: {
    /** From the width of a latent, 3×3, on the token grid. */
    readonly in: Conv2d<Leaf>;
    /** Convolutions 3×3, each after an enlargement. */
    readonly up: readonly Conv2d<Leaf>[];
    /** To pixels, 3×3. */
    readonly out: Conv2d<Leaf>;
  };
}

/** What they need of a configuration to take in images. */
export type ImageSize = Pick<VqConfig, "imageHeight" | "imageWidth" | "imageChannels">;

/** What decides their shapes. */
export type ConvolutionSettings =
  & ImageSize
  & Pick<VqConfig, "encoderChannels" | "decoderChannels">;

/**
 * Describes the parameters of encoder and decoder.
 *
 * @param settings Of images and levels.
 * @param latentChannels Width of a latent.
 * @returns A tree with the shapes and first values as leaves.
 */
export function convolutionParameters(
  { imageChannels, encoderChannels, decoderChannels }: ConvolutionSettings,
  latentChannels: number,
): Convolutions<Parameter> {
  const deepest = encoderChannels.at(-1)!;
  const [first, ...levels] = decoderChannels as [number, ...number[]];
  return {
    encoder: {
      down: encoderChannels.map((width, level) =>
        conv2dParameters(encoderChannels[level - 1] ?? imageChannels, width, 4)
      ),
      out: conv2dParameters(deepest, deepest, 3),
    },
    quant_conv: conv2dParameters(deepest, latentChannels, 1),
    decoder: {
      in: conv2dParameters(latentChannels, first, 3),
      up: levels.map((width, level) => conv2dParameters(decoderChannels[level]!, width, 3)),
      out: conv2dParameters(decoderChannels.at(-1)!, imageChannels, 3),
    },
  };
}

/**
 * Encodes images.
 *
 * @param settings Of the images.
 * @param params Parameters, of which the encoder's count.
 * @param images Images [B, C, H, W] in -1..1.
 * @returns Latents [B, channels, h, w].
 * @throws {TypeError} If the images have another shape.
 */
export function encodeLatents(
  { imageChannels, imageHeight, imageWidth }: ImageSize,
  params: Pick<Convolutions, "encoder" | "quant_conv">,
  images: Tensor,
): Tensor {
  const wanted = [imageChannels, imageHeight, imageWidth];
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
    cast(images, out.weight.dtype),
  );
  return cast(applyConv2d(params.quant_conv, silu(applyConv2d(out, halved))), "f32");
}

/**
 * Decodes latents.
 *
 * @param params Parameters, of which the decoder's count.
 * @param latents Latents [B, channels, h, w].
 * @returns Images [B, C, H, W], about -1..1, not clamped.
 */
export function decodeLatents({ decoder }: Pick<Convolutions, "decoder">, latents: Tensor): Tensor {
  const largest = decoder.up.reduce(
    (x, level) => silu(applyConv2d(level, upsampleNearest(x))),
    silu(applyConv2d(decoder.in, cast(latents, decoder.in.weight.dtype))),
  );
  return cast(applyConv2d(decoder.out, largest), "f32");
}
