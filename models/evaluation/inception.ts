/**
 * The Inception network that FID and Inception Score are defined by, declared from a table: the
 * TensorFlow graph of 2015-12-05 (`classify_image_graph_def.pb`), with the parameter names of its
 * conversion to PyTorch (`pt_inception-2015-12-05`, the state dict of pytorch-fid).
 *
 * Source: Szegedy et al., "Rethinking the Inception architecture for computer vision" (2016), with
 * that graph's own ways: averages leave the border out, the last pooling is a maximum, images are
 * resized without antialiasing.
 */
import { z } from "npm:zod@4.6.7";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { add, div, mul, sub } from "../../ops/arithmetic.ts";
import { relu } from "../../ops/activations.ts";
import { concat } from "../../ops/concat.ts";
import { conv2d } from "../../ops/conv2d/conv2d.ts";
import { take } from "../../ops/gather.ts";
import { matmul } from "../../ops/matmul/matmul.ts";
import { rsqrt } from "../../ops/math.ts";
import { averagePool2d, maxPool2d } from "../../ops/pool2d.ts";
import { mean } from "../../ops/reduce.ts";
import { reshape } from "../../ops/reshape.ts";
import { slice } from "../../ops/slice.ts";
import { softmax } from "../../ops/softmax.ts";
import { transpose } from "../../ops/transpose.ts";
import { Parameter } from "../layers/parameter.ts";
import { type Step, steps } from "./inception_steps.ts";

/** Zod schema of {@link InceptionConfig}. */
export const inceptionSchema = z.strictObject({
  kind: z.literal("inception").default("inception").describe("The Inception-v3 of FID"),
  width: z.number().positive().max(1).default(1)
    .describe("Multiplies the channels of every layer; only 1 is the network of FID"),
  imageSize: z.int().min(75).default(299).describe("Rows and columns that images are resized to"),
  classes: z.int().positive().default(1008).describe("Number of logits"),
}).describe("Inception-v3");

/** An Inception network as data. */
export type InceptionConfig = z.output<typeof inceptionSchema>;

/** What makes one: any of its fields. */
export type InceptionInput = z.input<typeof inceptionSchema>;

/**
 * A checked Inception network.
 *
 * @param config Any of the fields of {@link InceptionConfig}; by default the network of FID.
 * @returns The model.
 * @throws {z.ZodError} If a field is unknown or has no valid value.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { inception, inceptionParameters } from "./inception.ts";
 *
 * const parameters = inceptionParameters(inception());
 * assertEquals(parameters["Mixed_6d.branch7x7_2.conv.weight"].shape, [160, 160, 1, 7]);
 * assertEquals(parameters["fc.weight"].shape, [1008, 2048]);
 * ```
 */
export function inception(config: InceptionInput = {}): InceptionConfig {
  return inceptionSchema.parse(config);
}

/** The layer whose first channels are the spatial features: `mixed_6/conv` in TensorFlow's graph. */
const SPATIAL = { layer: "Mixed_6d.branch1x1", channels: 7 } as const;

/** Added to the variance in batch normalization. */
const EPSILON = 0.001;

function scaled({ width }: InceptionConfig, channels: number): number {
  return Math.max(1, Math.round(channels * width));
}

/**
 * The parameters of the network, by the names of the state dict of pytorch-fid.
 *
 * @param model The model.
 * @returns Shapes and first values by name.
 */
export function inceptionParameters(model: InceptionConfig): Record<string, Parameter> {
  const parameters: Record<string, Parameter> = {};
  const declare = (step: Step, inputs: number): number => {
    if ("pool" in step) return inputs;
    if ("branches" in step) {
      return step.branches
        .map((branch) => branch.reduce((channels, inner) => declare(inner, channels), inputs))
        .reduce((sum, channels) => sum + channels);
    }
    const { name, kernel } = step, outputs = scaled(model, step.channels);
    const deviation = Math.sqrt(2 / (inputs * kernel[0] * kernel[1]));
    parameters[`${name}.conv.weight`] = new Parameter([outputs, inputs, ...kernel], {
      normal: deviation,
    });
    parameters[`${name}.bn.weight`] = new Parameter([outputs], "ones");
    parameters[`${name}.bn.bias`] = new Parameter([outputs], "zeros");
    parameters[`${name}.bn.running_mean`] = new Parameter([outputs], "zeros");
    parameters[`${name}.bn.running_var`] = new Parameter([outputs], "ones");
    return outputs;
  };
  const features = steps.reduce((channels, step) => declare(step, channels), 3);
  parameters["fc.weight"] = new Parameter([model.classes, features], {
    normal: 1 / Math.sqrt(features),
  });
  parameters["fc.bias"] = new Parameter([model.classes], "zeros");
  return parameters;
}

