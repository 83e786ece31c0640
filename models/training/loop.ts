/** The training loop: steps, readings of the losses, checkpoints. It continues where its last checkpoint is. */
import { NonFiniteError } from "../../lib/debug/nans.ts";
import { alone, type Mpi } from "../../lib/distributed/mpi.ts";
import { tuneKernels } from "../../lib/device.ts";
import type { Image } from "../../lib/formats/png.ts";
import { zeros } from "../../ops/create.ts";
import { adamw } from "../../ops/optimizers/adamw.ts";
import { stepInParts } from "./accumulate.ts";
import { exportWeights, loadLast, saveCheckpoint } from "./checkpoints.ts";
import type { BatchPart } from "./data.ts";
import { blameStep } from "./non_finite.ts";
import { openLog } from "./log.ts";
import type { Metrics, StageName } from "./metrics.ts";
import { lossScaling } from "./precision.ts";
import {
  type AfterUpdate,
  type LoggedLoss,
  type Losses,
  type LossFunction,
  metricNames,
  type StepSettings,
  type TrainingState,
} from "./step.ts";
import {
  checkSameBits,
  inAny,
  once,
  sharedStart,
  sharedStep,
  type Start,
  StoppedElsewhere,
} from "./ranks.ts";
import { summarize } from "./summarize.ts";

/** What is trained, and on what. */
export interface Stage<P, Batch, Buffers = unknown> {
  readonly name: StageName;
  readonly settings: StepSettings;
  readonly seed: number;
  /** What the run is configured as, as plain data that goes into checkpoints. */
  readonly config: unknown;
  /** Where data and random keys are before a step, as plain data: checkpoints hold it, to be compared. */
  position(step: number): Readonly<Record<string, unknown>>;
  /** Describes the parameters. */
  parameters(): unknown;
  /** First parameters. */
  init(): P | Promise<P>;
  /**
   * Makes ready what gives the inputs of a step, counted from 0, or of a part of it; called only if there are steps
   * to make.
   */
  batches(): Promise<(step: number, part?: BatchPart) => Batch | Promise<Batch>>;
  loss(...args: Parameters<LossFunction<P, Batch, Buffers>>): Losses;
  /** What else goes on from step to step, if there is anything; see {@link AfterUpdate}. */
  readonly buffers?: {
    /** Describes them. */
    parameters(): unknown;
    /** First buffers. */
    init(): Buffers;
    update(
      ...args: Parameters<AfterUpdate<P, Batch, Buffers>>
    ): ReturnType<AfterUpdate<P, Batch, Buffers>>;
  };
  /** The losses that are logged. */
  readonly losses: readonly LoggedLoss[];
  /** How much a step works through, for the log: such as `{ name: "tokensPerSecond", perStep: 3136 }`. */
  readonly rate: { readonly name: string; readonly perStep: number };
  /** Pictures of what the parameters can do, every so many steps; 0 for never. They must change nothing. */
  readonly pictures?: { readonly every: number; draw(params: P): Promise<Image> };
  /** Called after each checkpoint. */
  saved?(): Promise<void>;
}

/** Told after every step. */
export interface StageProgress {
  readonly stage: StageName;
  readonly step: number;
  readonly steps: number;
  /** What was read last. */
  readonly metrics?: Metrics;
}

/**
 * Trains until the number of steps is reached, from the last checkpoint if there is one. A training that was interrupted
 * and continues gives the same weights as one that was not. At the end the weights are written to `NAME.safetensors`.
 *
 * @param stage What to train.
 * @param folder The run's folder.
 * @param report Told after every step.
 * @param signal Once it is aborted, the step is finished, a checkpoint is written, and its reason is thrown.
 * @param warn Told of damaged checkpoints that are passed over, and of what cannot be written of the log: only a
 * checkpoint that cannot be written ends the training.
 * @param mpi The processes that share each step, all of which call this; rank 0 writes. Where another than this one was
 * asked to stop, {@link StoppedElsewhere} is thrown.
 * @returns The trained weights: the moving average if there is one.
 * @throws {TypeError} If the folder's checkpoints are of another model; {RangeError} if of other data.
 * @throws {NonFiniteError} If `skipLimit` steps in a row had a loss or gradient that is not finite; it is noticed when the
 * metrics are read, before anything is saved, and the message names the op that made the first NaN or infinity.
 */
