/** Multi-head self-attention and cross-attention with rotary positions and prefix masks. */
import type { Tensor } from "../../lib/tensor.ts";
import { attention } from "../../ops/attention/attention.ts";
import { expandDims, reshape, squeeze } from "../../ops/reshape.ts";
import { rotary2d } from "../../ops/rotary.ts";
import { split } from "../../ops/slice.ts";
import { transpose } from "../../ops/transpose.ts";
import { type Linear, linear, linearParameters } from "./linear.ts";
import type { Parameter } from "./parameter.ts";

/** Parameters of self-attention: `wqkv` (all q rows, all k rows, all v rows) and `wo`. */
export interface SelfAttention<Leaf = Tensor> {
  readonly wqkv: Linear<Leaf>;
  readonly wo: Linear<Leaf>;
}

/** Parameters of cross-attention: `wq`, `wkv` (all k rows, all v rows) and `wo`. */
export interface CrossAttention<Leaf = Tensor> {
  readonly wq: Linear<Leaf>;
  readonly wkv: Linear<Leaf>;
  readonly wo: Linear<Leaf>;
}

/** Keys and values [B, H, M, D] of M tokens. */
export interface KeysValues {
  readonly k: Tensor;
  readonly v: Tensor;
}

/** Cosines and sines of the rotary angles of N tokens [1 or B, N, D/2]. */
export interface Rotation {
  readonly cos: Tensor;
  readonly sin: Tensor;
}

/** Describes the parameters of self-attention. */
export function selfAttentionParameters(dim: number, deviation: number): SelfAttention<Parameter> {
  return {
    wqkv: linearParameters(dim, 3 * dim, deviation),
    wo: linearParameters(dim, dim, deviation),
  };
}

/** Describes the parameters of cross-attention. */
export function crossAttentionParameters(
  dim: number,
  deviation: number,
): CrossAttention<Parameter> {
  return {
    wq: linearParameters(dim, dim, deviation),
    wkv: linearParameters(dim, 2 * dim, deviation),
    wo: linearParameters(dim, dim, deviation),
  };
}

/**
 * Applies self-attention.
 *
 * @param params `wqkv` and `wo`.
 * @param x A tensor [B, N, dim].
 * @param options `heads`; `rotation` of the N tokens; `visible` i32 [1 or B, N], the number of keys each token
 * sees; `remember`, which gets the keys and values of the N tokens and returns those to look at (a cache
 * that has grown by them; by default the same).
 * @returns A tensor [B, N, dim].
 */
export function selfAttention(
  params: SelfAttention,
  x: Tensor,
  options: {
    heads: number;
    rotation: Rotation;
    visible: Tensor;
    remember?: (fresh: KeysValues) => KeysValues;
  },
): Tensor {
  const { heads, rotation, visible, remember = (fresh) => fresh } = options;
  const [q, k, v] = splitHeads(linear(params.wqkv, x), 3, heads) as [Tensor, Tensor, Tensor];
  const seen = remember({ k: rotate(k, rotation), v });
  return linear(params.wo, mergeHeads(attention(rotate(q, rotation), seen.k, seen.v, { visible })));
}

/** The keys and values of cross-attention for a memory [B, M, dim]. */
export function crossKeysValues(
  params: CrossAttention,
  memory: Tensor,
  options: { heads: number; rotation: Rotation },
): KeysValues {
  const [k, v] = splitHeads(linear(params.wkv, memory), 2, options.heads) as [Tensor, Tensor];
  return { k: rotate(k, options.rotation), v };
}

/**
 * Applies cross-attention to given keys and values.
 *
 * @param params `wq` and `wo`.
 * @param x A tensor [B, N, dim].
 * @param keysValues Of the memory, as `crossKeysValues` makes them.
 * @param options `heads`; `rotation` of the N queries; `visible` i32 [1 or B, N], the number of keys each sees.
 * @returns A tensor [B, N, dim].
 */
export function crossAttention(
  params: CrossAttention,
  x: Tensor,
  { k, v }: KeysValues,
  options: { heads: number; rotation: Rotation; visible: Tensor },
): Tensor {
  const [q] = splitHeads(linear(params.wq, x), 1, options.heads) as [Tensor];
  const { rotation, visible } = options;
  return linear(params.wo, mergeHeads(attention(rotate(q, rotation), k, v, { visible })));
}

function rotate(x: Tensor, { cos, sin }: Rotation): Tensor {
  return rotary2d(x, expandDims(cos, 1), expandDims(sin, 1)); // one table for all heads
}

/** [B, N, parts·H·D] → that many [B, H, N, D]. */
function splitHeads(x: Tensor, parts: number, heads: number): Tensor[] {
  const [batch, count, features] = x.shape as [number, number, number];
  const byHead = reshape(x, [batch, count, parts, heads, features / parts / heads]);
  const inFront = transpose(byHead, [2, 0, 3, 1, 4]);
  return split(inFront, parts, { axis: 0 }).map((part) => squeeze(part, 0));
}

/** [B, H, N, D] → [B, N, H·D]. */
function mergeHeads(x: Tensor): Tensor {
  const [batch, heads, count, perHead] = x.shape as [number, number, number, number];
  return reshape(transpose(x, [0, 2, 1, 3]), [batch, count, heads * perHead]);
}
