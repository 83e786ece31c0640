/** One training step as a compiled program: gradient, clipping, AdamW, moving average, buffers, and a row of metrics. */
import { sizeOf } from "../../lib/shape.ts";
import type { Tensor } from "../../lib/tensor.ts";
import { jit, type Jitted } from "../../lib/transforms/jit.ts";
import { vjp } from "../../lib/transforms/vjp.ts";
import { treeEntries, treeMap } from "../../lib/tree.ts";
import { div, remainder } from "../../ops/arithmetic.ts";
import { cast } from "../../ops/cast.ts";
import { full } from "../../ops/create.ts";
import { logicalAnd, logicalNot } from "../../ops/logic.ts";
import { adamw, type AdamWOptions, type AdamWState } from "../../ops/optimizers/adamw.ts";
import { clipByGlobalNorm, globalNorm } from "../../ops/optimizers/clip.ts";
import { ema } from "../../ops/optimizers/ema.ts";
import {
  constantSchedule,
  cosineSchedule,
  linearSchedule,
  type Schedule,
  warmup,
} from "../../ops/optimizers/schedules.ts";
import { concat, stack } from "../../ops/concat.ts";
import { expandDims, reshape } from "../../ops/reshape.ts";
import { isFinite } from "../../ops/rounding.ts";
import { updateSlice } from "../../ops/scatter/scatter.ts";
import { where } from "../../ops/where.ts";
import type { Precision, TrainingSettings } from "../config/schema.ts";
import { checkPrecision, inHalf, type LossScale, lossScaling } from "./precision.ts";

/** All that a training carries from step to step. */
export interface TrainingState<P, Buffers = unknown> {
  readonly params: P;
  /** Its `step` counts the steps made. */
  readonly optimizer: AdamWState<P>;
  /** Moving average of the parameters, if there is one. */
  readonly average?: P;
  /** What the loss is multiplied by, where it is computed in f16. */
  readonly lossScale?: LossScale;
  /** What else goes on from step to step, if there is anything: f32 tensors that the optimizer does not move. */
  readonly buffers?: Buffers;
}

/** Settings of a training, of which the model's alone may offload. */
export type StepSettings = TrainingSettings & { readonly offload?: boolean };

/**
 * A scalar to be minimized as `loss`, others to be logged, and what {@link AfterUpdate} needs of the batch: tensors
 * whose first axis is along the batch. Where a step's batch is cut into parts, the mean of losses over them counts each
 * by its scalar `weight`, such as the number of places that a mask leaves, or all alike without.
 */
export type Losses = { readonly loss: Tensor } & Readonly<Record<string, Tensor>>;

/** Losses of parameters and a batch or a part of one, means over it, and of the buffers if there are any. */
export type LossFunction<P, Batch, Buffers = unknown> = (
  params: P,
  batch: Batch,
  buffers: Buffers,
) => Losses;

/**
 * What a step does after the optimizer, in the same program: moves buffers, and parameters that no gradient moves.
 *
 * @param params Parameters that the optimizer gave.
 * @param buffers Buffers of the step before.
 * @param found What the loss returned.
 * @param batch The batch.
 * @returns Both after the step, and scalars to be logged.
 */
export type AfterUpdate<P, Batch, Buffers = unknown> = (
  params: P,
  buffers: Buffers,
  found: Losses,
  batch: Batch,
) => { params: P; buffers: Buffers; metrics?: Readonly<Record<string, Tensor>> };

/** The compiled step; state and history are donated. */
export type TrainingStep<P, Batch, Buffers = unknown> = Jitted<
  [state: TrainingState<P, Buffers>, history: Tensor, batch: Batch],
  { state: TrainingState<P, Buffers>; history: Tensor }
>;

/** The learning rate by step, counted from 0, computed on the device. */
export function learningRate(settings: TrainingSettings): Schedule {
  const { schedule, learningRate, steps, finalRate } = settings;
  const main = {
    constant: () => constantSchedule(learningRate),
    cosine: () => cosineSchedule(learningRate, steps, finalRate),
    linear: () => linearSchedule(learningRate, steps, finalRate),
  }[schedule]();
  return warmup(settings.warmup, main);
}

