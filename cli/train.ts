/** `train` and `demo`: from options to a configuration and a folder, and training. */
import process from "node:process";
import { currentDevice } from "../lib/device.ts";
import { openMpi } from "../lib/distributed/mpi.ts";
import { treeEntries } from "../lib/tree.ts";
import { namedConfigs } from "../models/config/named.ts";
import { configHelp, readConfig } from "../models/config/read.ts";
import type { RunConfig } from "../models/config/schema.ts";
import { duration } from "../models/reports/duration.ts";
import { checkPrecision } from "../models/training/precision.ts";
import { checkRanks, StoppedElsewhere } from "../models/training/ranks.ts";
import { readRunConfig, trainRun } from "../models/training/run.ts";
import { showProgress } from "./progress.ts";
import { checked, exists, UsageError } from "./usage.ts";

/** Options of `train`. */
export interface TrainOptions {
  readonly config?: string;
  readonly out?: string;
  readonly steps?: number;
  readonly seed?: number;
  readonly set: readonly string[];
  readonly resume?: boolean;
  readonly print?: "json" | "help";
}

/** Trains a run, or prints its configuration. */
export async function train(options: TrainOptions): Promise<void> {
  const { out, resume } = options;
  if (options.print) return printConfig(await chooseConfig(options), options.print);
  if (out === undefined) throw new UsageError("required option '--out <run>' not specified");
  const isRun = await exists(`${out}/config.json`);
  if (resume && !isRun) {
    throw new UsageError(`--resume: there is no run in ${out} (config.json is missing)`);
  }
  if (isRun && !resume) {
    throw new UsageError(`${out} holds a run: --resume continues it, another --out starts anew`);
  }
  const config = await chooseConfig(options);
  if (resume) await checkContinues(config, out);
  await runTraining(config, out);
}

/** Trains the `mnist` configuration, or goes on with it, and says what there is then. */
export async function demo(options: TrainOptions & { out: string }): Promise<void> {
  const { out } = options;
  const config = await chooseConfig({ ...options, config: "mnist" });
  if (await exists(`${out}/config.json`)) await checkContinues(config, out);
  if (!await runTraining(config, out)) return;
  const { steps, perClass } = config.sampling;
  const command = "deno run -A cli.ts sample";
  console.log(`
${out}/samples.png   a row for each class: ${perClass} images in ${steps} steps, then ${perClass} one token a step
${out}/report.html   curves, samples on the way there, configuration; metrics.jsonl and TensorBoard have the numbers
${out}/config.json, tokenizer.safetensors, model.safetensors, checkpoints to continue from

More: ${command} ${out} --out three.png --class 3 --count 16 --steps 16`);
}

/** Trains to the end, or until the process is asked to stop; returns whether it is the end. */
async function runTraining(config: RunConfig, out: string): Promise<boolean> {
  const { tokenizerTraining, training } = config;
  await checked(() => checkPrecision({ tokenizerTraining, training })); // before the tokenizer is trained
  const start = performance.now();
  const stop = new AbortController();
  // Once only: a second signal ends the process at once.
  for (const name of ["SIGINT", "SIGTERM"]) process.once(name, () => stop.abort(name));
  const mpi = openMpi();
  await checked(() => Promise.resolve(checkRanks(config, mpi.size)));
  mpi.barrier(); // none writes before all have looked
  const ranks = mpi.size > 1 ? `, ${mpi.size} ranks` : "";
  if (mpi.rank === 0) console.error(`Device: ${currentDevice().description}${ranks}`);
  using progress = showProgress();
  try {
    await checked(() => trainRun(config, out, progress.report, stop.signal, undefined, mpi));
  } catch (error) {
    const isAsked = stop.signal.aborted && error === stop.signal.reason;
    if (!isAsked && !(error instanceof StoppedElsewhere)) throw error;
    console.log(
      `Stopped by ${isAsked ? error : "another rank"}: train --out ${out} --resume continues`,
    );
    return false;
  }
  const seconds = (performance.now() - start) / 1000;
  console.log(`Wrote ${out} in ${duration(seconds)}`);
  return true;
}

/** The configuration that options choose: a file, a name or that of the run, with fields set. */
export async function chooseConfig(options: TrainOptions): Promise<RunConfig> {
  const settings = [
    ...options.set,
    ...(options.steps === undefined ? [] : [`training.steps=${options.steps}`]),
    ...(options.seed === undefined ? [] : [`seed=${options.seed}`]),
  ];
  const { config } = options;
  if (config !== undefined && Object.hasOwn(namedConfigs, config)) {
    return await checked(() => readConfig(config, settings));
  }
  const path = config ?? (options.resume ? `${options.out}/config.json` : undefined);
  if (path === undefined) {
    throw new UsageError("required option '--config <file|name>' not specified");
  }
  if (!await exists(path)) {
    const names = Object.keys(namedConfigs).join(", ");
    throw new UsageError(`--config: no file ${path} (configurations by name are ${names})`);
  }
  try {
    return readConfig(JSON.parse(await Deno.readTextFile(path)), settings);
  } catch (error) {
    throw new UsageError(`${path}: ${(error as Error).message}`, { cause: error });
  }
}

/** Fields that may change when a run goes on: how long it trains, what it logs and keeps, how it samples. */
const changeable =
  /^(sampling\.|training\.steps$|\w+\.(\w+Every|keepCheckpoints|keepBest|skipLimit|accumulate|recompute|offload)$)/;

/** Fails where a run cannot go on under another configuration. */
async function checkContinues(config: RunConfig, out: string): Promise<void> {
  const before = new Map(treeEntries<unknown>(await checked(() => readRunConfig(out))));
  for (const [path, value] of treeEntries<unknown>(config)) {
    const old = before.get(path);
    if (old === value || changeable.test(path)) continue;
    throw new UsageError(
      `${out} cannot be continued: its ${path} is ${old}, not ${value}; choose another --out`,
    );
  }
}

function printConfig(config: RunConfig, what: "json" | "help"): void {
  if (what === "json") return console.log(JSON.stringify(config, null, 2));
  const values = new Map(treeEntries<unknown>(config));
  for (const { path, help } of configHelp(config)) {
    const value = values.has(path) ? ` = ${values.get(path)}` : "";
    console.log(`${path}${value}\n    ${help}`);
  }
}
