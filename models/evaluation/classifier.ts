/** A small convolutional classifier whose features stand in for Inception's on small datasets. */
import { z } from "npm:zod@4.6.7";
import { openSafetensors, writeSafetensors } from "../../lib/formats/safetensors.ts";
import type { Tensor } from "../../lib/tensor.ts";
import { treeEntries } from "../../lib/tree.ts";
import { relu } from "../../ops/activations.ts";
import { add, div, sub } from "../../ops/arithmetic.ts";
import { matmul } from "../../ops/matmul/matmul.ts";
import { mean } from "../../ops/reduce.ts";
import { reshape } from "../../ops/reshape.ts";
import { slice } from "../../ops/slice.ts";
import { softmax } from "../../ops/softmax.ts";
import { transpose } from "../../ops/transpose.ts";
import { applyConv2d, type Conv2d, conv2dParameters } from "../layers/conv2d.ts";
import { Parameter } from "../layers/parameter.ts";
import { readParameters } from "../llamagen/weights.ts";
import { type FeatureExtractor, type Features, networkFeatures } from "./features.ts";

/** Zod schema of {@link ClassifierConfig}. */
export const classifierSchema = z.strictObject({
  kind: z.literal("classifier").default("classifier").describe("A small image classifier"),
  height: z.int().min(4).default(28).describe("Rows of pixels of an image"),
  width: z.int().min(4).default(28).describe("Columns of pixels of an image"),
  classes: z.int().positive().default(10).describe("Number of classes"),
  channels: z.int().positive().default(16).describe("Channels of the first layer"),
  features: z.int().positive().default(128).describe("Length of the feature vector"),
}).describe("Classifier");

/** A classifier as data. */
export type ClassifierConfig = z.output<typeof classifierSchema>;

/** A checked classifier; by default the one for MNIST and Fashion-MNIST. */
export function classifier(config: z.input<typeof classifierSchema> = {}): ClassifierConfig {
  return classifierSchema.parse(config);
}

/** A linear layer with bias. */
interface Dense<Leaf = Tensor> {
  readonly weight: Leaf;
  readonly bias: Leaf;
}

/** The parameters of a classifier. */
export interface ClassifierParameters<Leaf = Tensor> {
  /** Convolutions 3×3, all but the first with stride 2. */
  readonly convolutions: readonly Conv2d<Leaf>[];
  readonly hidden: Dense<Leaf>;
  readonly output: Dense<Leaf>;
}

/** How many of the last convolution's channels are spatial features, as in sFID. */
const SPATIAL_CHANNELS = 7;

/** Describes the parameters of a classifier. */
export function classifierParameters(model: ClassifierConfig): ClassifierParameters<Parameter> {
  const { channels, height, width, features, classes } = model;
  const dense = (inputs: number, outputs: number): Dense<Parameter> => ({
    weight: new Parameter([outputs, inputs], { uniform: 1 / Math.sqrt(inputs) }),
    bias: new Parameter([outputs], "zeros"),
  });
  const quarter = (length: number) => Math.ceil(Math.ceil(length / 2) / 2);
  return {
    convolutions: [
      conv2dParameters(1, channels, 3),
      conv2dParameters(channels, 2 * channels, 3),
      conv2dParameters(2 * channels, 4 * channels, 3),
    ],
    hidden: dense(4 * channels * quarter(height) * quarter(width), features),
    output: dense(features, classes),
  };
}

/**
 * Runs a classifier.
 *
 * @param params Its parameters.
 * @param images Gray images [B, H, W] of values 0..255.
 * @returns The last convolution's `maps` [B, C, h, w], the `pooled` features [B, D], the `logits`.
 */
export function applyClassifier(
  params: ClassifierParameters,
  images: Tensor,
): { maps: Tensor; pooled: Tensor; logits: Tensor } {
  const [batch, height, width] = images.shape as [number, number, number];
  const brightness = sub(div(images, 127.5), 1);
  const maps = params.convolutions.reduce(
    (x, layer, i) => relu(applyConv2d(layer, x, { stride: i === 0 ? 1 : 2 })),
    reshape(brightness, [batch, 1, height, width]),
  );
  const dense = ({ weight, bias }: Dense, x: Tensor) => add(matmul(x, transpose(weight)), bias);
  const pooled = relu(dense(params.hidden, reshape(maps, [batch, -1])));
  return { maps, pooled, logits: dense(params.output, pooled) };
}

/**
 * A classifier as extractor of features: the hidden layer, the first 7 channels of the last
 * convolution, the class probabilities. Colors are averaged to gray.
 *
 * @param model The classifier.
 * @param params Its parameters.
 * @returns The extractor.
 */
export function classifierFeatures(
  model: ClassifierConfig,
  params: ClassifierParameters,
): FeatureExtractor {
  const name = `classifier ${model.height}×${model.width}, ${model.classes} classes`;
  const extractor = networkFeatures(name, params, (weights, images): Features => {
    const { maps, pooled, logits } = applyClassifier(weights, mean(images, { axes: 3 }));
    const spatial = slice(maps, [null, [0, SPATIAL_CHANNELS]]);
    return {
      pooled,
      spatial: reshape(spatial, [images.shape[0]!, -1]),
      probabilities: softmax(logits),
    };
  });
  return {
    ...extractor,
    extract(images) {
      if (images.height === model.height && images.width === model.width) {
        return extractor.extract(images);
      }
      throw new TypeError(
        `${name}: expected images of ${model.height}×${model.width}` +
          ` but found ${images.height}×${images.width}`,
      );
    },
  };
}

/**
 * Saves a classifier: parameters as tensors, its configuration in the file's metadata.
 *
 * @param path Where the `.safetensors` file goes.
 * @param model The classifier.
 * @param params Its parameters.
 */
export async function saveClassifier(
  path: string,
  model: ClassifierConfig,
  params: ClassifierParameters,
): Promise<void> {
  const tensors = Object.fromEntries(
    treeEntries(params).map(([name, x]) => [name, {
      dtype: "F32" as const,
      shape: x.shape,
      data: async () => Float32Array.from(await x.data()),
    }]),
  );
  await writeSafetensors(path, tensors, { model: JSON.stringify(model) });
}

/**
 * Loads a classifier that {@linkcode saveClassifier} wrote.
 *
 * @param path The `.safetensors` file.
 * @returns The classifier and its parameters.
 * @throws {TypeError} If the file holds no classifier or other parameters than its configuration says.
 */
export async function loadClassifier(
  path: string,
): Promise<{ model: ClassifierConfig; params: ClassifierParameters }> {
  await using file = await openSafetensors(path);
  let model: ClassifierConfig;
  try {
    model = classifierSchema.parse(JSON.parse(file.metadata.model ?? "null"));
  } catch (cause) {
    throw new TypeError(`loadClassifier: expected ${path} to hold a classifier`, { cause });
  }
  const params = await readParameters(classifierParameters(model), file, { source: path });
  return { model, params };
}
