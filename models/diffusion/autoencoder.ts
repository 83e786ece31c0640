/**
 * A small autoencoder with continuous tokens: the tokenizer's convolutions without a codebook. Every token is scaled
 * to mean square 1, and in training some noise is added to it, so that neighbors decode alike and the diffusion head
 * meets tokens of one size; no divergence from a prior is needed.
 */
import { z } from "npm:zod@4.6.7";
import type { Tensor } from "../../lib/tensor.ts";
import { add, mul, sub } from "../../ops/arithmetic.ts";
import { normal } from "../../ops/distributions.ts";
import { rmsNorm } from "../../ops/normalize.ts";
import { square } from "../../ops/power.ts";
import { rearrange } from "../../ops/rearrange.ts";
import { mean } from "../../ops/reduce.ts";
import type { Parameter } from "../layers/parameter.ts";
import { checkLevels, tokenGrid, vqSchema } from "../vq/config.ts";
import {
  convolutionParameters,
  type Convolutions,
  decodeLatents,
  encodeLatents,
} from "../vq/convolutions.ts";

const { imageHeight, imageWidth, imageChannels, encoderChannels, decoderChannels } = vqSchema.shape;

/** Zod schema of {@link AutoencoderConfig}; every field has a default and a sentence of help. */
export const autoencoderSchema = z.strictObject({
  kind: z.literal("autoencoder").default("autoencoder")
    .describe("A small autoencoder with continuous tokens"),
  imageHeight,
  imageWidth,
  imageChannels,
  encoderChannels,
  decoderChannels,
  channels: z.int().min(2).default(8).describe("Numbers of a token C"),
  noise: z.number().nonnegative().default(0.1)
    .describe("Standard deviation of the noise that training adds to tokens"),
}).superRefine(checkLevels).describe("A small autoencoder with continuous tokens");

/** An autoencoder as data. */
export type AutoencoderConfig = z.output<typeof autoencoderSchema>;

/** What makes one: any of its fields. */
export type AutoencoderInput = z.input<typeof autoencoderSchema>;

/**
 * A checked autoencoder, its missing fields filled in.
 *
 * @param config Any of the fields of {@link AutoencoderConfig}.
 * @returns The model, to be passed to `init`, `apply`, `describe`, `encodeTokens` and `decodeTokens`.
 * @throws {RangeError} If a field is unknown or has no valid value.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { autoencoder } from "./autoencoder.ts";
 *
 * assertEquals(autoencoder({ channels: 4 }).imageHeight, 28);
 * ```
 */
export function autoencoder(config: AutoencoderInput = {}): AutoencoderConfig {
  const parsed = autoencoderSchema.safeParse(config);
  if (parsed.success) return parsed.data;
  const { path, message } = parsed.error.issues[0]!;
  throw new RangeError(`autoencoder: ${[...path.map(String), message].join(": ")}`);
}

/**
 * Describes the parameters of an autoencoder.
 *
 * @param model The configuration.
 * @returns A tree with the shapes and first values as leaves.
 */
export function autoencoderParameters(model: AutoencoderConfig): Convolutions<Parameter> {
  return convolutionParameters(model, model.channels);
}

/**
 * Encodes images.
 *
 * @param model The configuration.
 * @param params Its parameters.
 * @param images Images [B, C, H, W] in -1..1.
 * @returns Tokens [B, h·w, channels] of mean square 1, row by row.
 * @throws {TypeError} If the images have another shape.
 */
export function encodeTokens(
  model: AutoencoderConfig,
  params: Convolutions,
  images: Tensor,
): Tensor {
  return rmsNorm(rearrange(encodeLatents(model, params, images), "b c h w -> b (h w) c"));
}

/**
 * Decodes tokens, which are scaled to mean square 1 again, as samples are not quite.
 *
 * @param model The configuration.
 * @param params Its parameters.
 * @param tokens Tokens [B, h·w, channels].
 * @returns Images [B, C, H, W], about -1..1, not clamped.
 */
export function decodeTokens(
  model: AutoencoderConfig,
  params: Convolutions,
  tokens: Tensor,
): Tensor {
  const { height } = tokenGrid(model);
  return decodeLatents(
    params,
    rearrange(rmsNorm(tokens), "b (h w) c -> b c h w", { h: height }),
  );
}

/** Encodes and decodes images [B, C, H, W]. */
export function reconstructContinuous(
  model: AutoencoderConfig,
  params: Convolutions,
  images: Tensor,
): Tensor {
  return decodeTokens(model, params, encodeTokens(model, params, images));
}

/**
 * The training loss of an autoencoder: the mean squared error of the pixels, noise added to the tokens.
 *
 * @param model The configuration.
 * @param params Its parameters.
 * @param images Images [B, C, H, W] in -1..1.
 * @param key A random key.
 * @returns A scalar.
 * @throws {TypeError} If the images have another shape.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { ones } from "../../ops/create.ts";
 * import { key } from "../../ops/random.ts";
 * import { createParameters } from "../layers/parameter.ts";
 * import { autoencoder, autoencoderLoss, autoencoderParameters } from "./autoencoder.ts";
 *
 * const model = autoencoder({ imageHeight: 4, imageWidth: 4, encoderChannels: [4], decoderChannels: [4, 2] });
 * const params = createParameters(autoencoderParameters(model), key(0));
 * assert(await autoencoderLoss(model, params, ones([2, 1, 4, 4]), key(1)).item() > 0);
 * ```
 */
export function autoencoderLoss(
  model: AutoencoderConfig,
  params: Convolutions,
  images: Tensor,
  key: Tensor,
): Tensor {
  return mean(square(sub(codeContinuous(model, params, images, key), images)));
}

/** Encodes and decodes images [B, C, H, W] for training, noise added to the tokens. */
export function codeContinuous(
  model: AutoencoderConfig,
  params: Convolutions,
  images: Tensor,
  key: Tensor,
): Tensor {
  const tokens = encodeTokens(model, params, images);
  const noised = add(tokens, mul(normal(key, tokens.shape), model.noise));
  return decodeTokens(model, params, noised);
}
