/**
 * One step of sampling, as a compiled program: with caches of keys and values, over the rows of one set, or
 * without, over the whole sequence.
 */
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { jit } from "../../lib/transforms/jit.ts";
import { add, div, sub } from "../../ops/arithmetic.ts";
import { broadcastTo } from "../../ops/broadcast.ts";
import { equal, less } from "../../ops/compare.ts";
import { concat } from "../../ops/concat.ts";
import { iota, zeros } from "../../ops/create.ts";
import { dynamicSlice, take } from "../../ops/gather.ts";
import { reshape } from "../../ops/reshape.ts";
import { updateSlice } from "../../ops/scatter/scatter.ts";
import { slice } from "../../ops/slice.ts";
import { where } from "../../ops/where.ts";
import type { KeysValues } from "../layers/attention.ts";
import { type FmtConfig, tokenCount } from "./config.ts";
import { type DrawSettings, drawTokens, guide } from "./draw.ts";
import { addLevels, embedLabels, embedQueries, embedTokens, rotationOf } from "./embed.ts";
import { fmtStates } from "./fmt.ts";
import { type CachePart, decode, encode, type FmtParameters, outputLogits } from "./network.ts";

/** Constants of a program: other values compile another one. */
export interface StepSettings extends DrawSettings {
  /** Rows of the window. */
  readonly window: number;
  /** Whether the batch is doubled: conditional and unconditional. */
  readonly guided: boolean;
  /** Whether the step also returns logits. */
  readonly keepLogits: boolean;
}

/** What a step reads. B images, R = B or, with guidance, 2B rows of the batch; C slots. */
export interface StepInputs {
  /** Class ids i32 [R]. */
  readonly labels: Tensor;
  /** Grid index of each slot i32 [1 or R, C]; N for the condition. */
  readonly positions: Tensor;
  /** A number in 0..1 for each slot's draw f32 [B, C]. */
  readonly uniforms: Tensor;
  /** First slot that the encoder takes in, i32 scalar. */
  readonly encodeStart: Tensor;
  /** First slot that the decoder predicts, i32 scalar. */
  readonly decodeStart: Tensor;
  /** First slot after the set, i32 scalar. */
  readonly setEnd: Tensor;
  /** First slot that is not given, i32 scalar. */
  readonly givenEnd: Tensor;
  /** Guidance scale of this step, f32 scalar. */
  readonly guidance: Tensor;
  /** What the logits of this step are divided by, f32 scalar. */
  readonly temperature: Tensor;
}

/** Masks of a step without caches, as `FmtInputs` has them. */
export interface StepMasks {
  readonly encoderVisible: Tensor;
  readonly decoderVisible: Tensor;
  readonly crossVisible: Tensor;
}

/** Keys and values of every layer [R, H, C, D] that have been computed so far. */
export type Caches = Record<CachePart, KeysValues[]>;

/** Logits of a step: `raw` [R, window, V] and, after guidance, `guided` [B, window, V]. */
export interface StepLogits {
  readonly raw: Tensor;
  readonly guided: Tensor;
}

/** Empty caches. */
export function emptyCaches(model: FmtConfig, rows: number, slots: number): Caches {
  const shape = [rows, model.heads, slots, model.dim / model.heads];
  const layers = (count: number) =>
    Array.from({ length: count }, () => ({ k: zeros(shape), v: zeros(shape) }));
  return {
    encoder: layers(model.encoderLayers),
    decoder: layers(model.decoderLayers),
    cross: layers(model.decoderLayers),
  };
}

/**
 * A step with caches: runs the encoder on the set before (or the condition) and the decoder on the queries of this set,
 * draws their tokens and writes them into the sequence. Encoder keys and values, decoder keys and values and those of
 * cross-attention are all append-only, so the logits are those of the whole sequence at once.
 *
 * @param state Tokens by slot i32 [B, C] and caches; both are donated and updated in place.
 * @returns The new state and, if asked for, the logits.
 */
