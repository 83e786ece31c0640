/**
 * The Fully Masked Transformer on continuous tokens: a projection in place of the token embedding, and the diffusion
 * head in place of the categorical one.
 *
 * Source: the transformer of arXiv 2410.10511 with the head of Li et al., "Autoregressive image generation without
 * vector quantization" (2024).
 */
import { z } from "npm:zod@4.6.7";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import type { Key } from "../../lib/random/threefry.ts";
import { cast } from "../../ops/cast.ts";
import { checkFmt, fmtSchema, sequenceGrid } from "../fmt/config.ts";
import {
  bodyStates,
  fmtInputs,
  type FmtOptions,
  type FmtStates,
  type SequenceInputs,
} from "../fmt/fmt.ts";
import { type FmtBody, fmtBodyParameters } from "../fmt/network.ts";
import { type Affine, affine, affineParameters } from "../layers/affine.ts";
import type { Parameter } from "../layers/parameter.ts";
import { makeTrainingBatch } from "../sar/batch.ts";
import { meanOfPlaces } from "../sar/losses.ts";
import type { Recipe } from "../sar/recipe.ts";
import {
  type DiffusionHeadParameters,
  diffusionHeadParameters,
  diffusionHeadSchema,
  diffusionLoss,
} from "./head.ts";

const { kind: _, vocabulary: __, ...bodyFields } = fmtSchema.shape;

/** Zod schema of {@link ContinuousFmtConfig}; every field has a default and a sentence of help. */
export const continuousFmtSchema = z.strictObject({
  kind: z.literal("continuous-fmt").default("continuous-fmt")
    .describe("The Fully Masked Transformer on continuous tokens"),
  ...bodyFields,
  head: diffusionHeadSchema.prefault({}),
}).superRefine(checkFmt).describe("Fully Masked Transformer on continuous tokens");

/** A Fully Masked Transformer on continuous tokens as data. */
export type ContinuousFmtConfig = z.output<typeof continuousFmtSchema>;

/** What makes one: any of its fields. */
export type ContinuousFmtInput = z.input<typeof continuousFmtSchema>;

/** Parameters; their paths are the names in files of weights. */
export interface ContinuousFmtParameters<Leaf = Tensor> extends FmtBody<Leaf> {
  /** From C numbers to d features. */
  readonly token_projection: Affine<Leaf>;
  readonly head: DiffusionHeadParameters<Leaf>;
}

/** Inputs of the model. */
export interface ContinuousInputs extends SequenceInputs {
  /** The first M tokens of each sequence f32 [B, M, C]; those of the last set, if any, are padding. */
  readonly tokens: Tensor;
}

/** Inputs of a training step. */
export interface ContinuousTrainingInputs extends ContinuousInputs {
  /** Tokens in sequence order f32 [B, N, C]. */
  readonly targets: Tensor;
  /** Weight of each place in the loss f32 [N]. */
  readonly lossWeight: Tensor;
}

/** Inputs of a training step that a recipe has drawn. */
export interface ContinuousDrawnInputs extends ContinuousTrainingInputs {
  /** The set of each place, from 0, i32 [N]. */
  readonly sets: Tensor;
}

/**
 * A checked Fully Masked Transformer on continuous tokens, its missing fields filled in.
 *
 * @param config Any of the fields of {@link ContinuousFmtConfig}; `fmtPresets` fit.
 * @returns The model, to be passed to `init`, `apply`, `describe` and `sampleContinuous`.
 * @throws {RangeError} If a field is unknown or has no valid value.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { fmtPresets } from "../fmt/config.ts";
 * import { continuousFmt } from "./fmt.ts";
 *
 * const model = continuousFmt({ ...fmtPresets["FMT-B"], head: { channels: 16 } });
 * assertEquals([model.dim, model.head.layers], [768, 3]);
 * ```
 */
export function continuousFmt(config: ContinuousFmtInput = {}): ContinuousFmtConfig {
  const parsed = continuousFmtSchema.safeParse(config);
  if (parsed.success) return parsed.data;
  const { path, message } = parsed.error.issues[0]!;
  throw new RangeError(`continuousFmt: ${[...path.map(String), message].join(": ")}`);
}

/**
 * Describes the parameters of a model.
 *
 * @param model The configuration.
 * @returns A tree with the shapes and first values as leaves.
 */
