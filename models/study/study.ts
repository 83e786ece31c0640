/** The paper's study in small: every recipe is trained on the same codes for the same number of steps, then sampled. */
import { type Image, imageGrid, writePng } from "../../lib/formats/png.ts";
import { readConfig } from "../config/read.ts";
import type { RunConfig } from "../config/schema.ts";
import type { ImageDataset } from "../data/dataset.ts";
import { classifierOf } from "../evaluation/classifier_training.ts";
import type { FeatureExtractor } from "../evaluation/features.ts";
import type { Gaussian } from "../evaluation/statistics.ts";
import { parseRecipe } from "../sar/recipe.ts";
import { loadData } from "../training/data.ts";
import { train } from "../training/loop.ts";
import { readMetrics } from "../training/metrics.ts";
import { modelStage, tokensOf } from "../training/model_stage.ts";
import type { RunProgress } from "../training/run.ts";
import { sampleImages, type TrainedRun } from "../training/samples.ts";
import { tokenizerStage } from "../training/tokenizer_stage.ts";
import { encodeData, type TokenDataset } from "../training/tokens.ts";
import { type Experiment, experiments, samplingName, type StudySampling } from "./experiments.ts";
import { describeImages, measureSamples } from "./measure.ts";
import {
  readStudy,
  type Study,
  type StudyResult,
  type StudySettings,
  writeStudy,
} from "./record.ts";

/** What a study is doing. */
export type StudyProgress = RunProgress | {
  readonly stage: "classifier";
  readonly step: number;
  readonly steps: number;
};

/** How a study is watched and ended. */
export interface StudyOptions {
  /** Told what is being done. */
  onProgress?(progress: StudyProgress): void;
  /** Told what an experiment gave, and how many of all are done. */
  onResult?(result: StudyResult, done: number, total: number): void | Promise<void>;
  /** Once it is aborted, a checkpoint is written, and its reason is thrown. */
  readonly signal?: AbortSignal;
}

/** What all experiments share. */
interface Common {
  readonly config: RunConfig;
  readonly data: ImageDataset;
  readonly tokenizer: TrainedRun["tokenizer"];
  readonly tokens: TokenDataset;
  readonly features: FeatureExtractor;
  readonly reference: Gaussian;
}

/** Images that FID compares with, at most. */
const mostReferences = 10_000;

/**
 * Runs the study, or goes on with one that was interrupted. Tokenizer, codes, classifier, seed, number of steps and
 * everything else is the same for all recipes.
 *
 * @param folder Where it is kept: `study.json`, and for each recipe a folder with its weights, metrics and samples.
 * @param settings What it is made with.
 * @param options See {@link StudyOptions}.
 * @returns The study with all results.
 * @throws {RangeError} If the folder holds a study with other settings, or a setting is wrong.
 */
export async function runStudy(
  folder: string,
  settings: StudySettings,
  options: StudyOptions = {},
): Promise<Study> {
  let time = performance.now();
  const base = readConfig(settings.config, settings.set);
  await Deno.mkdir(folder, { recursive: true });
  let study = await readStudy(folder, settings);
  const table = chosen(experiments(tokensOf(base.model)), settings.recipes);
  const common = await prepare(base, folder, options);
  study ??= await begin(common, folder, settings, table, time);
  const config = { ...base, training: { ...base.training, steps: study.steps } };
  for (const experiment of table) {
    if (study.results.some(({ recipe }) => recipe === experiment.recipe)) continue;
    const result = await conduct(
      { ...common, config },
      experiment,
      folder,
      settings.samples,
      options,
    );
    const now = performance.now();
    study = {
      ...study,
      minutes: study.minutes + (now - time) / 60_000,
      results: [...study.results, result],
    };
    time = now;
    await writeStudy(folder, study);
    await options.onResult?.(result, study.results.length, table.length);
  }
  return study;
}

/** The experiments on some recipes. */
function chosen(table: readonly Experiment[], recipes?: readonly string[]): readonly Experiment[] {
  const names = table.map(({ recipe }) => recipe);
  const unknown = recipes?.find((recipe) => !names.includes(recipe));
  if (unknown === undefined) return table.filter(({ recipe }) => recipes?.includes(recipe) ?? true);
  throw new RangeError(`runStudy: expected recipes of ${names.join(", ")} but found ${unknown}`);
}

/** Trains tokenizer and classifier, encodes the data and describes it; what is there already is read. */
async function prepare(
  config: RunConfig,
  folder: string,
  { onProgress = () => {}, signal }: StudyOptions,
): Promise<Common> {
  onProgress({ stage: "data", step: 0, steps: 1 });
  const data = await loadData(config);
  onProgress({ stage: "data", step: 1, steps: 1 });
  const tokenizer = await train(tokenizerStage(config, data), folder, onProgress, signal);
  const tokens = await encodeData(config.tokenizer, tokenizer, data, (step, steps) => {
    onProgress({ stage: "codes", step, steps });
    signal?.throwIfAborted();
  });
  const path = `${folder}/classifier.safetensors`;
  const features = await classifierOf(path, data, (step, steps) => {
    onProgress({ stage: "classifier", step, steps });
    signal?.throwIfAborted();
  });
  const { gaussian } = await describeImages(features, part(data, 0, referenceCount(data)));
  return { config, data, tokenizer, tokens, features, reference: gaussian };
}