/** The network's weights with batch normalization folded into the convolutions. */
export interface FoldedInception {
  /** Kernel and bias of each convolution, by name. */
  readonly convolutions: Readonly<Record<string, { weight: Tensor; bias: Tensor }>>;
  /** Weights of the logits [classes, D]; Inception Score is defined without their bias. */
  readonly logits: Tensor;
}

/**
 * Folds batch normalization, with the statistics that it holds, into the convolutions.
 *
 * @param params The state dict, with the names of {@linkcode inceptionParameters}.
 * @returns The folded weights.
 */
export function foldBatchNorm(params: Readonly<Record<string, Tensor>>): FoldedInception {
  const suffix = ".conv.weight";
  const names = Object.keys(params).filter((name) => name.endsWith(suffix))
    .map((name) => name.slice(0, -suffix.length));
  const convolutions = names.map((name) => {
    const norm = (field: string) => params[`${name}.bn.${field}`]!;
    const scale = mul(norm("weight"), rsqrt(add(norm("running_var"), EPSILON)));
    const weight = mul(params[name + suffix]!, reshape(scale, [-1, 1, 1, 1]));
    return [name, { weight, bias: sub(norm("bias"), mul(norm("running_mean"), scale)) }] as const;
  });
  return { convolutions: Object.fromEntries(convolutions), logits: params["fc.weight"]! };
}

/** What the network says of images. */
export interface InceptionOutputs {
  /** Features of FID, `pool_3` [B, D]. */
  readonly pooled: Tensor;
  /** Features of sFID, the first 7 channels of `mixed_6/conv` [B, 7 · h · w]. */
  readonly spatial: Tensor;
  /** Class probabilities of Inception Score, of the logits without bias [B, classes]. */
  readonly probabilities: Tensor;
}

/**
 * Runs the network.
 *
 * @param model The model.
 * @param weights Its weights, folded.
 * @param images RGB images [B, H, W, 3] of values 0..255.
 * @returns Features and probabilities.
 */
export function applyInception(
  model: InceptionConfig,
  weights: FoldedInception,
  images: Tensor,
): InceptionOutputs {
  let spatial: Tensor | undefined;
  const run = (x: Tensor, step: Step): Tensor => {
    if ("pool" in step) {
      const options = { size: 3, stride: step.stride, padding: step.stride === 1 ? 1 : 0 };
      return step.pool === "max"
        ? maxPool2d(x, options)
        : averagePool2d(x, { ...options, countPadding: false });
    }
    if ("branches" in step) {
      return concat(step.branches.map((branch) => branch.reduce(run, x)), { axis: 1 });
    }
    const { name, stride, padding: [rows, columns] } = step;
    const { weight, bias } = weights.convolutions[name]!;
    const y = relu(conv2d(x, weight, { stride, padding: [rows, rows, columns, columns], bias }));
    if (name === SPATIAL.layer) spatial = slice(y, [null, [0, SPATIAL.channels]]);
    return y;
  };
  const channelsFirst = transpose(images, [0, 3, 1, 2]);
  const resized = resizeBilinear(channelsFirst, model.imageSize);
  const maps = steps.reduce(run, div(sub(resized, 128), 128));
  const pooled = mean(maps, { axes: [2, 3] });
  return {
    pooled,
    spatial: reshape(spatial!, [images.shape[0]!, -1]),
    probabilities: softmax(matmul(pooled, transpose(weights.logits))),
  };
}

/**
 * Resizes images as TensorFlow's `ResizeBilinear` does by default: place `i` of `n` lies at
 * `i · length / n` (not at the pixels' centers), between two pixels, without antialiasing.
 *
 * @param images Images [B, C, H, W].
 * @param size Rows and columns of the result.
 * @returns Images [B, C, size, size].
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../../lib/tensor.ts";
 * import { resizeBilinear } from "./inception.ts";
 *
 * const image = tensor([[[[0, 4], [8, 12]]]]);
 * const [[rows]] = await resizeBilinear(image, 4).toArray() as number[][][][];
 * assertEquals(rows, [[0, 2, 4, 4], [4, 6, 8, 8], [8, 10, 12, 12], [8, 10, 12, 12]]);
 * ```
 */
export function resizeBilinear(images: Tensor, size: number): Tensor {
  const along = (x: Tensor, axis: 2 | 3): Tensor => {
    const length = x.shape[axis]!;
    if (length === size) return x;
    const scale = Math.fround(length / size);
    const places = Float32Array.from({ length: size }, (_, i) => i * scale);
    const index = (place: number) => Math.min(Math.floor(place), length - 1);
    const below = take(x, tensor(Int32Array.from(places, index)), { axis });
    const above = take(x, tensor(Int32Array.from(places, (place) => index(place + 1))), { axis });
    const share = tensor(places.map((place) => place - Math.floor(place)), {
      shape: axis === 2 ? [size, 1] : [size],
    });
    return add(below, mul(sub(above, below), share));
  };
  return along(along(images, 3), 2);
}