export function continuousFmtParameters(
  model: ContinuousFmtConfig,
): ContinuousFmtParameters<Parameter> {
  const { dim, head, initScale } = model;
  return {
    token_projection: affineParameters(head.channels, dim, { normal: initScale }),
    ...fmtBodyParameters(model),
    head: diffusionHeadParameters(head, dim),
  };
}

/**
 * Runs the transformer.
 *
 * @param model The configuration.
 * @param params Its parameters.
 * @param inputs Condition, tokens, positions and masks.
 * @param options Dropout and checkpointing.
 * @returns Of which `hidden` [B, N, d] is what the head is given for each place.
 * @throws {TypeError} If the inputs do not fit each other or the grid.
 */
export function continuousStates(
  model: ContinuousFmtConfig,
  params: ContinuousFmtParameters,
  inputs: ContinuousInputs,
  options: FmtOptions = {},
): FmtStates {
  const { tokens } = inputs;
  if (tokens.rank !== 3 || tokens.shape[0] !== inputs.labels.shape[0]) {
    throw new TypeError(
      `continuousStates: expected tokens [${
        inputs.labels.shape[0]
      }, M, ${model.head.channels}] but found ${tokens}`,
    );
  }
  const { token_projection } = params;
  const projected = affine(token_projection, cast(tokens, token_projection.weight.dtype));
  return bodyStates(model, params, projected, inputs, options);
}

/**
 * The loss of the diffusion head at every place.
 *
 * @param model The configuration.
 * @param params Its parameters.
 * @param inputs Of the training step, as `continuousInputs` makes them.
 * @param key The random key of the noise.
 * @param options Dropout, with a key of its own, and checkpointing.
 * @returns f32 [B, N] in sequence order.
 * @throws {TypeError} If the inputs do not fit each other or the grid.
 */
export function continuousPlaceLosses(
  model: ContinuousFmtConfig,
  params: ContinuousFmtParameters,
  inputs: ContinuousTrainingInputs,
  key: Tensor,
  options: FmtOptions = {},
): Tensor {
  const { hidden } = continuousStates(model, params, inputs, options);
  return diffusionLoss(model.head, params.head, hidden, inputs.targets, key);
}

/**
 * The training loss: that of the diffusion head, mean over the places that count.
 *
 * @param model The configuration.
 * @param params Its parameters.
 * @param inputs Of the training step, as `continuousInputs` makes them.
 * @param key The random key of the noise.
 * @param options Dropout, with a key of its own, and checkpointing.
 * @returns A scalar: sum(weight · loss) / sum(weight) over the batch.
 * @throws {TypeError} If the inputs do not fit each other or the grid.
 */
export function continuousLoss(
  model: ContinuousFmtConfig,
  params: ContinuousFmtParameters,
  inputs: ContinuousTrainingInputs,
  key: Tensor,
  options: FmtOptions = {},
): Tensor {
  return meanOfPlaces(
    continuousPlaceLosses(model, params, inputs, key, options),
    inputs.lossWeight,
  );
}

/**
 * Draws order and sets of a recipe for a batch and arranges its tokens: the tensors of a training step.
 *
 * @param model The configuration.
 * @param recipe The recipe.
 * @param tokens Tokens of B images by grid index [B·N·C].
 * @param labels Class ids [B], some replaced by the null class (`dropLabels`).
 * @param key The random key of this step.
 * @param firstImage Number of the first image, of a part of a batch.
 * @returns Inputs whose shapes depend on recipe, grid and batch size only.
 * @throws {TypeError} If the tokens are not those of whole images, or the recipe does not fit.
 */
export function continuousInputs(
  model: ContinuousFmtConfig,
  recipe: Recipe,
  tokens: Float32Array,
  labels: ArrayLike<number>,
  key: Key,
  firstImage = 0,
): ContinuousDrawnInputs {
  const { channels } = model.head;
  const rows = Int32Array.from({ length: tokens.length / channels }, (_, i) => i);
  const batch = makeTrainingBatch(recipe, sequenceGrid(model), rows, key, 1, firstImage);
  const arrange = (chosen: Int32Array) => {
    const arranged = new Float32Array(chosen.length * channels);
    chosen.forEach((row, i) =>
      arranged.set(tokens.subarray(row * channels, (row + 1) * channels), i * channels)
    );
    return tensor(arranged, { shape: [labels.length, chosen.length / labels.length, channels] });
  };
  return {
    ...fmtInputs(batch, labels),
    tokens: arrange(batch.encoderTokens),
    targets: arrange(batch.targets),
  };
}
