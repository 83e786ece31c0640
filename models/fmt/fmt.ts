/**
 * The Fully Masked Transformer over whole sequences: logits and loss of a training step, whose shapes depend
 * on the recipe and the grid but never on the draw.
 */
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { concat } from "../../ops/concat.ts";
import { full } from "../../ops/create.ts";
import { dropout } from "../../ops/dropout.ts";
import { linearCrossEntropy } from "../../ops/linear_cross_entropy/linear_cross_entropy.ts";
import { foldIn } from "../../ops/random.ts";
import { slice } from "../../ops/slice.ts";
import type { TrainingBatch } from "../sar/batch.ts";
import { meanOfPlaces } from "../sar/losses.ts";
import { setIds } from "../sar/masks.ts";
import { type FmtBodyConfig, type FmtConfig, tokenCount } from "./config.ts";
import { addLevels, embedLabels, embedQueries, embedTokens, rotationOf } from "./embed.ts";
import { decode, encode, type FmtBody, type FmtParameters, outputLogits } from "./network.ts";

/** Inputs that do not depend on what a token is: B images, N tokens each, of which the encoder gets M. */
export interface SequenceInputs {
  /** Class ids i32 [B]; C is the null class. */
  readonly labels: Tensor;
  /** Grid index at each place of the sequence i32 [1 or B, N]. */
  readonly positions: Tensor;
  /** Columns that each row of encoder self-attention sees i32 [1 or B, 1 + M]. */
  readonly encoderVisible: Tensor;
  /** Columns that each query of decoder self-attention sees i32 [1 or B, N]. */
  readonly decoderVisible: Tensor;
  /** Encoder rows that each query sees in cross-attention i32 [1 or B, N]. */
  readonly crossVisible: Tensor;
}

/** Inputs of the model. */
export interface FmtInputs extends SequenceInputs {
  /** The first M tokens of each sequence i32 [B, M]; those of the last set, if any, are padding. */
  readonly tokens: Tensor;
}

/** Inputs of a training step. */
export interface FmtTrainingInputs extends FmtInputs {
  /** Tokens in sequence order i32 [B, N]: query i predicts target i. */
  readonly targets: Tensor;
  /** Weight of each place in the loss f32 [N]. */
  readonly lossWeight: Tensor;
}

/** Inputs of a training step that a recipe has drawn. */
export interface FmtDrawnInputs extends FmtTrainingInputs {
  /** The set of each place, from 0, i32 [N]. */
  readonly sets: Tensor;
}

/** How the model is run. */
export interface FmtOptions {
  /** A random key, which turns dropout on. */
  readonly key?: Tensor;
  /** Whether layers are computed again in the backward pass instead of being kept (default false). */
  readonly checkpoint?: boolean;
}

/** Everything that the network computes on its way to the logits. */
export interface FmtStates {
  /** Normalized decoder output [B, N, d], input of the output head. */
  readonly hidden: Tensor;
  /** Encoder output that cross-attention sees [B, 1 + M, d]. */
  readonly memory: Tensor;
  /** Residual stream after each encoder layer [B, 1 + M, d]. */
  readonly encoder: readonly Tensor[];
  /** Residual stream after each decoder layer [B, N, d]. */
  readonly decoder: readonly Tensor[];
}

/**
 * Runs the network up to the output head.
 *
 * @param model The configuration.
 * @param params Its parameters.
 * @param inputs Condition, tokens, positions and masks.
 * @param options Dropout and checkpointing.
 * @returns Hidden states and, for inspection, those of every layer; what is not used is not computed.
 * @throws {TypeError} If the inputs do not fit each other or the grid.
 */
export function fmtStates(
  model: FmtConfig,
  params: FmtParameters,
  inputs: FmtInputs,
  options: FmtOptions = {},
): FmtStates {
  const { labels, tokens } = inputs;
  const batch = labels.shape[0]!;
  checkShape("tokens", tokens, [batch, tokens.shape[1] ?? 0], batch);
  return bodyStates(model, params, embedTokens(params, tokens), inputs, options);
}

/**
 * Runs the network on embedded tokens.
 *
 * @param model The configuration.
 * @param params Its parameters.
 * @param embedded The first M tokens of each sequence [B, M, d].
 * @param inputs Condition, positions and masks.
 * @param options Dropout and checkpointing.
 * @returns Hidden states and, for inspection, those of every layer; what is not used is not computed.
 * @throws {TypeError} If the inputs do not fit each other or the grid.
 */
export function bodyStates(
  model: FmtBodyConfig,
  params: FmtBody,
  embedded: Tensor,
  inputs: SequenceInputs,
  options: FmtOptions = {},
): FmtStates {
  const known = embedded.shape[1]!;
  checkInputs(model, known, inputs);
  const { labels, positions, encoderVisible, decoderVisible, crossVisible } = inputs;
  const pass = { drop: dropper(options.key), checkpoint: options.checkpoint };

  const condition = full([positions.shape[0]!, 1], tokenCount(model), { dtype: "i32" });
  const knownPositions = slice(positions, [null, [0, known]]);
  const encoderPositions = known === 0
    ? condition
    : concat([condition, knownPositions], { axis: 1 });
  const conditionRow = embedLabels(params, labels);
  const rows = known === 0
    ? conditionRow
    : concat([conditionRow, addLevels(model, params, embedded, knownPositions)], { axis: 1 });
  const memoryRotation = rotationOf(model, encoderPositions);
  const encoded = encode(model, params, pass.drop(rows, model.embeddingDropout), {
    ...pass,
    rotation: memoryRotation,
    visible: encoderVisible,
  });
  const queries = embedQueries(model, params, positions, labels.shape[0]!);
  const decoded = decode(model, params, queries, encoded.memory, {
    ...pass,
    rotation: rotationOf(model, positions),
    memoryRotation,
    visible: decoderVisible,
    crossVisible,
  });
  return {
    hidden: decoded.hidden,
    memory: encoded.memory,
    encoder: encoded.streams,
    decoder: decoded.streams,
  };
}

