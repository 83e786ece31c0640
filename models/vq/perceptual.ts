/**
 * The perceptual distance LPIPS: how far apart the features of two images in the network VGG-16 are. Parameters have
 * the names of torchvision's VGG-16 (`features.0.weight`, …) and of LPIPS (`lin0.model.1.weight`, …).
 *
 * Source: Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric" (2018), section 3,
 * version 0.1 with the linear layers on VGG; Simonyan and Zisserman (2015), configuration D.
 */
import { showShape } from "../../lib/shape.ts";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { relu } from "../../ops/activations.ts";
import { add, div, mul, sub } from "../../ops/arithmetic.ts";
import { sqrt } from "../../ops/math.ts";
import { maxPool2d } from "../../ops/pool2d.ts";
import { square } from "../../ops/power.ts";
import { mean, sum } from "../../ops/reduce.ts";
import { reshape } from "../../ops/reshape.ts";
import { applyConv2d, conv2dParameters } from "../layers/conv2d.ts";
import { Parameter } from "../layers/parameter.ts";
import { openWeights, readParameters } from "../llamagen/weights.ts";

/** Channels of the convolutions of each level, between which the maximum of 2×2 is taken. */
const vgg16: readonly (readonly number[])[] = [
  [64, 64],
  [128, 128],
  [256, 256, 256],
  [512, 512, 512],
  [512, 512, 512],
];

/** A convolution and its place among torchvision's layers, which count activations and poolings too. */
interface Layer {
  readonly name: string;
  readonly inputs: number;
  readonly outputs: number;
}

/** The convolutions of each level. */
function layersOf(levels: readonly (readonly number[])[]): Layer[][] {
  let place = 0, inputs = 3;
  return levels.map((widths) => {
    const layers = widths.map((outputs) => {
      const layer = { name: `features.${place}`, inputs, outputs };
      [place, inputs] = [place + 2, outputs];
      return layer;
    });
    place++;
    return layers;
  });
}

/**
 * The parameters of the distance, by their names in files.
 *
 * @param levels Channels of the convolutions of each level (default those of VGG-16).
 * @returns Shapes and first values by name.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { countParameters } from "../layers/parameter.ts";
 * import { perceptualParameters } from "./perceptual.ts";
 *
 * assertEquals(countParameters(perceptualParameters()), 14_714_688 + 1472);
 * ```
 */
export function perceptualParameters(levels = vgg16): Record<string, Parameter> {
  const parameters: Record<string, Parameter> = {};
  for (const { name, inputs, outputs } of layersOf(levels).flat()) {
    const { weight, bias } = conv2dParameters(inputs, outputs, 3);
    parameters[`${name}.weight`] = weight;
    parameters[`${name}.bias`] = bias;
  }
  levels.forEach((widths, level) => {
    parameters[`lin${level}.model.1.weight`] = new Parameter([1, widths.at(-1)!, 1, 1], {
      uniform: 1,
    });
  });
  return parameters;
}

/**
 * The perceptual distance of images: the squared differences of their features, each of length 1 over the channels,
 * weighted by channel, as a mean over places and a sum over levels.
 *
 * @param params By the names of `perceptualParameters`.
 * @param a Images [B, 3, H, W] in -1..1, or gray ones [B, 1, H, W]; at least 16 pixels a side.
 * @param b As many others.
 * @param levels Channels of the network's convolutions (default those of VGG-16).
 * @returns The mean distance, a scalar.
 * @throws {TypeError} If images do not have 1 or 3 channels or are too small.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { ones } from "../../ops/create.ts";
 * import { key } from "../../ops/random.ts";
 * import { createParameters } from "../layers/parameter.ts";
 * import { perceptualDistance, perceptualParameters } from "./perceptual.ts";
 *
 * const levels = [[2], [3]];
 * const params = createParameters(perceptualParameters(levels), key(0));
 * const image = ones([1, 3, 4, 4]);
 * assertEquals(await perceptualDistance(params, image, image, levels).item(), 0);
 * ```
 */
export function perceptualDistance(
  params: Readonly<Record<string, Tensor>>,
  a: Tensor,
  b: Tensor,
  levels = vgg16,
): Tensor {
  const [ofA, ofB] = [a, b].map((images) => featuresOf(params, images, levels)) as [
    Tensor[],
    Tensor[],
  ];
  const distances = ofA.map((maps, level) => {
    const weights = reshape(params[`lin${level}.model.1.weight`]!, [-1, 1, 1]);
    return mean(sum(mul(square(sub(maps, ofB[level]!)), weights), { axes: 1 }));
  });
  return distances.reduce((total, distance) => add(total, distance));
}

/** Mean and deviation of the colors of images in -1..1, as LPIPS has them. */
const shift = [-0.030, -0.088, -0.188], scale = [0.458, 0.448, 0.450];

/** The features of each level after its last convolution [B, C, h, w], of length 1 over the channels. */
function featuresOf(
  params: Readonly<Record<string, Tensor>>,
  images: Tensor,
  levels: readonly (readonly number[])[],
): Tensor[] {
  const [, channels, height, width] = images.shape;
  const least = 2 ** (levels.length - 1);
  const isGray = channels === 1;
  if (images.rank !== 4 || !(isGray || channels === 3) || height! < least || width! < least) {
    throw new TypeError(
      `perceptualDistance: expected images [B, 1 or 3, H, W] of at least ${least} pixels a side but found shape ${
        showShape(images.shape)
      }`,
    );
  }
  const perColor = (values: number[]) => tensor(values, { shape: [3, 1, 1] });
  let x = div(sub(images, perColor(shift)), perColor(scale)); // gray becomes three colors here
  return layersOf(levels).map((layers, level) => {
    if (level > 0) x = maxPool2d(x, { size: 2 });
    for (const { name } of layers) {
      const layer = { weight: params[`${name}.weight`]!, bias: params[`${name}.bias`]! };
      x = relu(applyConv2d(layer, x));
    }
    // A root of exactly 0 would have no gradient.
    const norm = sqrt(add(sum(square(x), { axes: 1, keepDims: true }), 1e-20));
    return div(x, add(norm, 1e-10));
  });
}

/** Parts of torchvision's VGG-16 that the distance does not use. */
const unused = /^classifier\./;

/**
 * Loads the parameters of the perceptual distance from one file with both VGG-16's and LPIPS's weights, by the names
 * that they have in torchvision (`vgg16`, of which `classifier.*` is left out) and LPIPS (`weights/v0.1/vgg.pth`).
 *
 * @param path A `.safetensors` or `.pt` file.
 * @returns The parameters by name.
 * @throws {TypeError} If the file does not hold them; what is missing or unexpected is named.
 */
export async function loadPerceptual(path: string): Promise<Record<string, Tensor>> {
  await using file = await openWeights(path);
  const ignore = [...file.entries.keys()].filter((name) => unused.test(name));
  return await readParameters(perceptualParameters(), file, { source: path, ignore });
}
