/** The training loop: steps, readings of the losses, checkpoints. It continues where its last checkpoint is. */
import { setImmediate } from "node:timers/promises";
import { zeros } from "../../ops/create.ts";
import { adamw } from "../../ops/optimizers/adamw.ts";
import type { TrainingSettings } from "../config/schema.ts";
import { loadState, saveState, saveTree } from "./checkpoint.ts";
import { appendMetrics, type Metrics, type StageName, trimMetrics } from "./metrics.ts";
import {
  type AfterUpdate,
  type Losses,
  metricNames,
  type TrainingState,
  trainingStep,
} from "./step.ts";

/** What is trained, and on what. */
export interface Stage<P, Batch, Buffers = unknown> {
  readonly name: StageName;
  readonly settings: TrainingSettings;
  readonly seed: number;
  /** Files in the run's folder: the weights, and the state that training continues from. */
  readonly files: { readonly weights: string; readonly state: string };
  /** Describes the parameters. */
  parameters(): unknown;
  /** First parameters. */
  init(): P;
  /** Makes ready what gives the inputs of a step, counted from 0; called only if there are steps to make. */
  batches(): Promise<(step: number) => Batch>;
  loss(params: P, batch: Batch, buffers: Buffers): Losses;
  /** What else goes on from step to step, if there is anything; see {@link AfterUpdate}. */
  readonly buffers?: {
    /** Describes them. */
    parameters(): unknown;
    /** First buffers. */
    init(): Buffers;
    readonly update: AfterUpdate<P, Batch, Buffers>;
  };
  /** The names of the losses. */
  readonly losses: readonly string[];
  /** How much a step works through, for the log: such as `{ name: "tokensPerSecond", perStep: 3136 }`. */
  readonly rate: { readonly name: string; readonly perStep: number };
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
 * and continues gives the same weights as one that was not.
 *
 * @param stage What to train.
 * @param folder The run's folder.
 * @param report Told after every step.
 * @param signal Once it is aborted, the step is finished, a checkpoint is written, and its reason is thrown.
 * @returns The trained weights: the moving average if there is one.
 * @throws {Error} If `skipLimit` steps in a row had a loss or gradient that is not finite; it is noticed when the
 * metrics are read, before anything is saved.
 */
export async function train<P, Batch, Buffers = unknown>(
  stage: Stage<P, Batch, Buffers>,
  folder: string,
  report: (progress: StageProgress) => void = () => {},
  signal?: AbortSignal,
): Promise<P> {
  const { name, settings: { steps, logEvery, checkpointEvery, skipLimit } } = stage;
  const logPath = `${folder}/metrics.jsonl`;
  const names = metricNames(stage.losses);
  const trainStep = trainingStep(
    stage.loss,
    stage.losses,
    stage.settings,
    stage.buffers?.update,
  );

  let { state, step } = await startingState(stage, folder);
  let history = zeros([logEvery, names.length]);
  let metrics: Metrics | undefined;
  if (step >= steps) return state.average ?? state.params;
  const batch = await stage.batches();
  await trimMetrics(logPath, name, step);
  report({ stage: name, step, steps });
  let skippedInARow = 0;
  let read = { step, time: performance.now() };
  while (step < steps) {
    ({ state, history } = trainStep(state, history, batch(step)));
    step++;
    await setImmediate(); // signals come in between steps
    const saves = step % checkpointEvery === 0 || step === steps || signal?.aborted;
    if (saves || step % logEvery === 0) {
      const values = await history.data();
      const time = performance.now();
      const rows = Array.from({ length: step - read.step }, (_, i) => {
        const row = (read.step + i) % logEvery;
        return values.subarray(row * names.length, (row + 1) * names.length);
      });
      const skipped = names.indexOf("skipped");
      for (const row of rows) {
        skippedInARow = row[skipped] === 0 ? 0 : skippedInARow + 1;
        if (skippedInARow >= skipLimit) {
          const [loss, norm] = ["loss", "gradientNorm"].map((metric) => row[names.indexOf(metric)]);
          throw new Error(
            `train: expected a finite loss but found ${loss}, with a gradient norm of ${norm},` +
              ` after ${skippedInARow} skipped steps in a row up to step ${step} of the ${name}`,
          );
        }
      }
      metrics = summarize(stage, step, names, rows, (time - read.time) / rows.length);
      await appendMetrics(logPath, [metrics]);
      read = { step, time };
    }
    if (saves) {
      await save(stage, folder, state, step);
      read.time = performance.now();
      signal?.throwIfAborted();
    }
    report({ stage: name, step, steps, metrics });
  }
  return state.average ?? state.params;
}

/** The state of the last checkpoint, or the first state. */
async function startingState<P, Batch, Buffers>(
  stage: Stage<P, Batch, Buffers>,
  folder: string,
): Promise<{ state: TrainingState<P, Buffers>; step: number }> {
  const { buffers, settings, parameters } = stage;
  const hasAverage = settings.average > 0;
  const described = { parameters, buffers: buffers?.parameters };
  try {
    return await loadState<P, Buffers>(`${folder}/${stage.files.state}`, described, hasAverage);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  const params = stage.init();
  const state = {
    params,
    optimizer: adamw.init(params),
    ...(hasAverage ? { average: stage.init() } : {}),
    ...(buffers ? { buffers: buffers.init() } : {}),
  };
  return { state, step: 0 };
}

/** Writes the weights to be used, and then the state, which a training continues from. */
async function save<P, Batch, Buffers>(
  { files, seed }: Stage<P, Batch, Buffers>,
  folder: string,
  state: TrainingState<P>,
  step: number,
): Promise<void> {
  await saveTree(`${folder}/${files.weights}`, state.average ?? state.params, {
    step: String(step),
  });
  await saveState(`${folder}/${files.state}`, state, { step, seed });
}

/**
 * A line of the log: means of the losses over the steps since the last, without those skipped, their number, and
 * the other metrics of the last step.
 */
function summarize(
  { name: stage, losses, rate }: Pick<Stage<unknown, never>, "name" | "losses" | "rate">,
  step: number,
  names: readonly string[],
  rows: readonly ArrayLike<number>[],
  ms: number,
): Metrics {
  const skipped = names.indexOf("skipped");
  const made = rows.filter((row) => row[skipped] === 0);
  const mean = (rows: readonly ArrayLike<number>[], column: number) =>
    rows.reduce((sum, row) => sum + row[column]!, 0) / rows.length;
  const values = names.map((name, column) => {
    if (column === skipped) return rows.length - made.length;
    if (!losses.includes(name)) return rows.at(-1)![column]!;
    return mean(made.length > 0 ? made : rows, column);
  });
  const found = Object.fromEntries(names.map((name, i) => [name, round(values[i]!)]));
  return {
    stage,
    step,
    ...found,
    [rate.name]: round(rate.perStep * 1000 / ms),
    ms: round(ms),
  } as unknown as Metrics;
}

/** Six digits are more than a reader needs. */
function round(value: number): number {
  return Number(value.toPrecision(6));
}
