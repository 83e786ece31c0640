/**
 * LlamaGen's class-conditional GPT: raster-order autoregression with a decoder alone. Parameters have the names
 * of its checkpoints.
 *
 * Source: Sun et al., "Autoregressive model beats diffusion: Llama for scalable image generation" (2024),
 * section 2.2, arXiv 2406.06525.
 */
import { showShape } from "../../lib/shape.ts";
import type { Tensor } from "../../lib/tensor.ts";
import { concat } from "../../ops/concat.ts";
import { arange, zeros } from "../../ops/create.ts";
import { dropout } from "../../ops/dropout.ts";
import { embedding } from "../../ops/gather.ts";
import { linearCrossEntropy } from "../../ops/linear_cross_entropy/linear_cross_entropy.ts";
import { foldIn } from "../../ops/random.ts";
import { mean } from "../../ops/reduce.ts";
import { expandDims } from "../../ops/reshape.ts";
import { rotaryTable } from "../../ops/rotary.ts";
import { slice } from "../../ops/slice.ts";
import { ffnWidth } from "../fmt/config.ts";
import { encode, type EncoderLayer, type PassOptions } from "../fmt/network.ts";
import { type Rotation, selfAttentionParameters } from "../layers/attention.ts";
import { type Linear, linear, linearParameters } from "../layers/linear.ts";
import type { Parameter } from "../layers/parameter.ts";
import { type RmsNorm, rmsNormParameters } from "../layers/rms_norm.ts";
import { swiGluParameters } from "../layers/swiglu.ts";
import type { GptConfig } from "./gpt_config.ts";

/** Parameters of the GPT; their paths are the names in its checkpoints. */
export interface GptParameters<Leaf = Tensor> {
  readonly tok_embeddings: Linear<Leaf>;
  readonly cls_embedding: { readonly embedding_table: Linear<Leaf> };
  readonly layers: readonly EncoderLayer<Leaf>[];
  readonly norm: RmsNorm<Leaf>;
  readonly output: Linear<Leaf>;
}

/** Classes and tokens of B images of N tokens. */
export interface GptInputs {
  /** Class ids i32 [B]; C is the null class. */
  readonly labels: Tensor;
  /** Tokens in raster order i32 [B, N]. */
  readonly tokens: Tensor;
}

/** How the model is run. */
export interface GptOptions {
  /** A random key, which turns dropout on. */
  readonly key?: Tensor;
  /** Whether layers are computed again in the backward pass instead of being kept (default false). */
  readonly checkpoint?: boolean;
}

/**
 * Describes the parameters of a GPT.
 *
 * @param model The configuration.
 * @returns A tree with the shapes and first values as leaves.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { countParameters } from "../layers/parameter.ts";
 * import { gptParameters } from "./gpt.ts";
 * import { gptPreset } from "./gpt_config.ts";
 *
 * assertEquals(countParameters(gptParameters(gptPreset("GPT-B"))), 110_888_448);
 * ```
 */
export function gptParameters(model: GptConfig): GptParameters<Parameter> {
  const { dim, initScale } = model;
  return {
    tok_embeddings: linearParameters(dim, model.vocabulary, initScale),
    cls_embedding: { embedding_table: linearParameters(dim, model.classes + 1, initScale) },
    layers: Array.from({ length: model.layers }, () => ({
      attention_norm: rmsNormParameters(dim),
      attention: selfAttentionParameters(dim, initScale),
      ffn_norm: rmsNormParameters(dim),
      feed_forward: swiGluParameters(dim, ffnWidth(model), initScale),
    })),
    norm: rmsNormParameters(dim),
    output: linearParameters(dim, model.vocabulary, 0),
  };
}

/** Cosines and sines [1, 1 + N, D/2] of the class and all tokens; those of the class are 0, so its q and k are 0. */
export function gptRotation({ grid, dim, heads, ropeBase }: GptConfig): Rotation {
  const table = rotaryTable(grid.height, grid.width, dim / heads, ropeBase);
  const withClass = (x: Tensor) => expandDims(concat([zeros([1, x.shape[1]!]), x]), 0);
  return { cos: withClass(table.cos), sin: withClass(table.sin) };
}

/** Class ids i32 [B] to rows [B, 1, d]. */
export function embedClass({ cls_embedding }: GptParameters, labels: Tensor): Tensor {
  return expandDims(embedding(cls_embedding.embedding_table.weight, labels), 1);
}

