/**
 * The diffusion head: in place of probabilities of token ids, a small network that removes noise from a continuous
 * token, given what the transformer says about its place.
 *
 * Source: Li et al., "Autoregressive image generation without vector quantization" (2024), section 3.2; the
 * variances of sampling are those of the noise schedule, not learned.
 */
import { z } from "npm:zod@4.6.7";
import { showShape } from "../../lib/shape.ts";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { silu } from "../../ops/activations.ts";
import { add, mul, sub } from "../../ops/arithmetic.ts";
import { cast } from "../../ops/cast.ts";
import { normal, randint } from "../../ops/distributions.ts";
import { embedding } from "../../ops/gather.ts";
import { layerNorm } from "../../ops/normalize.ts";
import { square } from "../../ops/power.ts";
import { foldIn } from "../../ops/random.ts";
import { mean } from "../../ops/reduce.ts";
import { reshape } from "../../ops/reshape.ts";
import { split } from "../../ops/slice.ts";
import { transpose } from "../../ops/transpose.ts";
import { type Affine, affine, affineParameters } from "../layers/affine.ts";
import type { Parameter } from "../layers/parameter.ts";
import { cosineNoise } from "./noise_schedule.ts";

const count = (initial: number, help: string) => z.int().positive().default(initial).describe(help);

/** Zod schema of {@link DiffusionHead}; every field has a default and a sentence of help. */
export const diffusionHeadSchema = z.strictObject({
  channels: count(16, "Numbers of a continuous token C"),
  width: count(1024, "Width of the denoising network"),
  layers: count(3, "Its residual layers"),
  steps: count(1000, "Noise steps of training T"),
  repeats: count(4, "How many noise steps are drawn for each token in a training step"),
  range: z.number().positive().default(5).describe(
    "Largest magnitude of a token's numbers, which sampling keeps to; tokens are best scaled to variance 1",
  ),
}).describe("Diffusion head of continuous tokens");

/** A diffusion head as data. */
export type DiffusionHead = z.output<typeof diffusionHeadSchema>;

/** What makes one: any of its fields. */
export type DiffusionHeadInput = z.input<typeof diffusionHeadSchema>;

/** The heads of MAR's published models, which have their names; their tokens have 16 channels. */
export const diffusionHeadPresets = {
  "MAR-B": { channels: 16, width: 1024, layers: 6 },
  "MAR-L": { channels: 16, width: 1280, layers: 8 },
  "MAR-H": { channels: 16, width: 1536, layers: 12 },
} as const satisfies Record<string, DiffusionHeadInput>;

/** Parameters of a residual layer. */
export interface DenoisingLayer<Leaf = Tensor> {
  readonly in: Affine<Leaf>;
  readonly out: Affine<Leaf>;
  /** From the condition to shift, scale and gate. */
  readonly modulation: Affine<Leaf>;
}

/** Parameters of the denoising network. */
export interface DiffusionHeadParameters<Leaf = Tensor> {
  readonly time: { readonly in: Affine<Leaf>; readonly out: Affine<Leaf> };
  readonly condition: Affine<Leaf>;
  readonly input: Affine<Leaf>;
  readonly layers: readonly DenoisingLayer<Leaf>[];
  readonly final: {
    /** From the condition to shift and scale. */
    readonly modulation: Affine<Leaf>;
    readonly out: Affine<Leaf>;
  };
}

/** Features of a noise step's number before the network embeds it. */
const timeFeatures = 256;

/**
 * Describes the parameters of a head.
 *
 * @param head The configuration.
 * @param dim Width d of the transformer's output.
 * @returns A tree with the shapes and first values as leaves. Gates and output start at 0.
 */
export function diffusionHeadParameters(
  { channels, width, layers }: DiffusionHead,
  dim: number,
): DiffusionHeadParameters<Parameter> {
  return {
    time: {
      in: affineParameters(timeFeatures, width, { normal: 0.02 }),
      out: affineParameters(width, width, { normal: 0.02 }),
    },
    condition: affineParameters(dim, width),
    input: affineParameters(channels, width),
    layers: Array.from({ length: layers }, () => ({
      in: affineParameters(width, width),
      out: affineParameters(width, width),
      modulation: affineParameters(width, 3 * width, "zeros"),
    })),
    final: {
      modulation: affineParameters(width, 2 * width, "zeros"),
      out: affineParameters(width, channels, "zeros"),
    },
  };
}

/**
 * Predicts the noise in tokens, computed in the type of the parameters.
 *
 * @param head The configuration.
 * @param params Its parameters.
 * @param x Tokens with noise [..., C].
 * @param time Numbers of their noise steps i32, of a shape that broadcasts to [...].
 * @param z The transformer's output for their places, of a shape that broadcasts to [..., d].
 * @returns The noise [..., C].
 */
