/** `evaluate`: samples of a run, of a folder or a file against reference images. */
import { dirname } from "node:path";
import { openMpi } from "../lib/distributed/mpi.ts";
import type { ImageDataset } from "../models/data/dataset.ts";
import { loadClassifier } from "../models/evaluation/classifier.ts";
import { classifierAccuracy, classifierOf } from "../models/evaluation/classifier_training.ts";
import {
  datasetImages,
  type ImageSet,
  openImages,
  writeImages,
} from "../models/evaluation/images.ts";
import {
  evaluate,
  type Evaluation,
  type EvaluationProgress,
} from "../models/evaluation/evaluate.ts";
import type { FeatureExtractor } from "../models/evaluation/features.ts";
import { loadFeatures } from "../models/evaluation/load_features.ts";
import {
  evaluateReconstruction,
  type ReconstructionQuality,
} from "../models/evaluation/reconstruction.ts";
import { openReconstructor } from "../models/reconstruct.ts";
import { loadData, loadHeldOut } from "../models/training/data.ts";
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
  readonly reconstruction?: boolean;
}

/** The most images of a run's data that are a reference. */
const mostReferences = 10_000;

/** Evaluates samples, or reconstructions, and prints the measures. */
export async function evaluateCommand(samples: string, options: EvaluateOptions): Promise<void> {
  const { reference = samples } = options;
  if (options.reconstruction) return await evaluateReconstructions(samples, options);
  for (const path of [samples, reference]) await checked(() => Deno.stat(path));
  if (options.reference === undefined && !await isRun(samples)) {
    throw new UsageError("required option '--reference <run|folder|npz>' not specified");
  }
  using progress = showProgress();
  const features = await featuresFor(samples, reference, options, progress);
  const wanted = await isRun(samples) ? await sampleRun(samples, options, progress) : samples;
  const compared = await isRun(reference) ? await imagesOfRun(reference) : reference;
  const result = await checkedFiles(() =>
    evaluate({ samples: wanted, reference: compared, features, ...settingsOf(options, progress) })
  );
  console.log(options.json ? JSON.stringify(result, null, 2) : describe(result));
}

/** Evaluates what a tokenizer gives back of images it was not trained on, where there are such, and prints the measures. */
async function evaluateReconstructions(path: string, options: EvaluateOptions): Promise<void> {
  const { reference = path, count } = options;
  for (const used of [path, reference]) await checked(() => Deno.stat(used));
  if (options.reference === undefined && !await isRun(path)) {
    throw new UsageError("required option '--reference <run|folder|npz>' not specified");
  }
  using progress = showProgress();
  const features = await featuresFor(path, reference, options, progress);
  const { vocabulary, reconstruct } = await checkedFiles(() => openReconstructor(path));
  const originals = await isRun(reference) ? await heldOutOfRun(reference, count) : reference;
  const uses = new Float64Array(vocabulary ?? 0);
  const quality = await checkedFiles(() =>
    evaluateReconstruction({
      originals,
      features,
      async reconstruct(images) {
        const { data, codes = [] } = await reconstruct(images);
        for (const code of codes) uses[code]!++;
        return data;
      },
      ...settingsOf(options, progress),
    })
  );
  const ofRanks = openMpi().gather([...uses]);
  const all = uses.map((_, code) => ofRanks.reduce((sum, own) => sum + own[code]!, 0));
  const result = { ...quality, ...(vocabulary ? { codes: { vocabulary, ...useOf(all) } } : {}) };
  console.log(options.json ? JSON.stringify(result, null, 2) : describeReconstructions(result));
}

/** How many codes are used, and e to the entropy of their shares. */
function useOf(uses: Float64Array): { used: number; perplexity: number } {
  const total = uses.reduce((sum, count) => sum + count, 0);
  const shares = uses.filter((count) => count > 0).map((count) => count / total);
  const entropy = shares.reduce((sum, share) => sum - share * Math.log(share), 0);
  return { used: shares.length, perplexity: Math.exp(entropy) };
}

/** What both evaluations are told. */
function settingsOf(
  { size, batch: batchSize }: EvaluateOptions,
  progress: ProgressDisplay,
): Pick<Parameters<typeof evaluate>[0], "mpi" | "size" | "batchSize" | "onProgress"> {
  return {
    mpi: openMpi(),
    ...(size && { size }),
    ...(batchSize && { batchSize }),
    onProgress: ({ stage, done, total }) =>
      progress.report({ stage: stages[stage], step: done, steps: total }),
  };
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
  const { data } = config;
  if (data.source === "folder" || data.source === "codes") {
    throw new UsageError(
      `required option '--features <file>' not specified: no classifier is trained on a ${data.source}`,
    );
  }
  const path = `${run}/classifier.safetensors`;
  // Images for testing are held out from the classifier, whatever the run is trained on.
  const own = "split" in data ? { ...config, data: { ...data, split: "train" as const } } : config;
  return await checkedFiles(() =>
    firstAlone(openMpi(), async () => {
      const isNew = !await exists(path);
      const features = await classifierOf(path, await loadData(own), (step, steps) => {
        progress.report({ stage: "classifier", step, steps });
      });
      if (isNew) await reportAccuracy(path, await loadHeldOut(own));
      return features;
    })
  );
}

/** Says how often a new classifier is right: how far its features may be trusted. */
async function reportAccuracy(path: string, heldOut: ImageDataset | undefined): Promise<void> {
  if (!heldOut) return;
  const { model, params } = await loadClassifier(path);
  const accuracy = await classifierAccuracy(model, params, heldOut);
  const images = heldOut.count.toLocaleString("en-US");
  console.error(
    `${path}: a classifier, right for ${
      (100 * accuracy).toFixed(2)
    } % of ${images} held-out images`,
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
async function imagesOfRun(folder: string, most = mostReferences): Promise<ImageSet> {
  const config = await checked(() => readRunConfig(folder));
  const { data: source } = config;
  if (source.source === "folder") {
    return await checkedFiles(() => openImages(source.path, { size: source.size }));
  }
  const data = await checked(() => loadData(config));
  const count = Math.min(data.count, most);
  return datasetImages(data, { name: `data of ${folder}`, count });
}

/** Images of a run's source that it is not trained on; where there are none, those of its training. */
async function heldOutOfRun(folder: string, most: number): Promise<ImageSet> {
  const config = await checked(() => readRunConfig(folder));
  const heldOut = await checkedFiles(() => loadHeldOut(config));
  if (!heldOut) return await imagesOfRun(folder, most);
  const count = Math.min(heldOut.count, most);
  return datasetImages(heldOut, { name: `held-out data of ${folder}`, count });
}

function number(value: number | undefined, digits: number): string {
  return value === undefined ? "-" : value.toFixed(digits);
}

function describeReconstructions(
  { features, fid, psnr, ssim, counts, codes }: ReconstructionQuality & {
    readonly codes?: { vocabulary: number; used: number; perplexity: number };
  },
): string {
  return table([
    ["features", features],
    ["images", `${counts.samples}`],
    ["rFID", number(fid, 3)],
    ["PSNR", `${number(psnr, 2)} dB`],
    ["SSIM", number(ssim, 4)],
    ...(codes
      ? [[
        "codes",
        `${codes.used} of ${codes.vocabulary}, perplexity ${number(codes.perplexity, 1)}`,
      ]]
      : []),
  ]);
}

function describe(result: Evaluation): string {
  const { features, fid, sfid, inceptionScore, precision, recall, counts } = result;
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
