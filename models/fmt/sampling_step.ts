/**
 * One step of sampling, as a compiled program: with caches of keys and values, over the rows of one set, or
 * without, over the whole sequence.
 */
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { jit } from "../../lib/transforms/jit.ts";
import { add, div, sub } from "../../ops/arithmetic.ts";
import { concat } from "../../ops/concat.ts";
import { iota } from "../../ops/create.ts";
import { dynamicSlice, take } from "../../ops/gather.ts";
import { updateSlice } from "../../ops/scatter/scatter.ts";
import { slice } from "../../ops/slice.ts";
import { where } from "../../ops/where.ts";
import { type Caches, runSet, type SetInputs } from "./cached_set.ts";
import { type FmtConfig, tokenCount } from "./config.ts";
import { type DrawSettings, drawTokens, guide } from "./draw.ts";
import { embedTokens } from "./embed.ts";
import { fmtStates } from "./fmt.ts";
import { type FmtParameters, outputLogits } from "./network.ts";

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
export interface StepInputs extends SetInputs {
  /** A number in 0..1 for each slot's draw f32 [B, C]. */
  readonly uniforms: Tensor;
  /** Whether the token of each slot is given instead of drawn, bool [1 or B, C]. */
  readonly isGiven: Tensor;
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

/** Logits of a step: `raw` [R, window, V] and, after guidance, `guided` [B, window, V]. */
export interface StepLogits {
  readonly raw: Tensor;
  readonly guided: Tensor;
}

/**
 * A step with caches: runs the network on the rows of one set, draws its tokens and writes them into the sequence.
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
    const tokens = dynamicSlice(state.sequence, inputs.encodeStart, settings.window, { axis: 1 });
    const embedded = embedTokens(params, forBatch(tokens, inputs.labels.shape[0]!));
    const { hidden, caches } = runSet(model, params, state.caches, embedded, inputs);
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
  { uniforms, decodeStart, isGiven, guidance, temperature }: StepInputs,
  settings: StepSettings,
): { sequence: Tensor; logits?: StepLogits } {
  const { window } = settings;
  const raw = outputLogits(params, hidden);
  const guided = settings.guided ? guide(raw, guidance) : raw;
  const at = (x: Tensor) => dynamicSlice(x, decodeStart, window, { axis: 1 });
  const drawn = drawTokens(div(guided, temperature), at(uniforms), settings);
  const tokens = where(at(isGiven), at(sequence), drawn);
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
