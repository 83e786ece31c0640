/** Evaluation of samples against reference images, by the measures of ADM's suite. */
import { ensureDevice } from "../../lib/device.ts";
import { inTurn } from "../../lib/distributed/in_turn.ts";
import { alone, type Mpi } from "../../lib/distributed/mpi.ts";
import { openNpz, writeNpz } from "../../lib/formats/npz.ts";
import type { FeatureExtractor } from "./features.ts";
import { type FolderOptions, type ImageSet, openImages, type Pixels } from "./images.ts";
import { addProbabilities, inceptionScore, noScore, type ScoreSums } from "./inception_score.ts";
import { type FeatureRows, precisionAndRecall } from "./precision_recall.ts";
import {
  addFeatures,
  frechetDistance,
  type Gaussian,
  gaussianOf,
  type Moments,
  noMoments,
} from "./statistics.ts";

/** How far an evaluation is. */
export interface EvaluationProgress {
  /** What is being done. */
  readonly stage: "reference" | "samples" | "precision and recall" | "distances";
  /** How much of it is done: images, pairs of blocks, distances. */
  readonly done: number;
  /** How much there is. */
  readonly total: number;
}

/** What is evaluated, and how. */
export interface EvaluateOptions extends FolderOptions {
  /** A folder, a `.npz` file, or a set of images. */
  readonly samples: string | ImageSet;
  /**
   * The same for the reference; a `.npz` file may hold statistics (`mu`, `sigma`, `mu_s`, `sigma_s`)
   * beside its images or in place of them, which then define FID and sFID if they are of the
   * extractor's size.
   */
  readonly reference: string | ImageSet;
  /** The network whose features are compared. */
  readonly features: FeatureExtractor;
  /** Images in a batch (default 64). */
  readonly batchSize?: number;
  /** Images in a split of Inception Score (default 5000). */
  readonly splitSize?: number;
  /** Neighbors in precision and recall (default 3). */
  readonly neighbors?: number;
  /** The processes that share the work, all of which call this; by default this one alone. */
  readonly mpi?: Mpi;
  /** Told after each batch. */
  onProgress?(progress: EvaluationProgress): void;
}

/** The result of an evaluation. */
export interface Evaluation {
  /** The name of the features; numbers of different features must not be compared. */
  readonly features: string;
  /** Fréchet distance of the pooled features; lower is better. */
  readonly fid: number;
  /** Fréchet distance of the spatial features; missing if the reference has no statistics of them. */
  readonly sfid?: number;
  /** Inception Score of the samples; higher is better. */
  readonly inceptionScore: number;
  /** Share of samples that look like reference images; missing if the reference has no images. */
  readonly precision?: number;
  /** Share of reference images that samples look like; missing if the reference has no images. */
  readonly recall?: number;
  /** Numbers of images. */
  readonly counts: { readonly samples: number; readonly reference: number };
}

/** A set of images as the measures see it. */
interface Described {
  readonly rows: FeatureRows;
  readonly pooled: Moments;
  readonly spatial: Moments;
  readonly score: ScoreSums;
}

/**
 * Evaluates samples: FID, sFID, Inception Score, precision and recall, as ADM's `evaluator.py`
 * defines them when the features are those of Inception.
 *
 * Source: Dhariwal and Nichol, "Diffusion models beat GANs on image synthesis" (2021); Nash et al.,
 * "Generating images with sparse representations" (2021) for sFID.
 *
 * @param options Samples, reference, features; see {@link EvaluateOptions}.
 * @returns The measures.
 * @throws {RangeError} If there are too few images for a measure.
 * @throws {TypeError} If a file does not hold images.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { key } from "../../ops/random.ts";
 * import { createParameters } from "../layers/parameter.ts";
 * import { generateShapes } from "../data/shapes.ts";
 * import { classifier, classifierFeatures, classifierParameters } from "./classifier.ts";
 * import { evaluate } from "./evaluate.ts";
 * import { datasetImages } from "./images.ts";
 *
 * const model = classifier({ height: 8, width: 8, classes: 3, channels: 2, features: 4 });
 * const features = classifierFeatures(model, createParameters(classifierParameters(model), key(0)));
 * const shapes = datasetImages(generateShapes({ count: 12, size: 8, classes: 3, seed: 0 }));
 * const { fid, precision } = await evaluate({ samples: shapes, reference: shapes, features });
 * assert(fid < 1e-6 && precision === 1);
 * ```
 */
