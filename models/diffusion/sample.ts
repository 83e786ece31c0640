/** Sampling continuous tokens from the Fully Masked Transformer, set by set. */
import { foldIn as foldInKey } from "../../lib/random/threefry.ts";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { treeLeaves } from "../../lib/tree.ts";
import { jit } from "../../lib/transforms/jit.ts";
import { add } from "../../ops/arithmetic.ts";
import { less } from "../../ops/compare.ts";
import { stack } from "../../ops/concat.ts";
import { iota, zeros } from "../../ops/create.ts";
import { normal } from "../../ops/distributions.ts";
import { dynamicSlice, take } from "../../ops/gather.ts";
import { foldIn } from "../../ops/random.ts";
import { reshape } from "../../ops/reshape.ts";
import { updateSlice } from "../../ops/scatter/scatter.ts";
import { slice } from "../../ops/slice.ts";
import { where } from "../../ops/where.ts";
import { type Caches, emptyCaches, runSet, type SetInputs } from "../fmt/cached_set.ts";
import { tokenCount } from "../fmt/config.ts";
import {
  placesOf,
  planSampling,
  positionsInSlots,
  type SampleOptions,
} from "../fmt/sample_options.ts";
import { forBatch, scalar } from "../fmt/sampling_step.ts";
import { guidanceOf, type ScheduleOptions, temperatureOf } from "../fmt/schedules.ts";
import { planSteps, slotCount } from "../fmt/steps.ts";
import { affine } from "../layers/affine.ts";
import { invertOrder } from "../sar/order.ts";
import type { ContinuousFmtConfig, ContinuousFmtParameters } from "./fmt.ts";
import { denoise, type DenoiseOptions } from "./sample_tokens.ts";

/** What to sample, and how. B images of N tokens in K sets; the temperature is that of the noise. */
export interface ContinuousSampleOptions
  extends
    ScheduleOptions,
    Pick<SampleOptions, "labels" | "order" | "intervals" | "key" | "firstImage"> {
  /** Noise steps for each set, at most those of training (default 100). */
  readonly noiseSteps?: number;
  /** 1 (the default): ancestral sampling; 0: the deterministic DDIM; or between. */
  readonly eta?: DenoiseOptions["eta"];
  /** Tokens of the leading sets in sequence order f32 [B, n, C], n being where one of the sets ends. */
  readonly given?: Tensor;
  /** Called after each set; sampling goes on when its promise resolves. */
  readonly onStep?: (step: ContinuousProgress) => void | Promise<void>;
}

/** What is known after a step. */
export interface ContinuousProgress {
  /** Number of the set, from 1. */
  readonly set: number;
  /** Number of sets K. */
  readonly sets: number;
  /** How many tokens of each image are known. */
  readonly known: number;
  /** Reads the tokens by grid index [B·N·C], NaN for those not known yet. */
  tokens(): Promise<Float32Array>;
}

/**
 * Samples continuous tokens. For each set the encoder takes in the tokens of the set before, the decoder says something
 * of every place of the set, and the diffusion head draws its tokens from that. Image i gets the same tokens in
 * whatever batch it is.
 *
 * @param model The configuration.
 * @param params Its parameters.
 * @param options What to sample, and how.
 * @returns Tokens f32 [B, N, C] by grid index.
 * @throws {TypeError} If the labels, the order or the given tokens do not fit, or the key is missing.
 * @throws {RangeError} If the order is no permutation, the intervals do not add up to N, or an option is out of range.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice } from "../../lib/device.ts";
 * import { key } from "../../ops/random.ts";
 * import { init } from "../model.ts";
 * import { parseRecipe } from "../sar/recipe.ts";
 * import { drawSampling } from "../sar/sampling.ts";
 * import { continuousFmt } from "./fmt.ts";
 * import { sampleContinuous } from "./sample.ts";
 *
 * await openDevice("reference");
 * const grid = { height: 2, width: 2 };
 * const head = { channels: 3, width: 8, layers: 1 };
 * const model = continuousFmt({ grid, dim: 8, heads: 2, encoderLayers: 1, decoderLayers: 1, classes: 2, head });
 * const drawn = drawSampling(parseRecipe("random-2-random"), grid, [0, 1], 1);
 * const options = { labels: [0], ...drawn, noiseSteps: 3 };
 * assertEquals((await sampleContinuous(model, init(model, key(0)), options)).shape, [1, 4, 3]);
 * ```
 */
