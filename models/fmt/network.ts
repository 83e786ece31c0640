/**
 * The network of the Fully Masked Transformer: its parameters, and encoder and decoder over any rows of the
 * sequence. Training runs them over all rows at once, sampling over those of one set with a cache.
 *
 * Source: "Customize Your Visual Autoregressive Recipe with Set Autoregressive Modeling", arXiv 2410.10511,
 * section 3.3; blocks as in LlamaGen's GPT.
 */
import type { Tensor } from "../../lib/tensor.ts";
import { checkpoint as recompute } from "../../lib/transforms/vjp.ts";
import { add } from "../../ops/arithmetic.ts";
import {
  type CrossAttention,
  crossAttention,
  crossAttentionParameters,
  crossKeysValues,
  type KeysValues,
  type Rotation,
  type SelfAttention,
  selfAttention,
  selfAttentionParameters,
} from "../layers/attention.ts";
import { type Linear, linear, linearParameters } from "../layers/linear.ts";
import { Parameter } from "../layers/parameter.ts";
import { applyRmsNorm, type RmsNorm, rmsNormParameters } from "../layers/rms_norm.ts";
import { type SwiGlu, swiGlu, swiGluParameters } from "../layers/swiglu.ts";
import { ffnWidth, type FmtBodyConfig, type FmtConfig, tokenCount } from "./config.ts";

/** Parameters of an encoder layer. */
export interface EncoderLayer<Leaf = Tensor> {
  readonly attention_norm: RmsNorm<Leaf>;
  readonly attention: SelfAttention<Leaf>;
  readonly ffn_norm: RmsNorm<Leaf>;
  readonly feed_forward: SwiGlu<Leaf>;
}

/** Parameters of a decoder layer. */
export interface DecoderLayer<Leaf = Tensor> extends EncoderLayer<Leaf> {
  readonly cross_norm: RmsNorm<Leaf>;
  readonly cross_attention: CrossAttention<Leaf>;
}

/** Parameters of the Fully Masked Transformer; their paths are the names in files of weights. */
export interface FmtParameters<Leaf = Tensor> {
  readonly tok_embeddings: Linear<Leaf>;
  readonly cls_embedding: { readonly embedding_table: Linear<Leaf> };
  readonly mask_embedding: Leaf;
  /** Where `queryPosition` is `learned`. */
  readonly pos_embedding?: Linear<Leaf>;
  /** Where there are several scales. */
  readonly level_embedding?: Linear<Leaf>;
  readonly encoder: readonly EncoderLayer<Leaf>[];
  readonly decoder: readonly DecoderLayer<Leaf>[];
  /** Where `encoderFinalNorm` is set. */
  readonly encoder_norm?: RmsNorm<Leaf>;
  readonly norm: RmsNorm<Leaf>;
  readonly output: Linear<Leaf>;
}

/** Parameters but for those that know what a token is: its embedding and the output head. */
export type FmtBody<Leaf = Tensor> = Omit<FmtParameters<Leaf>, "tok_embeddings" | "output">;

/** What the layers need of a configuration. */
export type LayerSettings = Pick<
  FmtConfig,
  "heads" | "normEpsilon" | "residualDropout" | "ffnDropout"
>;

/** Where keys and values are kept: of encoder and decoder self-attention and of cross-attention. */
export type CachePart = "encoder" | "decoder" | "cross";

/** What both halves of the network can be given. */
export interface PassOptions {
  /** Gets fresh keys and values of a layer and returns those to look at; by default the same. */
  readonly remember?: (part: CachePart, layer: number, fresh: KeysValues) => KeysValues;
  /** Drops features at a rate; by default none. */
  readonly drop?: (x: Tensor, rate: number) => Tensor;
  /** Whether each layer is computed again in the backward pass instead of being kept. */
  readonly checkpoint?: boolean;
}

/**
 * Describes the parameters of a model.
 *
 * @param model The configuration.
 * @returns A tree with the shapes and first values as leaves.
 */
export function fmtParameters(model: FmtConfig): FmtParameters<Parameter> {
  const { dim, vocabulary, initScale } = model;
  return {
    tok_embeddings: linearParameters(dim, vocabulary, initScale),
    ...fmtBodyParameters(model),
    output: linearParameters(dim, vocabulary, 0),
  };
}

/**
 * Describes the parameters that do not know what a token is.
 *
 * @param model The configuration.
 * @returns A tree with the shapes and first values as leaves.
 */
export function fmtBodyParameters(model: FmtBodyConfig): FmtBody<Parameter> {
  const { dim, initScale } = model;
  const encoderLayer = (): EncoderLayer<Parameter> => ({
    attention_norm: rmsNormParameters(dim),
    attention: selfAttentionParameters(dim, initScale),
    ffn_norm: rmsNormParameters(dim),
    feed_forward: swiGluParameters(dim, ffnWidth(model), initScale),
  });
  const decoderLayer = (): DecoderLayer<Parameter> => ({
    ...encoderLayer(),
    cross_norm: rmsNormParameters(dim),
    cross_attention: crossAttentionParameters(dim, initScale),
  });
  return {
    cls_embedding: { embedding_table: linearParameters(dim, model.classes + 1, initScale) },
    mask_embedding: new Parameter([dim], { normal: initScale }),
    ...(model.queryPosition === "learned"
      ? { pos_embedding: linearParameters(dim, tokenCount(model), initScale) }
      : {}),
    ...(model.scales.length > 0
      ? { level_embedding: linearParameters(dim, model.scales.length, initScale) }
      : {}),
    encoder: Array.from({ length: model.encoderLayers }, encoderLayer),
    decoder: Array.from({ length: model.decoderLayers }, decoderLayer),
    ...(model.encoderFinalNorm ? { encoder_norm: rmsNormParameters(dim) } : {}),
    norm: rmsNormParameters(dim),
  };
}

