/** What a run asks of a tokenizer: one table of the kinds that it may train or be given. */
import type { Tensor } from "../../lib/tensor.ts";
import { rearrange } from "../../ops/rearrange.ts";
import { reshape } from "../../ops/reshape.ts";
import {
  type AutoencoderConfig,
  codeContinuous,
  decodeTokens,
  encodeTokens,
} from "../diffusion/autoencoder.ts";
import {
  decodeLlamagenCodes,
  encodeLlamagenImages,
  reconstructLlamagenImages,
} from "../llamagen/vq.ts";
import { type LlamagenVqConfig, pixelsPerCode } from "../llamagen/vq_config.ts";
import type { ParametersOf } from "../model.ts";
import type { Grid } from "../sar/order.ts";
import type { TrainableTokenizer } from "../training/tokenizer_loss.ts";
import type { MultiscaleVqConfig } from "../var/config.ts";
import {
  codeScales,
  decodeScales,
  encodeScales,
  joinScales,
  splitScales,
} from "../var/tokenizer.ts";
import type { VqConfig } from "../vq/config.ts";
import { codeImages, decodeCodes, encodeImages } from "../vq/vq.ts";

/** A tokenizer that a run may have. */
export type Tokenizer = VqConfig | MultiscaleVqConfig | AutoencoderConfig | LlamagenVqConfig;

/** The size of a run's images. */
export interface ImageSize {
  readonly height: number;
  readonly width: number;
  /** Values of a pixel: 1 for gray, 3 for RGB. */
  readonly channels: number;
}

/** What a token is: a code of a vocabulary, or a vector of numbers. */
export type TokenValues =
  | { readonly kind: "codes"; readonly vocabulary: number }
  | { readonly kind: "vectors"; readonly channels: number };

/** The tokens of an image: N of them, on one grid, or on those of all scales, coarse to fine. */
export interface TokenLayout {
  readonly grid: Grid;
  /** Rows and columns of each scale's grid, the last being `grid`; none if there is but one grid. */
  readonly scales: readonly number[];
  readonly values: TokenValues;
}

/** What a kind of tokenizer has to provide. A new one: a line in `models/model.ts`, its schema's in the run's, this. */
export interface TokenizerKind<M extends Tokenizer> {
  /** Fields of the configuration that follow from the images. */
  fit(image: ImageSize): Record<string, unknown>;
  /** Rows, and columns, of pixels that a token of the finest grid stands for. */
  pixelsPerToken(model: M): number;
  /** The grids of several scales; empty if there is but one. */
  scales(model: M): readonly number[];
  values(model: M): TokenValues;
  /** Images [B, C, H, W] in -1..1 to tokens: codes i32 [B, N] or vectors f32 [B, N, channels]. */
  encode(model: M, params: ParametersOf<M>, images: Tensor): Tensor;
  /** Such tokens, of several scales all or those of the first, to images, about -1..1, not clamped. */
  decode(model: M, params: ParametersOf<M>, tokens: Tensor, grid: Grid): Tensor;
  /** What its training sees of it. */
  trainable(model: M): TrainableTokenizer<ParametersOf<M>>;
}

const imageFields = ({ height, width, channels }: ImageSize) => ({
  imageHeight: height,
  imageWidth: width,
  imageChannels: channels,
});

const halvings = ({ encoderChannels }: Pick<VqConfig, "encoderChannels">) =>
  2 ** encoderChannels.length;

const codesOf = ({ codes }: { codes: number }): TokenValues => ({
  kind: "codes",
  vocabulary: codes,
});

const asRows = (codes: Tensor) => rearrange(codes, "b h w -> b (h w)");
const asGrid = (tokens: Tensor, { height, width }: Grid) =>
  reshape(tokens, [tokens.shape[0]!, height, width]);

/** The first scales that some number of tokens fills. */
export function wholeScales(scales: readonly number[], tokens: number): number[] {
  return scales.filter((_, i) =>
    scales.slice(0, i + 1).reduce((sum, side) => sum + side * side, 0) <= tokens
  );
}

const kinds: { readonly [M in Tokenizer as M["kind"]]: TokenizerKind<M> } = {
  vq: {
    fit: imageFields,
    pixelsPerToken: halvings,
    scales: () => [],
    values: codesOf,
    encode: (model, params, images) => asRows(encodeImages(model, params, images).codes),
    decode: (model, params, tokens, grid) => decodeCodes(model, params, asGrid(tokens, grid)),
    trainable: (model) => ({
      imageChannels: model.imageChannels,
      codebook: model,
      code: (params, images) => codeImages(model, params, images),
    }),
  },
  "multiscale-vq": {
    fit: imageFields,
    pixelsPerToken: halvings,
    scales: ({ scales }) => scales,
    values: codesOf,
    encode: (model, params, images) => joinScales(encodeScales(model, params, images).codes),
    decode(model, params, tokens) {
      const scales = wholeScales(model.scales, tokens.shape[1]!);
      return decodeScales(model, params, splitScales(scales, tokens));
    },
    trainable: (model) => ({
      imageChannels: model.imageChannels,
      codebook: { ...model, normalizeCodes: false },
      code: (params, images) => codeScales(model, params, images),
    }),
  },
  autoencoder: {
    fit: imageFields,
    pixelsPerToken: halvings,
    scales: () => [],
    values: ({ channels }) => ({ kind: "vectors", channels }),
    encode: encodeTokens,
    decode: decodeTokens,
    trainable: (model) => ({
      imageChannels: model.imageChannels,
      code: (params, images, key) => ({ images: codeContinuous(model, params, images, key) }),
    }),
  },
  "llamagen-vq": {
    fit: () => ({}),
    pixelsPerToken: pixelsPerCode,
    scales: () => [],
    values: codesOf,
    encode: (model, params, images) => asRows(encodeLlamagenImages(model, params, images).codes),
    decode: (model, params, tokens, grid) =>
      decodeLlamagenCodes(model, params, asGrid(tokens, grid)),
    trainable: (model) => ({
      imageChannels: 3,
      codebook: { ...model, commitment: 0.25 }, // as LlamaGen trains it
      code: (params, images) => reconstructLlamagenImages(model, params, images),
    }),
  },
};

/**
 * What a run can do with a tokenizer.
 *
 * @param model The tokenizer, of which the kind counts.
 * @returns The functions of its kind.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { multiscaleVq } from "../var/config.ts";
 * import { tokenizerKind } from "./tokenizer.ts";
 *
 * const model = multiscaleVq({ scales: [1, 7] });
 * assertEquals(tokenizerKind(model).scales(model), [1, 7]);
 * ```
 */
export function tokenizerKind<M extends Pick<Tokenizer, "kind">>(
  model: M,
): TokenizerKind<Extract<Tokenizer, { kind: M["kind"] }>> {
  return kinds[model.kind] as unknown as TokenizerKind<Extract<Tokenizer, { kind: M["kind"] }>>;
}

/**
 * The tokens of an image.
 *
 * @param model The tokenizer.
 * @param image The size of the images.
 * @returns Grid, scales and what a token is.
 * @throws {RangeError} If no whole tokens cover the image.
 */
export function tokenLayout(model: Tokenizer, { height, width }: ImageSize): TokenLayout {
  const kind = tokenizerKind(model);
  const side = kind.pixelsPerToken(model);
  if (height % side !== 0 || width % side !== 0) {
    throw new RangeError(
      `expected images of a multiple of ${side} pixels for ${model.kind} but found ${height}×${width}`,
    );
  }
  return {
    grid: { height: height / side, width: width / side },
    scales: kind.scales(model),
    values: kind.values(model),
  };
}