export async function train<P, Batch, Buffers = unknown>(
  stage: Stage<P, Batch, Buffers>,
  folder: string,
  report: (progress: StageProgress) => void = () => {},
  signal?: AbortSignal,
  warn?: (message: string) => void,
  mpi: Mpi = alone,
): Promise<P> {
  const { name, pictures, settings } = stage;
  const { steps, logEvery, checkpointEvery, skipLimit } = settings;
  const { setImmediate } = await import("node:timers/promises");
  const names = metricNames(stage.losses, settings.precision);
  const makeStep = stepInParts(stage, sharedStep(mpi));

  let { state, step } = await startingState(stage, folder, mpi, warn);
  const weights = async () => {
    const trained = state.average ?? state.params;
    await once(mpi, () => exportWeights(folder, name, trained, step));
    return trained;
  };
  let history = zeros([logEvery, names.length]);
  let metrics: Metrics | undefined;
  if (step >= steps) return await weights();
  const batch = await stage.batches();
  const log = mpi.rank === 0 ? await openLog(folder, name, step, warn) : undefined;
  report({ stage: name, step, steps });
  let skippedInARow = 0;
  let losses = meanOf();
  const start = step;
  let read = { step, time: performance.now() };
  while (step < steps) {
    const parts = (part: BatchPart) => batch(step, part);
    ({ state, history } = await makeStep(state, history, parts));
    if (step === start) await tuneKernels();
    step++;
    await setImmediate(); // signals come in between steps
    const stops = inAny(mpi, signal?.aborted ?? false);
    const saves = step % checkpointEvery === 0 || step === steps || stops;
    const draws = pictures && pictures.every > 0 && step % pictures.every === 0;
    if (saves || draws || step % logEvery === 0) {
      const values = await history.data();
      const time = performance.now();
      const rows = Array.from({ length: step - read.step }, (_, i) => {
        const row = (read.step + i) % logEvery;
        return values.subarray(row * names.length, (row + 1) * names.length);
      });
      const skipped = names.indexOf("skipped");
      for (const [i, row] of rows.entries()) {
        const isMade = row[skipped] === 0;
        if (isMade) losses.add(row[names.indexOf("loss")]!);
        skippedInARow = isMade ? 0 : skippedInARow + 1;
        if (skippedInARow >= skipLimit) {
          const [loss, norm] = ["loss", "gradientNorm"].map((metric) => row[names.indexOf(metric)]);
          // Skipped steps changed nothing: the parameters are those that it happened with.
          const reason = await blameStep(stage, state, await batch(read.step + i));
          throw new NonFiniteError(
            `train: expected a finite loss but found ${loss}, with a gradient norm of ${norm},` +
              ` after ${skippedInARow} skipped steps in a row up to step ${
                read.step + i + 1
              } of the ${name}: ${reason}`,
          );
        }
      }
      metrics = summarize(stage, step, names, rows, (time - read.time) / rows.length);
      await log?.add(metrics);
      read = { step, time };
    }
    if (draws) await log?.addPicture(step, await pictures!.draw(state.average ?? state.params));
    if (saves) {
      const { seed, config } = stage;
      const position = plain(stage.position(step));
      const progress = { stage: name, step, seed, position, loss: losses.mean(), config };
      await checkSameBits(mpi, state.params);
      await once(mpi, async () => {
        await saveCheckpoint(folder, state, progress, settings);
        await stage.saved?.();
      });
      losses = meanOf();
    }
    if (saves || draws) read.time = performance.now(); // their time is not the steps'
    if (stops) throw signal?.aborted ? signal.reason : new StoppedElsewhere();
    report({ stage: name, step, steps, metrics });
  }
  return await weights();
}

/** The state of the last checkpoint, or the first state. */
async function startingState<P, Batch, Buffers>(
  stage: Stage<P, Batch, Buffers>,
  folder: string,
  mpi: Mpi,
  warn?: (message: string) => void,
): Promise<Start<P, Buffers>> {
  const first = await firstState(stage); // nothing is computed before it is read
  const found = mpi.rank === 0 ? await loadLast(folder, stage.name, first, warn) : undefined;
  if (!found) return await sharedStart(mpi, { state: first, step: 0 });
  const { step, position } = found.info;
  const [saved, own] = [position, plain(stage.position(step))].map((x) => JSON.stringify(x));
  if (saved === own) return await sharedStart(mpi, { state: found.state, step });
  throw new RangeError(
    `train: expected to continue the ${stage.name} at ${saved} but found its data and keys at ${own}`,
  );
}

/** The state of a training before its first step. */
export async function firstState<P, Batch, Buffers>(
  { init, settings, buffers }: Pick<Stage<P, Batch, Buffers>, "init" | "settings" | "buffers">,
): Promise<TrainingState<P, Buffers>> {
  const params = await init();
  return {
    params,
    optimizer: adamw.init(params),
    ...(settings.average > 0 ? { average: await init() } : {}),
    ...(settings.precision === "f16" ? { lossScale: lossScaling.init() } : {}),
    ...(buffers ? { buffers: buffers.init() } : {}),
  };
}

/** As it is read from a file. */
function plain<T>(value: T): T {
  return JSON.parse(JSON.stringify(value));
}

/** The mean of what is added; null if nothing is. */
function meanOf() {
  let sum = 0, count = 0;
  return {
    add(value: number) {
      sum += value;
      count++;
    },
    mean: () => count === 0 ? null : sum / count,
  };
}