/** What is logged of the losses: the name of a scalar, or that of a vector with its length. */
export type LoggedLoss = string | { readonly name: string; readonly length: number };

/** The name of a logged loss. */
export function nameOf(loss: LoggedLoss): string {
  return typeof loss === "string" ? loss : loss.name;
}

/** The shape of a logged loss. */
export function shapeOf(loss: LoggedLoss): number[] {
  return typeof loss === "string" ? [] : [loss.length];
}

/**
 * The columns of a history of metrics: the losses by name (of a vector `name.0`, `name.1`, …), learning rate, gradient
 * norm, 1 for a skipped step, and the scale of the loss where it is computed in f16.
 */
export function metricNames(losses: readonly LoggedLoss[], precision?: Precision): string[] {
  const columns = losses.flatMap((loss) =>
    typeof loss === "string"
      ? [loss]
      : Array.from({ length: loss.length }, (_, i) => `${loss.name}.${i}`)
  );
  const own = ["learningRate", "gradientNorm", "skipped"];
  return [...columns, ...own, ...(precision === "f16" ? ["lossScale"] : [])];
}

/**
 * Makes the compiled step of a training.
 *
 * The metrics of step t go to row t mod R of a history f32 [R, M] that stays on the device, so that the host reads
 * many steps at once and none waits for it.
 *
 * A step whose loss or gradient norm is not finite is skipped: parameters, means, average and buffers stay as they are. The
 * device decides that itself; such a step is counted like any other.
 *
 * @param loss Losses of parameters, a batch, and the buffers if there are any.
 * @param losses The losses that are logged, in the order of the history's columns.
 * @param settings Of AdamW, its learning rate, clipping and average.
 * @param afterUpdate What moves buffers, and parameters that no gradient moves.
 * @returns A function of state, history and batch.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { adamw, mean, openDevice, square, sub, type Tensor, tensor, zeros } from "../../mod.ts";
 * import { readConfig } from "../config/read.ts";
 * import { metricNames, trainingStep } from "./step.ts";
 *
 * await openDevice("reference");
 * type Params = { x: Tensor };
 * const step = trainingStep(
 *   ({ x }: Params, target: Tensor) => ({ loss: mean(square(sub(x, target))) }),
 *   ["loss"],
 *   readConfig("smoke").tokenizerTraining,
 * );
 * const params: Params = { x: tensor([1]) };
 * const first = { params, optimizer: adamw.init(params) };
 * const history = zeros([10, metricNames(["loss"]).length]);
 * const { state } = step(first, history, tensor([2]));
 * assert(await state.params.x.item() > 1);
 * ```
 */
export function trainingStep<P, Batch, Buffers = unknown>(
  loss: LossFunction<P, Batch, Buffers>,
  losses: readonly LoggedLoss[],
  settings: StepSettings,
  afterUpdate?: AfterUpdate<P, Batch, Buffers>,
): TrainingStep<P, Batch, Buffers> {
  checkPrecision({ training: settings });
  return jit(function trainingStep(state, history, batch) {
    const ofParameters = (params: P) => loss(params, batch, state.buffers as Buffers);
    const { found, gradients } = differentiate(ofParameters, state.params, state);
    return advance(settings, losses, state, history, {
      gradients: gradients(full([], 1)),
      found,
      after: afterUpdate && ((params, buffers) => afterUpdate(params, buffers, found, batch)),
    });
  }, { donate: [0, 1] });
}

/**
 * Losses at some parameters, and their gradients.
 *
 * @param loss Losses of parameters.
 * @param params The parameters.
 * @param options `lossScale`: given if the loss is computed in f16; `sums`: what the gradients are added to.
 * @returns What `loss` found, and a function of a weight: the gradients times the weight, added to the sums.
 */
export function differentiate<P>(
  loss: (params: P) => Losses,
  params: P,
  { lossScale, sums }: { lossScale?: LossScale; sums?: P },
): { found: Losses; gradients: (weight: Tensor) => P } {
  let found: Losses;
  let factor: Tensor;
  const [, pullback] = vjp((params: P) => {
    found = loss(lossScale ? inHalf(params, () => factor) : params);
    // The cotangents of parameters that are a result themselves begin with those given for the result.
    return { loss: found.loss, ...(sums ? { params } : {}) };
  }, params);
  const gradients = (weight: Tensor) => {
    if (lossScale) factor = div(weight, lossScale.scale);
    const seed = lossScale?.scale ?? weight;
    return pullback({ loss: seed, ...(sums ? { params: sums } : {}) })[0];
  };
  return { found: found!, gradients };
}