export const cachedStep = jit(
  function cachedStep(
    state: { sequence: Tensor; caches: Caches },
    model: FmtConfig,
    params: FmtParameters,
    inputs: StepInputs,
    settings: StepSettings,
  ): { state: { sequence: Tensor; caches: Caches }; logits?: StepLogits } {
    const { labels, positions, encodeStart, decodeStart, setEnd } = inputs;
    const { window } = settings;
    const rows = labels.shape[0]!;
    const known = broadcastTo(decodeStart, [1, window]); // condition and tokens before this set
    const place = sub(decodeStart, 1);

    const caches: Caches = { encoder: [], decoder: [], cross: [] };
    const remember = (part: CachePart, layer: number, fresh: KeysValues): KeysValues => {
      const start = part === "decoder" ? place : encodeStart;
      const { k, v } = state.caches[part][layer]!;
      return caches[part][layer] = {
        k: updateSlice(k, fresh.k, start, { axis: 2 }),
        v: updateSlice(v, fresh.v, start, { axis: 2 }),
      };
    };

    const tokens = dynamicSlice(state.sequence, encodeStart, window, { axis: 1 });
    const isCondition = reshape(equal(add(iota([window]), encodeStart), 0), [1, window, 1]);
    const encodedPositions = dynamicSlice(positions, encodeStart, window, { axis: 1 });
    const x = where(
      isCondition,
      embedLabels(params, labels),
      addLevels(model, params, embedTokens(params, forBatch(tokens, rows)), encodedPositions),
    );
    const memoryRotation = rotationOf(model, encodedPositions);
    const { memory } = encode(model, params, x, {
      rotation: memoryRotation,
      visible: known,
      remember,
    });
    const queryPositions = dynamicSlice(positions, decodeStart, window, { axis: 1 });
    const { hidden } = decode(
      model,
      params,
      embedQueries(model, params, queryPositions, rows),
      memory,
      {
        rotation: rotationOf(model, queryPositions),
        memoryRotation,
        visible: broadcastTo(sub(setEnd, 1), [1, window]),
        crossVisible: known,
        remember,
      },
    );
    const { sequence, logits } = drawSet(params, hidden, state.sequence, inputs, settings);
    return { state: { sequence, caches }, logits };
  },
  { donate: [0] },
);

/**
 * A step without caches: runs the whole network over the whole sequence. Slower, for masks under which known rows
 * change from step to step, and to check the caches.
 *
 * @param sequence Tokens by slot i32 [B, C], donated and updated in place; those still unknown are not seen.
 * @returns The new sequence and, if asked for, the logits.
 */
export const fullStep = jit(
  function fullStep(
    sequence: Tensor,
    model: FmtConfig,
    params: FmtParameters,
    inputs: StepInputs,
    masks: StepMasks,
    settings: StepSettings,
  ): { sequence: Tensor; logits?: StepLogits } {
    const { labels, positions, decodeStart } = inputs;
    const count = tokenCount(model);
    const { hidden } = fmtStates(model, params, {
      labels,
      tokens: forBatch(slice(sequence, [null, [1, count]]), labels.shape[0]!),
      positions: slice(positions, [null, [1, count + 1]]),
      ...masks,
    });
    const places = add(iota([settings.window]), sub(decodeStart, 1));
    return drawSet(params, take(hidden, places, { axis: 1 }), sequence, inputs, settings);
  },
  { donate: [0] },
);

/** Draws the tokens of a window and writes them into the sequence, but for those that are given. */
function drawSet(
  params: FmtParameters,
  hidden: Tensor,
  sequence: Tensor,
  { uniforms, decodeStart, givenEnd, guidance, temperature }: StepInputs,
  settings: StepSettings,
): { sequence: Tensor; logits?: StepLogits } {
  const { window } = settings;
  const raw = outputLogits(params, hidden);
  const guided = settings.guided ? guide(raw, guidance) : raw;
  const at = (x: Tensor) => dynamicSlice(x, decodeStart, window, { axis: 1 });
  const isGiven = less(add(iota([1, window], { axis: 1 }), decodeStart), givenEnd);
  const drawn = drawTokens(div(guided, temperature), at(uniforms), settings);
  const tokens = where(isGiven, at(sequence), drawn);
  return {
    sequence: updateSlice(sequence, tokens, decodeStart, { axis: 1 }),
    logits: settings.keepLogits ? { raw, guided } : undefined,
  };
}

/** Tokens [B, n] for both halves of a guided batch, or as they are. */
export function forBatch(tokens: Tensor, rows: number): Tensor {
  return tokens.shape[0] === rows ? tokens : concat([tokens, tokens]);
}

/** A scalar that programs take as an argument. */
export function scalar(value: number, dtype: "i32" | "f32"): Tensor {
  return tensor(value, { dtype });
}
