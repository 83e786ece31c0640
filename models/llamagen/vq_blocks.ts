/** The blocks of LlamaGen's image tokenizer: residual convolutions and attention over the image. */
import type { Tensor } from "../../lib/tensor.ts";
import { silu } from "../../ops/activations.ts";
import { add, mul } from "../../ops/arithmetic.ts";
import { matmul } from "../../ops/matmul/matmul.ts";
import { reshape } from "../../ops/reshape.ts";
import { softmax } from "../../ops/softmax.ts";
import { swapAxes } from "../../ops/transpose.ts";
import { applyConv2d, type Conv2d, conv2dParameters } from "../layers/conv2d.ts";
import { applyGroupNorm, type GroupNorm, groupNormParameters } from "../layers/group_norm.ts";
import type { Parameter } from "../layers/parameter.ts";
import type { LlamagenVqConfig } from "./vq_config.ts";

/** Parameters of a residual block; `nin_shortcut` where the channels change. */
export interface ResidualBlock<Leaf = Tensor> {
  readonly norm1: GroupNorm<Leaf>;
  readonly conv1: Conv2d<Leaf>;
  readonly norm2: GroupNorm<Leaf>;
  readonly conv2: Conv2d<Leaf>;
  readonly nin_shortcut?: Conv2d<Leaf>;
}

/** Parameters of an attention block: all convolutions are 1×1. */
export interface AttentionBlock<Leaf = Tensor> {
  readonly norm: GroupNorm<Leaf>;
  readonly q: Conv2d<Leaf>;
  readonly k: Conv2d<Leaf>;
  readonly v: Conv2d<Leaf>;
  readonly proj_out: Conv2d<Leaf>;
}

/** Parameters of the middle: a residual, an attention and a residual block. */
export type Middle<Leaf = Tensor> = readonly [
  ResidualBlock<Leaf>,
  AttentionBlock<Leaf>,
  ResidualBlock<Leaf>,
];

/** Parameters of the blocks of a level. */
export interface LevelBlocks<Leaf = Tensor> {
  readonly res: readonly ResidualBlock<Leaf>[];
  /** After each residual block, where the level attends. */
  readonly attn?: readonly AttentionBlock<Leaf>[];
}

/** Describes a residual block. */
export function residualBlock(inputs: number, outputs: number): ResidualBlock<Parameter> {
  return {
    norm1: groupNormParameters(inputs),
    conv1: conv2dParameters(inputs, outputs, 3),
    norm2: groupNormParameters(outputs),
    conv2: conv2dParameters(outputs, outputs, 3),
    ...(inputs === outputs ? {} : { nin_shortcut: conv2dParameters(inputs, outputs, 1) }),
  };
}

/** Describes an attention block. */
export function attentionBlock(channels: number): AttentionBlock<Parameter> {
  const projection = () => conv2dParameters(channels, channels, 1);
  return {
    norm: groupNormParameters(channels),
    q: projection(),
    k: projection(),
    v: projection(),
    proj_out: projection(),
  };
}

/** Describes the middle. */
export function middle(channels: number): Middle<Parameter> {
  return [
    residualBlock(channels, channels),
    attentionBlock(channels),
    residualBlock(channels, channels),
  ];
}

/** Describes the blocks of a level. */
export function levelBlocks(
  inputs: number,
  outputs: number,
  count: number,
  attends: boolean,
): LevelBlocks<Parameter> {
  return {
    res: Array.from(
      { length: count },
      (_, i) => residualBlock(i === 0 ? inputs : outputs, outputs),
    ),
    ...(attends ? { attn: Array.from({ length: count }, () => attentionBlock(outputs)) } : {}),
  };
}

/** Group normalization with the tokenizer's settings. */
export function normalize(model: LlamagenVqConfig, params: GroupNorm, x: Tensor): Tensor {
  return applyGroupNorm(params, x, { groups: model.groups, epsilon: model.normEpsilon });
}

/** Applies a residual block to images [B, C, H, W]. */
export function applyResidual(model: LlamagenVqConfig, params: ResidualBlock, x: Tensor): Tensor {
  const h = applyConv2d(params.conv1, silu(normalize(model, params.norm1, x)));
  const change = applyConv2d(params.conv2, silu(normalize(model, params.norm2, h)));
  return add(params.nin_shortcut ? applyConv2d(params.nin_shortcut, x) : x, change);
}

/** Applies an attention block: every pixel of an image [B, C, H, W] sees all, with one head of width C. */
export function applyAttention(model: LlamagenVqConfig, params: AttentionBlock, x: Tensor): Tensor {
  const [batch, channels, height, width] = x.shape as [number, number, number, number];
  const h = normalize(model, params.norm, x);
  const pixels = (y: Tensor) => reshape(y, [batch, channels, height * width]);
  const q = mul(pixels(applyConv2d(params.q, h)), channels ** -0.5);
  const k = pixels(applyConv2d(params.k, h));
  const v = pixels(applyConv2d(params.v, h));
  const weights = softmax(matmul(swapAxes(q, 1, 2), k));
  const seen = matmul(v, swapAxes(weights, 1, 2));
  return add(x, applyConv2d(params.proj_out, reshape(seen, x.shape)));
}

/** Applies the middle. */
export function applyMiddle(model: LlamagenVqConfig, params: Middle, x: Tensor): Tensor {
  const h = applyAttention(model, params[1], applyResidual(model, params[0], x));
  return applyResidual(model, params[2], h);
}

/** Applies the blocks of a level. */
export function applyLevel(
  model: LlamagenVqConfig,
  { res, attn }: LevelBlocks,
  x: Tensor,
): Tensor {
  return res.reduce((x, block, i) => {
    const h = applyResidual(model, block, x);
    return attn ? applyAttention(model, attn[i]!, h) : h;
  }, x);
}