export async function evaluate(options: EvaluateOptions): Promise<Evaluation> {
  await ensureDevice();
  const { features, mpi, neighbors = 3, onProgress } = options;
  const samples = await describeImages(
    await openImages(options.samples, options),
    options,
    "samples",
  );
  const stored = await storedStatistics(options.reference, samples);
  const reference = stored && !stored.hasImages ? undefined : await describeImages(
    await openImages(options.reference, options),
    options,
    "reference",
  );
  const shares = reference && await precisionAndRecall(reference.rows, samples.rows, {
    neighbors,
    mpi,
    onProgress: (done, total) => onProgress?.({ stage: "precision and recall", done, total }),
  });
  onProgress?.({ stage: "distances", done: 0, total: 2 });
  const fid = frechetDistance(
    gaussianOf(samples.pooled),
    stored?.pooled ?? gaussianOf(reference!.pooled),
  );
  onProgress?.({ stage: "distances", done: 1, total: 2 });
  const place = stored ? stored.spatial : gaussianOf(reference!.spatial);
  const sfid = place && frechetDistance(gaussianOf(samples.spatial), place);
  onProgress?.({ stage: "distances", done: 2, total: 2 });
  return {
    features: features.name,
    fid,
    ...(sfid !== undefined && { sfid }),
    inceptionScore: inceptionScore(samples.score),
    ...shares,
    counts: { samples: samples.pooled.count, reference: reference?.pooled.count ?? 0 },
  };
}

/** Runs the extractor over a set of images. */
async function describeImages(
  images: ImageSet,
  { features, batchSize = 64, splitSize, onProgress, mpi = alone }: EvaluateOptions,
  stage: "reference" | "samples",
): Promise<Described> {
  let described: Described | undefined;
  let done = 0;
  const extract = async (batch: Pixels) => ({
    count: batch.count,
    ...await features.extract(batch),
  });
  for await (const batch of inTurn(images.batches(batchSize), extract, mpi)) {
    const { pooled, spatial, probabilities } = batch;
    const size = pooled.length / batch.count;
    described ??= {
      rows: { size, data: new Float32Array(images.count * size) },
      pooled: noMoments(size),
      spatial: noMoments(spatial.length / batch.count),
      score: noScore(probabilities.length / batch.count, splitSize),
    };
    described.rows.data.set(pooled, done * size);
    addFeatures(described.pooled, pooled);
    addFeatures(described.spatial, spatial);
    addProbabilities(described.score, probabilities);
    done += batch.count;
    onProgress?.({ stage, done, total: images.count });
  }
  if (!described) {
    throw new RangeError(`evaluate: expected images in ${images.name} but found none`);
  }
  return described;
}

interface StoredStatistics {
  readonly pooled: Gaussian;
  readonly spatial?: Gaussian;
  readonly hasImages: boolean;
}

/** The statistics in a `.npz` file, if they are of features like those of the samples. */
async function storedStatistics(
  source: string | ImageSet,
  samples: Described,
): Promise<StoredStatistics | undefined> {
  if (typeof source !== "string" || !source.endsWith(".npz")) return undefined;
  await using file = await openNpz(source);
  const read = async (mean: string, covariance: string, size: number) => {
    const shapes = [file.entries.get(mean)?.shape, file.entries.get(covariance)?.shape];
    if (String(shapes[0]) !== String([size]) || String(shapes[1]) !== String([size, size])) return;
    const [mu, sigma] = [await file.read(mean), await file.read(covariance)];
    return {
      mean: Float64Array.from(mu.data as Float64Array),
      covariance: Float64Array.from(sigma.data as Float64Array),
    };
  };
  const pooled = await read("mu", "sigma", samples.pooled.mean.length);
  if (!pooled) return undefined;
  const spatial = await read("mu_s", "sigma_s", samples.spatial.mean.length);
  return { pooled, spatial, hasImages: file.entries.has("arr_0") };
}

/**
 * Writes the statistics of images (`mu`, `sigma`, `mu_s`, `sigma_s`) to a `.npz` file that can be the
 * reference of an evaluation without the images, for FID and sFID.
 *
 * @param path Where the file goes.
 * @param options `reference`: the images; `features`, `batchSize`, `onProgress` as in `evaluate`.
 */
export async function writeStatistics(
  path: string,
  options: Omit<EvaluateOptions, "samples">,
): Promise<void> {
  await ensureDevice();
  const images = await openImages(options.reference, options);
  const described = await describeImages(images, { ...options, samples: images }, "reference");
  const arrays = ({ mean, covariance }: Gaussian, suffix: string) => ({
    [`mu${suffix}`]: { dtype: "f8" as const, shape: [mean.length], data: mean },
    [`sigma${suffix}`]: {
      dtype: "f8" as const,
      shape: [mean.length, mean.length],
      data: covariance,
    },
  });
  await writeNpz(path, {
    ...arrays(gaussianOf(described.pooled), ""),
    ...arrays(gaussianOf(described.spatial), "_s"),
  });
}