/**
 * Logits of every place of the sequence, given the sets before its own.
 *
 * @param model The configuration.
 * @param params Its parameters.
 * @param inputs Condition, tokens, positions and masks.
 * @param options Dropout and checkpointing.
 * @returns Logits [B, N, V] in sequence order.
 * @throws {TypeError} If the inputs do not fit each other or the grid.
 */
export function fmtLogits(
  model: FmtConfig,
  params: FmtParameters,
  inputs: FmtInputs,
  options: FmtOptions = {},
): Tensor {
  return outputLogits(params, fmtStates(model, params, inputs, options).hidden);
}

/**
 * The cross entropy of every place. The logits are never stored whole.
 *
 * @param model The configuration.
 * @param params Its parameters.
 * @param inputs Of the training step, as `fmtInputs` makes them.
 * @param options Dropout and checkpointing.
 * @returns f32 [B, N] in sequence order.
 * @throws {TypeError} If the inputs do not fit each other or the grid.
 */
export function fmtPlaceLosses(
  model: FmtConfig,
  params: FmtParameters,
  inputs: FmtTrainingInputs,
  options: FmtOptions = {},
): Tensor {
  const { hidden } = fmtStates(model, params, inputs, options);
  return linearCrossEntropy(hidden, params.output.weight, inputs.targets);
}

/**
 * The training loss: mean cross entropy of the places that count.
 *
 * @param model The configuration.
 * @param params Its parameters.
 * @param inputs Of the training step, as `fmtInputs` makes them.
 * @param options Dropout and checkpointing.
 * @returns A scalar: sum(weight · ce) / sum(weight) over the batch.
 * @throws {TypeError} If the inputs do not fit each other or the grid.
 */
export function fmtLoss(
  model: FmtConfig,
  params: FmtParameters,
  inputs: FmtTrainingInputs,
  options: FmtOptions = {},
): Tensor {
  return meanOfPlaces(fmtPlaceLosses(model, params, inputs, options), inputs.lossWeight);
}

/**
 * The tensors of a training step.
 *
 * @param batch As `makeTrainingBatch` draws it.
 * @param labels Class ids [B], some replaced by the null class (`dropLabels`).
 * @returns Inputs whose shapes depend on recipe, grid and batch size only.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { makeTrainingBatch } from "../sar/batch.ts";
 * import { parseRecipe } from "../sar/recipe.ts";
 * import { fmtInputs } from "./fmt.ts";
 *
 * const grid = { height: 2, width: 2 };
 * const batch = makeTrainingBatch(parseRecipe("random-2-random"), grid, [5, 6, 7, 8], [0, 1]);
 * const inputs = fmtInputs(batch, [3]);
 * assertEquals([inputs.tokens.shape, inputs.encoderVisible.shape], [[1, 3], [1, 4]]);
 * ```
 */
export function fmtInputs(batch: TrainingBatch, labels: ArrayLike<number>): FmtDrawnInputs {
  const images = labels.length;
  const rows = (data: Int32Array, count: number) =>
    tensor(data, { shape: [count, data.length / count] });
  return {
    labels: tensor(Int32Array.from(labels)),
    tokens: rows(batch.encoderTokens, images),
    positions: rows(batch.order, images),
    targets: rows(batch.targets, images),
    encoderVisible: rows(batch.encoderVisible, 1),
    decoderVisible: rows(batch.decoderVisible, 1),
    crossVisible: rows(batch.crossVisible, 1),
    lossWeight: tensor(batch.lossWeight),
    sets: tensor(setIds(batch.intervals).map((set) => set - 1)),
  };
}

/** A dropout that uses another key each time; none without a key. */
function dropper(key: Tensor | undefined): (x: Tensor, rate: number) => Tensor {
  let uses = 0;
  return (x, rate) => key && rate > 0 ? dropout(x, rate, foldIn(key, uses++)) : x;
}

function checkInputs(model: FmtBodyConfig, known: number, inputs: SequenceInputs): void {
  const batch = inputs.labels.shape[0]!;
  const count = tokenCount(model);
  const wanted: Record<keyof SequenceInputs, Lengths> = {
    labels: [batch],
    positions: ["1 or B", count],
    encoderVisible: ["1 or B", 1 + known],
    decoderVisible: ["1 or B", count],
    crossVisible: ["1 or B", count],
  };
  for (const [name, shape] of Object.entries(wanted)) {
    checkShape(name, inputs[name as keyof SequenceInputs], shape, batch);
  }
}

/** Lengths of axes, some of which may be 1 or the number of images. */
type Lengths = readonly (number | "1 or B")[];

function checkShape(name: string, { shape: found }: Tensor, wanted: Lengths, batch: number): void {
  const fits = found.length === wanted.length &&
    wanted.every((length, i) =>
      length === found[i] || (length === "1 or B" && (found[i] === 1 || found[i] === batch))
    );
  if (fits) return;
  throw new TypeError(
    `fmt: expected ${name} to have shape [${wanted.join(", ")}] (B = ${batch}) but found [${
      found.join(", ")
    }]`,
  );
}
