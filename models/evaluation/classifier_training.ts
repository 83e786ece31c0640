/** Training the classifier whose features are compared, and how often it is right. */
import { ensureDevice } from "../../lib/device.ts";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { jit } from "../../lib/transforms/jit.ts";
import { valueAndGrad } from "../../lib/transforms/vjp.ts";
import { crossEntropy } from "../../ops/cross_entropy.ts";
import { adamw } from "../../ops/optimizers/adamw.ts";
import { key } from "../../ops/random.ts";
import { mean } from "../../ops/reduce.ts";
import { epochOrder, type ImageDataset } from "../data/dataset.ts";
import { createParameters } from "../layers/parameter.ts";
import {
  applyClassifier,
  classifier,
  type ClassifierConfig,
  classifierFeatures,
  type ClassifierParameters,
  classifierParameters,
  loadClassifier,
  saveClassifier,
} from "./classifier.ts";
import type { FeatureExtractor } from "./features.ts";

/** How a classifier is trained. */
export interface ClassifierTraining {
  /** What first parameters and order follow from (default 0). */
  readonly seed?: number;
  /** Passes over the images (default 3). */
  readonly epochs?: number;
  /** Images in a batch (default 128); those that do not fill one are left out of an epoch. */
  readonly batchSize?: number;
  /** Learning rate of AdamW (default 1e-3). */
  readonly learningRate?: number;
  /** Told after each step; the loss is read from the device when asked for. */
  onStep?(step: number, total: number, loss: () => Promise<number>): void | Promise<void>;
}

/**
 * Trains a classifier. The same seed gives the same parameters on the same device.
 *
 * @param model The classifier.
 * @param dataset Gray images with classes, of the size and number of classes of the model.
 * @param options See {@link ClassifierTraining}.
 * @returns The parameters.
 * @throws {TypeError} If the dataset does not fit the model or has less than a batch.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { openDevice } from "../../lib/device.ts";
 * import { generateShapes } from "../data/shapes.ts";
 * import { classifier } from "./classifier.ts";
 * import { classifierAccuracy, trainClassifier } from "./classifier_training.ts";
 *
 * await openDevice("reference");
 * const dataset = generateShapes({ count: 32, size: 8, classes: 2, seed: 0 });
 * const model = classifier({ height: 8, width: 8, classes: 2, channels: 2, features: 4 });
 * const training = { epochs: 10, batchSize: 8, learningRate: 1e-2 };
 * const params = await trainClassifier(model, dataset, training);
 * assert(await classifierAccuracy(model, params, dataset) > 0.9);
 * ```
 */
export async function trainClassifier(
  model: ClassifierConfig,
  dataset: ImageDataset,
  options: ClassifierTraining = {},
): Promise<ClassifierParameters> {
  const { seed = 0, epochs = 3, batchSize = 128, learningRate = 1e-3, onStep } = options;
  const { height, width, classes } = model;
  const fits = dataset.height === height && dataset.width === width && dataset.classes <= classes;
  if (!fits || dataset.count < batchSize) {
    throw new TypeError(
      `trainClassifier: expected at least ${batchSize} images of ${height}×${width} in ${classes}` +
        ` classes but found ${dataset.count} of ${dataset.height}×${dataset.width} in` +
        ` ${dataset.classes}`,
    );
  }
  await ensureDevice();
  let params: ClassifierParameters = createParameters(classifierParameters(model), key(seed));
  let state = adamw.init(params);
  const step = jit(
    (p: ClassifierParameters, s: typeof state, images: Tensor, labels: Tensor) => {
      const objective = (q: ClassifierParameters) =>
        mean(crossEntropy(applyClassifier(q, images).logits, labels));
      const [loss, gradients] = valueAndGrad(objective)(p);
      return [loss, ...adamw.update(p, gradients, s, { learningRate })] as const;
    },
    { donate: [0, 1], name: "trainClassifier" },
  );
  const perEpoch = Math.floor(dataset.count / batchSize);
  for (let i = 0; i < epochs * perEpoch; i++) {
    const order = epochOrder(dataset.count, seed, Math.floor(i / perEpoch));
    const start = i % perEpoch * batchSize;
    const batch = order.subarray(start, start + batchSize);
    const [loss, p, s] = step(params, state, ...batchOf(dataset, batch));
    [params, state] = [p, s];
    await onStep?.(i + 1, epochs * perEpoch, () => loss.item());
  }
  return params;
}

/** How many images the classifier of a dataset sees in training, none more than 20 times. */
const imagesSeen = 64_000;

/**
 * The features of a classifier of a dataset, which is trained the first time and kept in a file.
 *
 * @param path The `.safetensors` file that it is kept in.
 * @param dataset Gray images with classes.
 * @param report Told after each step of the training.
 * @returns The extractor.
 * @throws {TypeError} If the file holds something else.
 */
export async function classifierOf(
  path: string,
  dataset: ImageDataset,
  report: (step: number, total: number) => void = () => {},
): Promise<FeatureExtractor> {
  try {
    const { model, params } = await loadClassifier(path);
    return classifierFeatures(model, params);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  const { height, width, classes, count } = dataset;
  const model = classifier({ height, width, classes });
  const params = await trainClassifier(model, dataset, {
    epochs: Math.min(20, Math.ceil(imagesSeen / count)),
    batchSize: Math.min(128, count),
    onStep: async (step, total, loss) => {
      if (step % 50 === 0) await loss(); // lets the device catch up
      report(step, total);
    },
  });
  await saveClassifier(path, model, params);
  return classifierFeatures(model, params);
}

/** Images [B, H, W] and classes [B] of some indices. */
function batchOf(
  { images, labels, height, width }: ImageDataset,
  indices: Uint32Array,
): [Tensor, Tensor] {
  const pixels = height * width;
  const values = new Float32Array(indices.length * pixels);
  indices.forEach((index, i) =>
    values.set(images.subarray(index * pixels, (index + 1) * pixels), i * pixels)
  );
  return [
    tensor(values, { shape: [indices.length, height, width] }),
    tensor(Int32Array.from(indices, (index) => labels[index]!)),
  ];
}

/**
 * The share of a dataset's images that a classifier finds the class of.
 *
 * @param model The classifier.
 * @param params Its parameters.
 * @param dataset Gray images with classes.
 * @param batchSize Images in a batch (default 256).
 * @returns The accuracy, in 0..1.
 */
export async function classifierAccuracy(
  model: ClassifierConfig,
  params: ClassifierParameters,
  dataset: ImageDataset,
  batchSize = 256,
): Promise<number> {
  await ensureDevice();
  const logits = jit((p: ClassifierParameters, images: Tensor) =>
    applyClassifier(p, images).logits
  );
  let right = 0;
  for (let start = 0; start < dataset.count; start += batchSize) {
    const indices = Uint32Array.from(
      { length: Math.min(batchSize, dataset.count - start) },
      (_, i) => start + i,
    );
    const scores = await logits(params, batchOf(dataset, indices)[0]).data();
    indices.forEach((index, i) => {
      const row = scores.subarray(i * model.classes, (i + 1) * model.classes);
      right += Number(row.indexOf(Math.max(...row)) === dataset.labels[index]);
    });
  }
  return right / dataset.count;
}
