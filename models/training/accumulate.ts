/**
 * A training step in parts: the gradients of parts of its batch are summed on the device, one after another, and then
 * applied once. Between the two, processes that train together add theirs up.
 */
import { type Tensor, tensor } from "../../lib/tensor.ts";
import type { EarlyResults } from "../../lib/transforms/early_results.ts";
import { jit, type Jitted } from "../../lib/transforms/jit.ts";
import { treeMap } from "../../lib/tree.ts";
import { add, div, mul } from "../../ops/arithmetic.ts";
import { concat } from "../../ops/concat.ts";
import { full, zeros, zerosLike } from "../../ops/create.ts";
import { where } from "../../ops/where.ts";
import { type BatchPart, whole } from "./data.ts";
import { offloadedUpdate } from "./offload.ts";
import { checkPrecision } from "./precision.ts";
import {
  advance,
  type AfterUpdate,
  differentiate,
  type LoggedLoss,
  type Losses,
  type LossFunction,
  nameOf,
  shapeOf,
  type StepSettings,
  type TrainingState,
  trainingStep,
} from "./step.ts";

/** Sums over the parts of a batch, all f32. Any multiple of all of them, as a mean over processes, serves as well. */
export interface GradientSums<P> {
  /** Of each part's gradients times its weight. */
  readonly gradients: P;
  /** Of each part's losses times its weight. */
  readonly losses: readonly Tensor[];
  /** Of the weights of the parts. */
  readonly weight: Tensor;
}

/** Tensors by name that a part's losses return and that are not to be logged. */
export type Rest = Readonly<Record<string, Tensor>>;

/** What `AfterUpdate` is given of the parts, where there is one. */
export interface PartsSeen<Batch> {
  readonly batches: readonly Batch[];
  readonly rests: readonly Rest[];
}

/** The programs of a step in parts. */
export interface PartialPrograms<P, Batch, Buffers> {
  /** Adds a part to the sums, which are donated; what they hold before the first part does not matter. */
  readonly gradients: Jitted<
    [
      state: Pick<TrainingState<P, Buffers>, "params" | "lossScale" | "buffers">,
      batch: Batch,
      sums: GradientSums<P>,
      isFirst: Tensor,
    ],
    { sums: GradientSums<P>; rest: Rest }
  >;
  /** Makes the step; state and history are donated. */
  readonly update: Jitted<
    [
      state: TrainingState<P, Buffers>,
      history: Tensor,
      sums: GradientSums<P>,
      seen: PartsSeen<Batch>,
    ],
    { state: TrainingState<P, Buffers>; history: Tensor }
  >;
  /** Room for the sums. */
  room(params: P): GradientSums<P>;
}

/** What a step needs to know of a training. */
export interface StepOf<P, Batch, Buffers> {
  readonly loss: LossFunction<P, Batch, Buffers>;
  /** The losses that are logged, in the order of the history's columns. */
  readonly losses: readonly LoggedLoss[];
  readonly settings: StepSettings;
  readonly buffers?: { readonly update: AfterUpdate<P, Batch, Buffers> };
}

/**
 * Makes the two programs of a step in parts. What `update` does with m parts is what `trainingStep` does with one batch
 * of all of them, but for rounding: the same clipping, skipping and metrics.
 *
 * @param training The training.
 * @param early Takes the sums of each part while the first program still runs.
 * @returns The programs, compiled at first use.
 */
export function partialPrograms<P, Batch, Buffers = unknown>(
  { loss, losses, settings, buffers }: StepOf<P, Batch, Buffers>,
  early?: EarlyResults,
): PartialPrograms<P, Batch, Buffers> {
  const afterUpdate = buffers?.update;
  const names = losses.map(nameOf);
  checkPrecision({ training: settings });
  return {
    gradients: jit(function gradients({ params, lossScale, buffers }, batch, sums, isFirst) {
      const before = treeMap((sum: Tensor) => where(isFirst, 0, sum), sums);
      const own = (params: P) => loss(params, batch, buffers as Buffers);
      const { found, gradients } = differentiate(own, params, {
        lossScale,
        sums: before.gradients,
      });
      const weight = found.weight ?? full([], 1);
      const summed = {
        gradients: gradients(weight),
        losses: names.map((name, i) =>
          found[name] ? add(before.losses[i]!, mul(found[name], weight)) : before.losses[i]!
        ),
        weight: add(before.weight, weight),
      };
      const isRest = (name: string) =>
        afterUpdate && name !== "weight" && name !== "loss" && !names.includes(name);
      return {
        sums: summed,
        rest: Object.fromEntries(Object.entries(found).filter(([name]) => isRest(name))),
      };
    }, { donate: [2], early }),
    update: jit(function update(state, history, sums, { batches, rests }) {
      const means = meansOf(names, sums);
      const found = { ...(afterUpdate ? joined(rests) : {}), ...means.found };
      return advance(settings, losses, state, history, {
        gradients: means.gradients,
        found,
        after: afterUpdate &&
          ((params, buffers) => afterUpdate(params, buffers, found, joined(batches))),
      });
    }, { donate: [0, 1] }),
    room: (params) => ({
      gradients: treeMap(zerosLike, params),
      losses: losses.map((loss) => zeros(shapeOf(loss))),
      weight: zeros([]),
    }),
  };
}

/** Means over a batch. */
export interface Means<P> {
  readonly gradients: P;
  readonly found: Losses;
}

