/** How good samples are, by a classifier of the same data: distance of features, and classes that come out as asked. */
import type { ImageDataset } from "../data/dataset.ts";
import type { FeatureExtractor } from "../evaluation/features.ts";
import { datasetImages } from "../evaluation/images.ts";
import {
  addFeatures,
  frechetDistance,
  type Gaussian,
  gaussianOf,
  type Moments,
  noMoments,
} from "../evaluation/statistics.ts";
import type { Measure } from "./record.ts";

/** Images that are described together. */
const batchSize = 250;

/**
 * Describes images by features and classes.
 *
 * @param features The classifier.
 * @param images Gray images with classes.
 * @returns The Gaussian of their features, and the share of images in which the classifier sees their class.
 */
export async function describeImages(
  features: FeatureExtractor,
  images: ImageDataset,
): Promise<{ gaussian: Gaussian; accuracy: number }> {
  const { batches } = datasetImages(images);
  let moments: Moments | undefined;
  let done = 0, right = 0;
  for await (const batch of batches(batchSize)) {
    const { pooled, probabilities } = await features.extract(batch);
    addFeatures(moments ??= noMoments(pooled.length / batch.count), pooled);
    const classes = probabilities.length / batch.count;
    for (let i = 0; i < batch.count; i++, done++) {
      const row = probabilities.subarray(i * classes, (i + 1) * classes);
      right += Number(row.indexOf(Math.max(...row)) === images.labels[done]);
    }
  }
  if (!moments) throw new RangeError("describeImages: expected at least 2 images but found none");
  return { gaussian: gaussianOf(moments), accuracy: right / done };
}

/**
 * Measures samples.
 *
 * @param features The classifier.
 * @param samples Gray images with the classes that were asked for.
 * @param reference The Gaussian of the data's features.
 * @returns Their FID (by these features: to be compared with others of the same classifier only), and their accuracy.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { openDevice } from "../../lib/device.ts";
 * import { key } from "../../ops/random.ts";
 * import { generateShapes } from "../data/shapes.ts";
 * import { classifier, classifierFeatures, classifierParameters } from "../evaluation/classifier.ts";
 * import { createParameters } from "../layers/parameter.ts";
 * import { describeImages, measureSamples } from "./measure.ts";
 *
 * await openDevice("reference");
 * const model = classifier({ height: 8, width: 8, classes: 2, channels: 2, features: 4 });
 * const features = classifierFeatures(model, createParameters(classifierParameters(model), key(0)));
 * const data = generateShapes({ count: 6, size: 8, classes: 2, seed: 0 });
 * const { gaussian } = await describeImages(features, data);
 * const { fid, accuracy } = await measureSamples(features, data, gaussian);
 * assert(fid < 1e-6 && accuracy >= 0 && accuracy <= 1);
 * ```
 */
export async function measureSamples(
  features: FeatureExtractor,
  samples: ImageDataset,
  reference: Gaussian,
): Promise<Measure> {
  const { gaussian, accuracy } = await describeImages(features, samples);
  return { fid: frechetDistance(gaussian, reference), accuracy };
}