export function predictNoise(
  head: DiffusionHead,
  params: DiffusionHeadParameters,
  x: Tensor,
  time: Tensor,
  z: Tensor,
): Tensor {
  const { dtype } = params.input.weight;
  const features = cast(embedding(timeTable(head.steps), time), dtype);
  const embeddedTime = affine(params.time.out, silu(affine(params.time.in, features)));
  const condition = silu(add(embeddedTime, affine(params.condition, z)));
  let h = affine(params.input, cast(x, dtype));
  for (const layer of params.layers) {
    const [shift, scale, gate] = modulation(layer.modulation, condition, 3);
    const inner = silu(affine(layer.in, modulate(h, shift!, scale!)));
    h = add(h, mul(gate!, affine(layer.out, inner)));
  }
  const [shift, scale] = modulation(params.final.modulation, condition, 2);
  return affine(params.final.out, modulate(h, shift!, scale!));
}

function modulation(layer: Affine, condition: Tensor, parts: number): Tensor[] {
  return split(affine(layer, condition), parts);
}

/** Adaptive normalization: mean 0 and variance 1, then shift and scale by the condition. */
function modulate(x: Tensor, shift: Tensor, scale: Tensor): Tensor {
  return add(mul(layerNorm(x, undefined, undefined, 1e-6), add(scale, 1)), shift);
}

/** Cosines and sines of the numbers of noise steps [T, features], as in Vaswani et al. (2017). */
function timeTable(steps: number): Tensor {
  const half = timeFeatures / 2;
  const table = Float32Array.from({ length: steps * timeFeatures }, (_, i) => {
    const time = Math.floor(i / timeFeatures), feature = i % timeFeatures;
    const angle = time * 10000 ** (-(feature % half) / half);
    return feature < half ? Math.cos(angle) : Math.sin(angle);
  });
  return tensor(table, { shape: [steps, timeFeatures] });
}

/**
 * The training loss of every token: the mean squared error of the predicted noise, over its channels and over `repeats`
 * noise steps drawn for it.
 *
 * Source: Ho et al., "Denoising diffusion probabilistic models" (2020), equation 14.
 *
 * @param head The configuration.
 * @param params Its parameters.
 * @param z The transformer's output [..., d].
 * @param target The tokens [..., C].
 * @param key A random key, or a list of keys [B, 2], one for each entry of the first axis.
 * @returns The losses [...].
 * @throws {TypeError} If the tokens have another shape.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { zeros } from "../../ops/create.ts";
 * import { key } from "../../ops/random.ts";
 * import { createParameters } from "../layers/parameter.ts";
 * import { diffusionHeadParameters, diffusionHeadSchema, diffusionLoss } from "./head.ts";
 *
 * const head = diffusionHeadSchema.parse({ channels: 2, width: 8, layers: 1 });
 * const params = createParameters(diffusionHeadParameters(head, 4), key(0));
 * assertEquals(diffusionLoss(head, params, zeros([3, 5, 4]), zeros([3, 5, 2]), key(1)).shape, [3, 5]);
 * ```
 */
export function diffusionLoss(
  head: DiffusionHead,
  params: DiffusionHeadParameters,
  z: Tensor,
  target: Tensor,
  key: Tensor,
): Tensor {
  const places = z.shape.slice(0, -1);
  const { channels, steps, repeats } = head;
  if (String(target.shape) !== String([...places, channels])) {
    throw new TypeError(
      `diffusionLoss: expected target to have shape ${showShape([...places, channels])} but found ${
        showShape(target.shape)
      }`,
    );
  }
  const rows = places.reduce((product, length) => product * length, 1);
  const drawn = (
    which: number,
    shape: number[],
    draw: (key: Tensor, shape: number[]) => Tensor,
  ) => {
    const own = foldIn(key, which);
    if (key.rank === 1) return draw(own, [repeats, rows, ...shape]);
    const images = key.shape[0]!;
    const ofImages = draw(own, [images, repeats, rows / images, ...shape]);
    const byRepeat = transpose(ofImages, [1, 0, 2, ...shape.map((_, axis) => 3 + axis)]);
    return reshape(byRepeat, [repeats, rows, ...shape]);
  };
  const time = drawn(0, [], (key, shape) => randint(key, shape, 0, steps));
  const noise = drawn(1, [channels], normal);
  const left = cosineNoise(steps);
  const shareOf = (share: (left: number) => number) =>
    embedding(tensor(Float32Array.from(left, share), { shape: [steps, 1] }), time);
  const noised = add(
    mul(shareOf(Math.sqrt), reshape(target, [1, rows, channels])),
    mul(shareOf((left) => Math.sqrt(1 - left)), noise),
  );
  const condition = reshape(z, [1, rows, z.shape.at(-1)!]);
  const predicted = predictNoise(head, params, noised, time, condition);
  const losses = mean(square(sub(predicted, noise)), { axes: [0, 2] });
  return reshape(losses, places);
}