function meansOf<P>(
  names: readonly string[],
  { gradients, losses, weight }: GradientSums<P>,
): Means<P> {
  const mean = (sum: Tensor) => div(sum, weight);
  const found = Object.fromEntries(names.map((name, i) => [name, mean(losses[i]!)]));
  return { gradients: treeMap(mean, gradients), found: found as Losses };
}

/** Trees whose tensors have parts of a batch along their first axis, as one. */
function joined<T>(parts: readonly T[]): T {
  return treeMap(
    (...tensors: Tensor[]) => concat(tensors, { axis: 0 }),
    parts[0]!,
    ...parts.slice(1),
  );
}

/** How a process takes part in a step that several make together. */
export interface SharedStep<P> {
  /** Which of them this is, from 0, and how many there are. */
  readonly rank: number;
  readonly size: number;
  /** The sums, or means, of the sums of all of them; the same in each. */
  reduce(sums: GradientSums<P>): GradientSums<P> | Promise<GradientSums<P>>;
  /** Takes the sums while the program that makes them still runs: those of the last part, after `begin`. */
  readonly early?: EarlyResults;
  begin?(): void;
  /** What all of them have, by rank; tensors of the same shapes in each. */
  gather(own: readonly Rest[]): Promise<readonly Rest[]>;
}

/** Makes a step, given the parts of its batch; state and history are given up. */
export type StepInParts<P, Batch, Buffers = unknown> = (
  state: TrainingState<P, Buffers>,
  history: Tensor,
  batch: (part: BatchPart) => Batch | Promise<Batch>,
) => Promise<{ state: TrainingState<P, Buffers>; history: Tensor }>;

/**
 * Makes the step of a training: one program for a whole batch, or, where it is computed in parts or by several
 * processes, one for gradients and one that applies them. The host reads nothing back.
 *
 * @param training The training, of which `settings.accumulate` is the number of parts, of each process. Where it has an
 * `AfterUpdate`, all tensors of its batches have the images along their first axis.
 * @param shared How this process takes part, where there are several. Each computes its own parts.
 * @returns A function to be used on one device.
 *
 * @example
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { adamw, mean, openDevice, square, sub, type Tensor, tensor, zeros } from "../../mod.ts";
 * import { readConfig } from "../config/read.ts";
 * import { stepInParts } from "./accumulate.ts";
 *
 * await openDevice("reference");
 * type Params = { x: Tensor };
 * const { tokenizerTraining } = readConfig("smoke", ["tokenizerTraining.accumulate=2"]);
 * const step = stepInParts({
 *   loss: ({ x }: Params, targets: Tensor) => ({ loss: mean(square(sub(x, targets))) }),
 *   losses: ["loss"],
 *   settings: tokenizerTraining,
 * });
 * const params: Params = { x: tensor(0) };
 * const halves = [[1, 2], [4, 5]];
 * const { history } = await step(
 *   { params, optimizer: adamw.init(params) },
 *   zeros([1, 4]),
 *   ({ index }) => tensor(halves[index]!),
 * );
 * const [loss, , gradientNorm] = await history.data();
 * assertAlmostEquals(loss!, (1 + 4 + 16 + 25) / 4, 1e-5);
 * assertAlmostEquals(gradientNorm!, 2 * (1 + 2 + 4 + 5) / 4, 1e-5);
 * ```
 */
export function stepInParts<P, Batch, Buffers = unknown>(
  training: StepOf<P, Batch, Buffers>,
  shared?: SharedStep<P>,
): StepInParts<P, Batch, Buffers> {
  const { loss, losses, settings: { accumulate, offload }, settings, buffers } = training;
  const { rank, size, reduce } = shared ?? { rank: 0, size: 1, reduce: (sums) => sums };
  const count = accumulate * size;
  if (count === 1 && !offload) {
    const step = trainingStep(loss, losses, settings, buffers?.update);
    return async (state, history, batch) => step(state, history, await batch(whole));
  }
  if (offload && buffers) {
    throw new RangeError(
      "stepInParts: expected a training without buffers to offload but found one with",
    );
  }
  // With buffers, there are results that are not summed.
  const { gradients, update, room } = partialPrograms(
    training,
    buffers ? undefined : shared?.early,
  );
  const apply = offload
    ? offloadedUpdate(training, (sums) => meansOf(losses.map(nameOf), sums))
    : update;
  let sums: GradientSums<P> | undefined;
  return async (state, history, batch) => {
    const { params, lossScale, buffers: now } = state;
    const batches: Batch[] = [], rests: Rest[] = [];
    let total = sums ?? room(params);
    for (let part = 0; part < accumulate; part++) {
      if (part === accumulate - 1) shared?.begin?.();
      const own = await batch({ index: rank * accumulate + part, count });
      const added = gradients(
        { params, ...(lossScale ? { lossScale } : {}), ...(buffers ? { buffers: now } : {}) },
        own,
        total,
        tensor(part === 0),
      );
      total = added.sums;
      if (!buffers) continue;
      batches.push(own);
      rests.push(added.rest);
    }
    sums = await reduce(total);
    if (!buffers || !shared) return await apply(state, history, sums, { batches, rests });
    // What comes after the update sees the whole batch, in each process.
    const all = await Promise.all(
      Array.from(
        { length: count },
        (_, index) => batches[index - rank * accumulate] ?? batch({ index, count }),
      ),
    );
    return update(state, history, sums, { batches: all, rests: await shared.gather(rests) });
  };
}
