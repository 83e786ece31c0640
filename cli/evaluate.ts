/** `evaluate`: samples of a run, of a folder or a file against reference images. */
import { dirname } from "node:path";
import { openMpi } from "../lib/distributed/mpi.ts";
import {
  datasetImages,
  type ImageSet,
  openImages,
  writeImages,
} from "../models/evaluation/images.ts";
import { classifierOf } from "../models/evaluation/classifier_training.ts";
import {
  evaluate,
  type Evaluation,
  type EvaluationProgress,
} from "../models/evaluation/evaluate.ts";
import type { FeatureExtractor } from "../models/evaluation/features.ts";
import { loadFeatures } from "../models/evaluation/load_features.ts";
import { loadData } from "../models/training/data.ts";
import { firstAlone } from "../models/training/ranks.ts";
import { openRun, readRunConfig } from "../models/training/run.ts";
import { sampleImages } from "../models/training/samples.ts";
import { type Progress, type ProgressDisplay, showProgress } from "./progress.ts";
import { configWith, type SamplingOptions } from "./sample.ts";
import { table } from "./table.ts";
import { checked, checkedFiles, exists, UsageError } from "./usage.ts";

/** Options of `evaluate`. */
export interface EvaluateOptions extends SamplingOptions {
  readonly reference?: string;
  readonly features?: string;
  readonly count: number;
  readonly save?: string;
  readonly size?: number;
  readonly batch?: number;
  readonly json?: boolean;
}

/** The most images of a run's data that are a reference. */
const mostReferences = 10_000;

/** Evaluates samples and prints the measures. */
export async function evaluateCommand(samples: string, options: EvaluateOptions): Promise<void> {
  const { reference = samples } = options;
  for (const path of [samples, reference]) await checked(() => Deno.stat(path));
  if (options.reference === undefined && !await isRun(samples)) {
    throw new UsageError("required option '--reference <run|folder|npz>' not specified");
  }
  using progress = showProgress();
  const features = await featuresFor(samples, reference, options, progress);
  const wanted = await isRun(samples) ? await sampleRun(samples, options, progress) : samples;
  const compared = await isRun(reference) ? await imagesOfRun(reference) : reference;
  const { size, batch: batchSize } = options;
  const result = await checkedFiles(() =>
    evaluate({
      samples: wanted,
      reference: compared,
      features,
      mpi: openMpi(),
      ...(size && { size }),
      ...(batchSize && { batchSize }),
      onProgress: ({ stage, done, total }) =>
        progress.report({ stage: stages[stage], step: done, steps: total }),
    })
  );
  console.log(options.json ? JSON.stringify(result, null, 2) : describe(result));
}

const stages: Record<EvaluationProgress["stage"], Progress["stage"]> = {
  reference: "reference features",
  samples: "sample features",
  "precision and recall": "neighbors",
  distances: "distances",
};

function isRun(path: string): Promise<boolean> {
  return exists(`${path}/config.json`);
}

/** The network of `--features`, or a classifier of the run's data, which is trained once and kept with the run. */
async function featuresFor(
  samples: string,
  reference: string,
  { features }: EvaluateOptions,
  progress: ProgressDisplay,
): Promise<FeatureExtractor> {
  if (features !== undefined) return await checkedFiles(() => loadFeatures(features));
  const run = await isRun(samples) ? samples : reference;
  if (!await isRun(run)) {
    throw new UsageError(
      "required option '--features <file>' not specified: weights of Inception or of a classifier",
    );
  }
  const config = await checked(() => readRunConfig(run));
  if (config.data.source === "folder" || config.data.source === "codes") {
    throw new UsageError(
      `required option '--features <file>' not specified: no classifier is trained on a ${config.data.source}`,
    );
  }
  const data = await checked(() => loadData(config));
  return await checkedFiles(() =>
    firstAlone(
      openMpi(),
      () =>
        classifierOf(`${run}/classifier.safetensors`, data, (step, steps) => {
          progress.report({ stage: "classifier", step, steps });
        }),
    )
  );
}

/** Images sampled from a run, classes in turn, and saved if asked for. */
async function sampleRun(
  folder: string,
  options: EvaluateOptions,
  progress: ProgressDisplay,
): Promise<ImageSet> {
  const run = await checked(() => openRun(folder, options.checkpoint));
  const { sampling, seed, data } = await configWith(run, options);
  const labels = Array.from({ length: options.count }, (_, i) => i % data.classes);
  const images = await checked(() =>
    sampleImages(
      run,
      labels,
      sampling,
      seed,
      (step, steps) => progress.report({ stage: "samples", step, steps }),
      openMpi(),
    )
  );
  const { height, width, channels, data: { length } } = images[0]!;
  const pixels = new Uint8Array(images.length * length);
  images.forEach((image, i) => pixels.set(image.data, i * length));
  const dataset = { images: pixels, count: images.length, height, width, channels };
  const set = datasetImages(dataset, { name: `samples of ${folder}` });
  const { save } = options;
  if (save !== undefined && openMpi().rank === 0) {
    await checked(() => Deno.mkdir(dirname(save), { recursive: true }));
    await checked(() => writeImages(save, set, { labels }));
  }
  return set;
}

/** Images of a run's data: those of a folder all, others at most so many. */
async function imagesOfRun(folder: string): Promise<ImageSet> {
  const config = await checked(() => readRunConfig(folder));
  const { data: source } = config;
  if (source.source === "folder") {
    return await checkedFiles(() => openImages(source.path, { size: source.size }));
  }
  const data = await checked(() => loadData(config));
  const count = Math.min(data.count, mostReferences);
  return datasetImages(data, { name: `data of ${folder}`, count });
}

function describe(result: Evaluation): string {
  const { features, fid, sfid, inceptionScore, precision, recall, counts } = result;
  const number = (value: number | undefined, digits: number) =>
    value === undefined ? "-" : value.toFixed(digits);
  return table([
    ["features", features],
    ["images", `${counts.samples} samples, ${counts.reference || "statistics of"} reference`],
    ["FID", number(fid, 3)],
    ["sFID", number(sfid, 3)],
    ["Inception Score", number(inceptionScore, 3)],
    ["precision", number(precision, 4)],
    ["recall", number(recall, 4)],
  ]);
}