export async function sampleContinuous(
  model: ContinuousFmtConfig,
  params: ContinuousFmtParameters,
  options: ContinuousSampleOptions,
): Promise<Tensor> {
  const { labels, given, key, firstImage = 0, noiseSteps, eta } = options;
  if (!key) throw new TypeError("sampleContinuous: expected a key but found none");
  const { channels } = model.head;
  const images = labels.length;
  const known = given?.shape[1] ?? 0;
  const { onStep, ...planned } = options;
  const plan = planSampling(model, {
    ...planned,
    given: new Array<number>(images * known).fill(0),
  });
  const steps = planSteps(plan.intervals);
  const slots = slotCount(steps);
  const sets = placesOf(plan.intervals);
  const { guided } = plan.settings;
  const constants = { labels: plan.labels, positions: positionsInSlots(plan, slots) };
  const keys = tensor(
    Uint32Array.from(
      Array.from({ length: images }, (_, i) => foldInKey(key, firstImage + i)).flat(),
    ),
    { shape: [images, 2] },
  );
  const givenEnd = scalar(1 + known, "i32");

  let sequence = zeros([images, slots, channels]);
  if (given) sequence = updateSlice(sequence, given, scalar(1, "i32"), { axis: 1 });
  let caches = emptyCaches(model, guided ? 2 * images : images, slots);
  for (const [set, { encodeStart, decodeStart, size, window }] of steps.entries()) {
    const inputs = {
      ...constants,
      encodeStart: scalar(encodeStart, "i32"),
      decodeStart: scalar(decodeStart, "i32"),
      setEnd: scalar(decodeStart + size, "i32"),
    };
    const found = continuousSet(caches, model, params, sequence, inputs, window);
    caches = found.caches;
    if (decodeStart - 1 + size > known) {
      const noiseOf = (step: number) =>
        placeNoise(keys, scalar(step, "i32"), inputs.decodeStart, [slots, channels], window);
      const drawn = denoise(model.head, params.head, found.z, noiseOf, {
        steps: noiseSteps,
        eta,
        temperature: temperatureOf(options, sets[set]!),
        unconditional: found.unconditional,
        guidance: guidanceOf(options, sets[set]!),
      });
      sequence = writeSet(sequence, drawn, inputs.decodeStart, givenEnd);
    }
    const reached = sequence, places = decodeStart - 1 + size;
    await onStep?.({
      set: set + 1,
      sets: steps.length,
      known: places,
      tokens: async () =>
        vectorsByCell(await reached.data() as Float32Array, plan.orders, channels, places),
    });
  }
  for (const x of treeLeaves<Tensor>(caches)) x.dispose();
  const count = tokenCount(model);
  const rows = plan.orders.flatMap((order, image) =>
    Array.from(invertOrder(order), (place) => image * slots + 1 + place)
  );
  const flat = reshape(sequence, [images * slots, channels]);
  return reshape(take(flat, tensor(Int32Array.from(rows))), [images, count, channels]);
}

/** Known tokens of sequences by grid index, NaN for the others. */
function vectorsByCell(
  sequences: Float32Array,
  orders: readonly ArrayLike<number>[],
  channels: number,
  known: number,
): Float32Array {
  const count = orders[0]!.length, slots = sequences.length / (orders.length * channels);
  const cells = new Float32Array(orders.length * count * channels).fill(NaN);
  for (const [image, order] of orders.entries()) {
    for (let place = 0; place < known; place++) {
      const from = (image * slots + 1 + place) * channels;
      cells.set(
        sequences.subarray(from, from + channels),
        (image * count + order[place]!) * channels,
      );
    }
  }
  return cells;
}

/** The transformer over the rows of one set; the caches are donated and updated in place. */
const continuousSet = jit(
  function continuousSet(
    caches: Caches,
    model: ContinuousFmtConfig,
    params: ContinuousFmtParameters,
    sequence: Tensor,
    inputs: SetInputs,
    window: number,
  ): { caches: Caches; z: Tensor; unconditional?: Tensor } {
    const images = sequence.shape[0]!, rows = inputs.labels.shape[0]!;
    const tokens = dynamicSlice(sequence, inputs.encodeStart, window, { axis: 1 });
    const embedded = affine(params.token_projection, forBatch(tokens, rows));
    const { hidden, caches: grown } = runSet(model, params, caches, embedded, inputs);
    return {
      caches: grown,
      z: slice(hidden, [[0, images]]),
      unconditional: rows > images ? slice(hidden, [[images, null]]) : undefined,
    };
  },
  { donate: [0] },
);

/** Noise [B, window, C] that depends on image, step and slot only. */
const placeNoise = jit(function placeNoise(
  keys: Tensor,
  step: Tensor,
  decodeStart: Tensor,
  shape: readonly [slots: number, channels: number],
  window: number,
): Tensor {
  const noise = Array.from(
    { length: keys.shape[0]! },
    (_, image) => normal(foldIn(slice(keys, [image]), step), shape),
  );
  return dynamicSlice(stack(noise), decodeStart, window, { axis: 1 });
});

/** Writes drawn tokens into the sequence, but for those that are given; the sequence is donated. */
const writeSet = jit(
  function writeSet(sequence: Tensor, drawn: Tensor, start: Tensor, givenEnd: Tensor): Tensor {
    const window = drawn.shape[1]!;
    const isGiven = less(add(iota([1, window, 1], { axis: 1 }), start), givenEnd);
    const before = dynamicSlice(sequence, start, window, { axis: 1 });
    return updateSlice(sequence, where(isGiven, before, drawn), start, { axis: 1 });
  },
  { donate: [0] },
);