/**
 * Runs the encoder over some rows.
 *
 * @param model The configuration, of which the layers' settings count.
 * @param params Its parameters, of which the encoder's count.
 * @param x Embedded condition and tokens [B, M, d].
 * @param options `rotation` of the rows; `visible` i32 [1 or B, M], the keys each row sees.
 * @returns `memory` [B, M, d], and the residual stream after each layer.
 */
export function encode(
  model: LayerSettings,
  params: Pick<FmtParameters, "encoder" | "encoder_norm">,
  x: Tensor,
  options: PassOptions & { rotation: Rotation; visible: Tensor },
): { memory: Tensor; streams: Tensor[] } {
  const { rotation, visible } = options;
  const streams = runLayers(params.encoder, x, options, (layer, i, x) => {
    const h = attendSelf(model, layer, x, { rotation, visible }, options, "encoder", i);
    return feedForward(model, layer, h, options);
  });
  const last = streams.at(-1)!;
  const memory = params.encoder_norm
    ? applyRmsNorm(params.encoder_norm, last, model.normEpsilon)
    : last;
  return { memory, streams };
}

/**
 * Runs the decoder over some queries.
 *
 * @param model The configuration, of which the layers' settings count.
 * @param params Its parameters, of which the decoder's count.
 * @param x Queries [B, N, d]: positions without content.
 * @param memory Rows of the encoder's output [B, M, d].
 * @param options `rotation` and `visible` i32 [1 or B, N] of the queries; `memoryRotation` of the memory's
 * rows; `crossVisible` i32 [1 or B, N], the rows of the memory each query sees.
 * @returns `hidden` [B, N, d], normalized, ready for the output head, and the residual stream after each layer.
 */
export function decode(
  model: LayerSettings,
  params: Pick<FmtParameters, "decoder" | "norm">,
  x: Tensor,
  memory: Tensor,
  options: PassOptions & {
    rotation: Rotation;
    memoryRotation: Rotation;
    visible: Tensor;
    crossVisible: Tensor;
  },
): { hidden: Tensor; streams: Tensor[] } {
  const { rotation, memoryRotation, visible, crossVisible } = options;
  const { heads, normEpsilon } = model;
  const { drop = keep, remember } = options;
  const streams = runLayers(params.decoder, x, options, (layer, i, x) => {
    const h = attendSelf(model, layer, x, { rotation, visible }, options, "decoder", i);
    const fresh = crossKeysValues(layer.cross_attention, memory, {
      heads,
      rotation: memoryRotation,
    });
    const seen = crossAttention(
      layer.cross_attention,
      applyRmsNorm(layer.cross_norm, h, normEpsilon),
      remember ? remember("cross", i, fresh) : fresh,
      { heads, rotation, visible: crossVisible },
    );
    return feedForward(model, layer, add(h, drop(seen, model.residualDropout)), options);
  });
  return { hidden: applyRmsNorm(params.norm, streams.at(-1)!, normEpsilon), streams };
}

/** The output head: hidden states [..., d] to logits [..., V]. */
export function outputLogits(params: FmtParameters, hidden: Tensor): Tensor {
  return linear(params.output, hidden);
}

function keep(x: Tensor): Tensor {
  return x;
}

function runLayers<Layer>(
  layers: readonly Layer[],
  x: Tensor,
  { checkpoint }: PassOptions,
  run: (layer: Layer, index: number, x: Tensor) => Tensor,
): Tensor[] {
  return layers.map((layer, i) => {
    const body = (x: Tensor) => run(layer, i, x);
    return x = (checkpoint ? recompute(body) : body)(x);
  });
}

function attendSelf(
  { heads, normEpsilon, residualDropout }: LayerSettings,
  layer: EncoderLayer,
  x: Tensor,
  rows: { rotation: Rotation; visible: Tensor },
  { remember, drop = keep }: PassOptions,
  part: CachePart,
  index: number,
): Tensor {
  const attended = selfAttention(
    layer.attention,
    applyRmsNorm(layer.attention_norm, x, normEpsilon),
    { heads, ...rows, remember: remember && ((fresh) => remember(part, index, fresh)) },
  );
  return add(x, drop(attended, residualDropout));
}

function feedForward(
  { normEpsilon, ffnDropout }: LayerSettings,
  { ffn_norm, feed_forward }: EncoderLayer,
  x: Tensor,
  { drop = keep }: PassOptions,
): Tensor {
  return add(x, drop(swiGlu(feed_forward, applyRmsNorm(ffn_norm, x, normEpsilon)), ffnDropout));
}