/** The group of a parameter, told by its path. */
type GroupOf = NonNullable<AdamWOptions["groupOf"]>;

/** The group of each parameter, the first whose pattern matches its path. */
export function groupsOf({ groups }: TrainingSettings, params: unknown): GroupOf {
  const patterns = groups.map(({ match }) => new RegExp(match));
  const paths = treeEntries(params).map(([path]) => path);
  const useless = patterns.findIndex((pattern) => !paths.some((path) => pattern.test(path)));
  if (useless >= 0) {
    throw new RangeError(
      `groups.${useless}.match: expected a pattern that matches a parameter, as ${
        paths[0]
      }, but found ${groups[useless]!.match}`,
    );
  }
  return (path: string) => groups[patterns.findIndex((pattern) => pattern.test(path))];
}

/** What there is to make a step with. */
export interface Findings<P, Buffers> {
  /** Gradients of the mean loss. */
  readonly gradients: P;
  /** Means over the batch, of which those that are logged count. */
  readonly found: Losses;
  /** The global norm of the gradients, and the groups of parameters, where `gradients` are not those of all. */
  readonly norm?: Tensor;
  readonly groupOf?: GroupOf;
  /** `AfterUpdate` with the rest of its arguments. */
  readonly after?: (params: P, buffers: Buffers) => ReturnType<AfterUpdate<P, never, Buffers>>;
}

/** State and history after a step: all moved and a row of metrics; or, if it is skipped, the row alone. */
export function advance<P, Buffers>(
  settings: StepSettings,
  losses: readonly LoggedLoss[],
  { params, optimizer, average, lossScale, buffers }: TrainingState<P, Buffers>,
  history: Tensor,
  {
    gradients,
    found,
    norm = globalNorm(gradients),
    groupOf = groupsOf(settings, params),
    after: moveOthers,
  }: Findings<P, Buffers>,
): { state: TrainingState<P, Buffers>; history: Tensor } {
  const { beta1, beta2, epsilon, weightDecay, clip, average: decay } = settings;
  const clipped = clip > 0 ? clipByGlobalNorm(gradients, clip, norm) : gradients;
  const isGood = logicalAnd(isFinite(found.loss), isFinite(norm));
  const skipped = cast(logicalNot(isGood), "f32");
  const unlessSkipped = <T>(next: T, now: T): T =>
    treeMap((x: Tensor, old: Tensor) => where(isGood, x, old), next, now);
  const rate = learningRate(settings)(optimizer.step);
  const [moved, next] = adamw.update(params, clipped, optimizer, {
    learningRate: rate,
    beta1,
    beta2,
    epsilon,
    weightDecay,
    groupOf,
  });
  const after = buffers && moveOthers?.(moved, buffers);
  const updated = after?.params ?? moved;
  const logged: Readonly<Record<string, Tensor>> = { ...found, ...after?.metrics };
  const columns = losses.map((loss) => reshape(logged[nameOf(loss)]!, [sizeOf(shapeOf(loss))]));
  const metrics = [rate, norm, skipped, ...(lossScale ? [lossScale.scale] : [])];
  const row = concat([...columns, stack(metrics)]);
  const place = remainder(optimizer.step, history.shape[0]!);
  return {
    state: {
      params: unlessSkipped(updated, params),
      optimizer: {
        step: next.step,
        mean: unlessSkipped(next.mean, optimizer.mean),
        variance: unlessSkipped(next.variance, optimizer.variance),
      },
      ...(average ? { average: unlessSkipped(ema(average, updated, decay), average) } : {}),
      ...(lossScale
        ? { lossScale: lossScaling.next(lossScale, isGood, settings.lossScaleEvery) }
        : {}),
      ...(buffers ? { buffers: unlessSkipped(after?.buffers ?? buffers, buffers) } : {}),
    },
    history: updateSlice(history, expandDims(row, 0), place, { axis: 0 }),
  };
}
