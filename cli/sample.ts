/** `sample`: pictures from a trained run. */
import { dirname } from "node:path";
import { openMpi } from "../lib/distributed/mpi.ts";
import { imageGrid, writePng } from "../lib/formats/png.ts";
import { readConfig } from "../models/config/read.ts";
import type { RunConfig } from "../models/config/schema.ts";
import { duration } from "../models/reports/duration.ts";
import type { WhichCheckpoint } from "../models/training/checkpoints.ts";
import { openRun } from "../models/training/run.ts";
import { sampleImages, type TrainedRun } from "../models/training/samples.ts";
import { showProgress } from "./progress.ts";
import { checked, UsageError } from "./usage.ts";

/** How to sample; what is left out is as in the run's configuration. */
export interface SamplingOptions {
  readonly seed?: number;
  readonly steps?: number;
  readonly order?: string;
  readonly schedule?: string;
  readonly guidance?: number;
  readonly guidanceSchedule?: string;
  readonly guidanceInterval?: readonly number[];
  readonly temperature?: number;
  readonly finalTemperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly attention?: string;
  readonly decoding?: string;
  readonly checkpoint?: WhichCheckpoint;
}

/** Options of `sample`. */
export interface SampleOptions extends SamplingOptions {
  readonly out: string;
  readonly class?: readonly number[];
  readonly count?: number;
}

/** Fields of `sampling` that options set. */
const fields = [
  "steps",
  "order",
  "schedule",
  "guidance",
  "guidanceSchedule",
  "guidanceInterval",
  "temperature",
  "finalTemperature",
  "topK",
  "topP",
  "attention",
  "decoding",
] as const;

/** The configuration of a run with the options of sampling set in it. */
export async function configWith(run: TrainedRun, options: SamplingOptions): Promise<RunConfig> {
  const settings = fields.flatMap((field) =>
    options[field] === undefined ? [] : [`sampling.${field}=${JSON.stringify(options[field])}`]
  );
  const config = await checked(() => readConfig(run.config, settings));
  return { ...config, seed: options.seed ?? config.seed };
}

/** Fails where a class is none of the run's. */
export function checkClasses({ data }: RunConfig, classes: readonly number[]): void {
  const unknown = classes.find((label) => label >= data.classes);
  if (unknown === undefined) return;
  throw new UsageError(`--class: expected 0..${data.classes - 1} but found ${unknown}`);
}

/** Samples images and writes them as one picture: a row for each class, or a square of one class. */
export async function sampleCommand(folder: string, options: SampleOptions): Promise<void> {
  const start = performance.now();
  const run = await checked(() => openRun(folder, options.checkpoint));
  const { sampling, seed, data } = await configWith(run, options);
  const chosen = options.class ?? Array.from({ length: data.classes }, (_, label) => label);
  checkClasses(run.config, chosen);
  const count = options.count ?? (chosen.length === 1 ? 16 : sampling.perClass);
  const labels = chosen.flatMap((label) => new Array<number>(count).fill(label));
  await checked(() => Deno.mkdir(dirname(options.out), { recursive: true }));

  using progress = showProgress();
  const images = await sampleImages(
    run,
    labels,
    sampling,
    seed,
    (step, steps) => progress.report({ stage: "samples", step, steps }),
    openMpi(),
  );
  if (openMpi().rank > 0) return;
  const columns = chosen.length === 1 ? Math.ceil(Math.sqrt(count)) : count;
  await checked(() => writePng(options.out, imageGrid(images, { columns })));
  const seconds = (performance.now() - start) / 1000;
  console.log(`Wrote ${images.length} images to ${options.out} in ${duration(seconds)}`);
}