/** The first half of the data at most, so that the other one can be compared with it. */
function referenceCount({ count }: ImageDataset): number {
  return Math.min(mostReferences, count >> 1);
}

/** Some images of a dataset. */
function part(data: ImageDataset, first: number, count: number): ImageDataset {
  const pixels = data.height * data.width;
  return {
    ...data,
    count,
    images: data.images.subarray(first * pixels, (first + count) * pixels),
    labels: data.labels.subarray(first, first + count),
  };
}

/** Decides the number of steps, and measures how good samples can be at best. */
async function begin(
  common: Common,
  folder: string,
  settings: StudySettings,
  table: readonly Experiment[],
  since: number,
): Promise<Study> {
  const { config, data, features, reference } = common;
  const steps = settings.steps ?? await affordableSteps(common, settings, table, since);
  const other = part(data, referenceCount(data), Math.min(settings.samples, data.count >> 1));
  const study = {
    settings,
    steps,
    minutes: 0,
    tokens: tokensOf(config.model),
    data: await measureSamples(features, other, reference),
    results: [],
  };
  await writeStudy(folder, study);
  return study;
}

/** Steps that are made to find out how long they take. */
const trialSteps = 40;

/**
 * The number of steps that leaves the samplings the time they need. Both are tried on the recipe of one token a step,
 * whose programs are the largest.
 */
async function affordableSteps(
  common: Common,
  { minutes, samples }: StudySettings,
  table: readonly Experiment[],
  since: number,
): Promise<number> {
  const folder = await Deno.makeTempDir();
  try {
    const { config } = common;
    const training = { ...config.training, steps: trialSteps, logEvery: trialSteps / 2 };
    const recipe = "random-N-cosine";
    const model = await trainModel({ ...common, config: { ...config, training } }, recipe, folder);
    const stepMs = (await readMetrics(`${folder}/metrics.jsonl`)).at(-1)!.ms;

    const tokens = tokensOf(config.model);
    const images = Math.min(80, samples);
    const each = { order: "random", schedule: "cosine", steps: tokens } as const;
    let sampleMs = 0;
    for (let i = 0; i < 2; i++) { // the first time compiles
      const time = performance.now();
      await draw(common, recipe, model, each, images);
      sampleMs = (performance.now() - time) / images;
    }
    const sampled = table.flatMap(({ samplings }) => samplings)
      .reduce((sum, { steps }) => sum + samples * sampleMs * Math.max(0.3, steps / tokens), 0);
    const left = minutes * 60_000 - (performance.now() - since) - sampled;
    return Math.max(trialSteps, Math.floor(left / table.length / stepMs));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Trains a recipe and measures its samples. */
async function conduct(
  common: Common,
  { recipe, samplings }: Experiment,
  folder: string,
  samples: number,
  options: StudyOptions,
): Promise<StudyResult> {
  const { features, reference } = common;
  const own = `${folder}/${recipe}`;
  const model = await trainModel(common, recipe, own, options);
  const measures: StudyResult["measures"] = {};
  const rows: Image[] = [];
  for (const [i, sampling] of samplings.entries()) {
    options.signal?.throwIfAborted();
    const images = await draw(common, recipe, model, sampling, samples);
    rows.push(...images.slice(0, common.data.classes));
    measures[samplingName(sampling)] = await measureSamples(
      features,
      asDataset(images, common.data.classes),
      reference,
    );
    options.onProgress?.({ stage: "samples", step: i + 1, steps: samplings.length });
  }
  await writePng(`${own}/samples.png`, imageGrid(rows, { columns: common.data.classes }));
  const losses = (await readMetrics(`${own}/metrics.jsonl`)).map(({ loss }) => loss);
  const last = losses.slice(-Math.ceil(losses.length / 10));
  return { recipe, loss: last.reduce((sum, loss) => sum + loss, 0) / last.length, measures };
}

/** Trains the model on a recipe. */
async function trainModel(
  { config, tokens }: Common,
  recipe: string,
  folder: string,
  { onProgress, signal }: StudyOptions = {},
): Promise<TrainedRun["model"]> {
  await Deno.mkdir(folder, { recursive: true });
  const own = { ...config, recipe: parseRecipe(recipe) };
  const stage = modelStage(own, tokens.count, () => Promise.resolve(tokens));
  return await train(stage, folder, onProgress, signal);
}

/** Samples of all classes in turn. */
async function draw(
  { config, tokenizer, data }: Common,
  recipe: string,
  model: TrainedRun["model"],
  sampling: StudySampling,
  count: number,
): Promise<Image[]> {
  const own = { ...config, recipe: parseRecipe(recipe) };
  const labels = Array.from({ length: count }, (_, i) => i % data.classes);
  const settings = { ...config.sampling, ...sampling };
  return await sampleImages({ config: own, tokenizer, model }, labels, settings, config.seed);
}

/** Samples of all classes in turn as a dataset. */
function asDataset(samples: readonly Image[], classes: number): ImageDataset {
  const { width, height } = samples[0]!;
  const images = new Uint8Array(samples.length * height * width);
  samples.forEach(({ data }, i) => images.set(data, i * height * width));
  const labels = Uint8Array.from(samples, (_, i) => i % classes);
  return { images, labels, count: samples.length, height, width, classes };
}
