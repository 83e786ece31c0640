/** `sample`: pictures from a trained run. */
import { dirname } from "node:path";
import { imageGrid, writePng } from "../lib/formats/png.ts";
import { readConfig } from "../models/config/read.ts";
import { openRun } from "../models/training/run.ts";
import { sampleImages } from "../models/training/samples.ts";
import { duration, showProgress } from "./progress.ts";
import { checked, UsageError } from "./usage.ts";

/** Options of `sample`; what is left out is as in the run's configuration. */
export interface SampleOptions {
  readonly out: string;
  readonly class?: readonly number[];
  readonly count?: number;
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

/** Samples images and writes them as one picture: a row for each class, or a square of one class. */
export async function sampleCommand(folder: string, options: SampleOptions): Promise<void> {
  const start = performance.now();
  const run = await checked(() => openRun(folder));
  const settings = fields.flatMap((field) =>
    options[field] === undefined ? [] : [`sampling.${field}=${JSON.stringify(options[field])}`]
  );
  const { sampling, seed, data } = await checked(() => readConfig(run.config, settings));
  const chosen = options.class ?? Array.from({ length: data.classes }, (_, label) => label);
  const unknown = chosen.find((label) => label >= data.classes);
  if (unknown !== undefined) {
    throw new UsageError(`--class: expected 0..${data.classes - 1} but found ${unknown}`);
  }
  const count = options.count ?? (chosen.length === 1 ? 16 : sampling.perClass);
  const labels = chosen.flatMap((label) => new Array<number>(count).fill(label));
  await checked(() => Deno.mkdir(dirname(options.out), { recursive: true }));

  using progress = showProgress();
  const images = await sampleImages(
    run,
    labels,
    sampling,
    options.seed ?? seed,
    (step, steps) => progress.report({ stage: "samples", step, steps }),
  );
  const columns = chosen.length === 1 ? Math.ceil(Math.sqrt(count)) : count;
  await checked(() => writePng(options.out, imageGrid(images, { columns })));
  const seconds = (performance.now() - start) / 1000;
  console.log(`Wrote ${images.length} images to ${options.out} in ${duration(seconds)}`);
}