/**
 * Runs the layers over some rows.
 *
 * @param model The configuration.
 * @param params Its parameters.
 * @param x Embedded class and tokens [B, n, d].
 * @param options `rotation` of the rows; `visible` i32 [1 or B, n], the keys each row sees; a cache, dropout.
 * @returns Hidden states [B, n, d], normalized, ready for the output head.
 */
export function runGpt(
  model: GptConfig,
  params: GptParameters,
  x: Tensor,
  options: PassOptions & { rotation: Rotation; visible: Tensor },
): Tensor {
  return encode(model, { encoder: params.layers, encoder_norm: params.norm }, x, options).memory;
}

function hiddenStates(
  model: GptConfig,
  params: GptParameters,
  { labels, tokens }: GptInputs,
  { key, checkpoint }: GptOptions,
): Tensor {
  const count = model.grid.height * model.grid.width;
  const batch = labels.shape[0];
  if (tokens.rank !== 2 || tokens.shape[0] !== batch || tokens.shape[1] !== count) {
    throw new TypeError(
      `gpt: expected tokens to have shape [${batch}, ${count}] but found ${
        showShape(tokens.shape)
      }`,
    );
  }
  let uses = 0;
  const drop = (x: Tensor, rate: number) =>
    key && rate > 0 ? dropout(x, rate, foldIn(key, uses++)) : x;
  const before = embedding(params.tok_embeddings.weight, slice(tokens, [null, [0, -1]]));
  const rows = concat([embedClass(params, labels), before], { axis: 1 });
  const { cos, sin } = gptRotation(model);
  const firstRows = (x: Tensor) => slice(x, [null, [0, count]]);
  return runGpt(model, params, drop(rows, model.embeddingDropout), {
    rotation: { cos: firstRows(cos), sin: firstRows(sin) },
    visible: expandDims(arange(1, count + 1), 0),
    drop,
    checkpoint,
  });
}

/**
 * Logits of every token, given the class and the tokens before it.
 *
 * @param model The configuration.
 * @param params Its parameters.
 * @param inputs Classes and tokens; the last token of each image has no influence.
 * @param options Dropout and checkpointing.
 * @returns Logits [B, N, V].
 * @throws {TypeError} If the tokens do not fit the labels or the grid.
 */
export function gptLogits(
  model: GptConfig,
  params: GptParameters,
  inputs: GptInputs,
  options: GptOptions = {},
): Tensor {
  return linear(params.output, hiddenStates(model, params, inputs, options));
}

/**
 * The cross entropy of every token, given those before it. The logits are never stored whole.
 *
 * @param model The configuration.
 * @param params Its parameters.
 * @param inputs Classes (some replaced by the null class) and tokens.
 * @param options Dropout and checkpointing.
 * @returns f32 [B, N].
 * @throws {TypeError} If the tokens do not fit the labels or the grid.
 */
export function gptPlaceLosses(
  model: GptConfig,
  params: GptParameters,
  inputs: GptInputs,
  options: GptOptions = {},
): Tensor {
  const hidden = hiddenStates(model, params, inputs, options);
  return linearCrossEntropy(hidden, params.output.weight, inputs.tokens);
}

/**
 * The training loss: mean cross entropy of all tokens. The logits are never stored whole.
 *
 * @param model The configuration.
 * @param params Its parameters.
 * @param inputs Classes (some replaced by the null class) and tokens.
 * @param options Dropout and checkpointing.
 * @returns A scalar.
 * @throws {TypeError} If the tokens do not fit the labels or the grid.
 *
 * @example
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { zeros } from "../../ops/create.ts";
 * import { key } from "../../ops/random.ts";
 * import { init } from "../model.ts";
 * import { gptLoss } from "./gpt.ts";
 * import { gpt } from "./gpt_config.ts";
 *
 * const model = gpt({ dim: 8, heads: 2, layers: 1, vocabulary: 5, grid: { height: 2, width: 2 } });
 * const inputs = { labels: zeros([1], { dtype: "i32" }), tokens: zeros([1, 4], { dtype: "i32" }) };
 * const loss = gptLoss(model, init(model, key(0)), inputs); // the head starts at zero
 * assertAlmostEquals(await loss.item(), Math.log(5), 1e-5);
 * ```
 */
export function gptLoss(
  model: GptConfig,
  params: GptParameters,
  inputs: GptInputs,
  options: GptOptions = {},
): Tensor {
  return mean(gptPlaceLosses(model, params, inputs, options));
}
