/** Sampling from the Fully Masked Transformer, set by set, in any order and any intervals. */
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { treeLeaves } from "../../lib/tree.ts";
import { takeAlong } from "../../ops/gather.ts";
import { slice } from "../../ops/slice.ts";
import { invertOrder } from "../sar/order.ts";
import { emptyCaches } from "./cached_set.ts";
import { sampleByConfidence } from "./confidence.ts";
import { type FmtConfig, tokenCount } from "./config.ts";
import type { FmtParameters } from "./network.ts";
import {
  imageUniforms,
  masksOf,
  placesOf,
  planSampling,
  positionsInSlots,
  type SampleOptions,
  type SamplingPlan,
  slotsOf,
  tokensByCell,
} from "./sample_options.ts";
import { cachedStep, fullStep, scalar, type StepLogits } from "./sampling_step.ts";
import { guidanceOf, temperatureOf } from "./schedules.ts";
import { planSteps, slotCount } from "./steps.ts";

export type { SampleOptions, SampleProgress } from "./sample_options.ts";

/**
 * Samples images. For each set the encoder takes in the tokens of the set before (at first the condition), the decoder
 * predicts all tokens of the set at once, and these are drawn. Everything stays on the device; the host only queues
 * the steps. Source: the SAR paper (arXiv 2410.10511), algorithm 2.
 *
 * @param model The configuration.
 * @param params Its parameters.
 * @param options What to sample, and how.
 * @returns Tokens i32 [B, N] by grid index.
 * @throws {TypeError} If the labels, the order or the given tokens do not fit, or a key is missing.
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
 * import { fmt } from "./config.ts";
 * import { sample } from "./sample.ts";
 *
 * await openDevice("reference");
 * const grid = { height: 2, width: 3 };
 * const model = fmt({ grid, dim: 8, heads: 2, encoderLayers: 1, decoderLayers: 1, vocabulary: 5, classes: 2 });
 * const drawn = drawSampling(parseRecipe("random-3-random"), grid, [0, 1], 2);
 * const tokens = await sample(model, init(model, key(0)), { labels: [0, 1], ...drawn, guidance: 2 });
 * assertEquals(tokens.shape, [2, 6]);
 * ```
 */
export async function sample(
  model: FmtConfig,
  params: FmtParameters,
  options: SampleOptions,
): Promise<Tensor> {
  const plan = planSampling(model, options);
  if (options.decoding === "confidence") {
    return await sampleByConfidence(model, params, plan, options);
  }
  const { images, orders, intervals, settings } = plan;
  const count = tokenCount(model);
  const steps = planSteps(intervals);
  const slots = slotCount(steps);
  const { attention = "masked", cache = true, keepLogits = false } = options;
  const withCache = cache && attention === "masked";
  const places = placesOf(intervals);
  const constants = inSlots(plan, options, slots, count);
  const rows = settings.guided ? 2 * images : images;
  let state = {
    sequence: tensor(sequenceOf(plan, slots), { shape: [images, slots] }),
    caches: withCache ? emptyCaches(model, rows, slots) : { encoder: [], decoder: [], cross: [] },
  };
  for (const [set, step] of steps.entries()) {
    const inputs = {
      ...constants,
      encodeStart: scalar(step.encodeStart, "i32"),
      decodeStart: scalar(step.decodeStart, "i32"),
      setEnd: scalar(step.decodeStart + step.size, "i32"),
      guidance: scalar(guidanceOf(options, places[set]!), "f32"),
      temperature: scalar(temperatureOf(options, places[set]!), "f32"),
    };
    const stepSettings = { ...settings, keepLogits, window: step.window };
    let logits: StepLogits | undefined;
    if (withCache) {
      ({ state, logits } = cachedStep(state, model, params, inputs, stepSettings));
    } else {
      const masks = masksOf(intervals, attention, step.decodeStart);
      const result = fullStep(state.sequence, model, params, inputs, masks, stepSettings);
      state = { ...state, sequence: result.sequence };
      logits = result.logits;
    }
    const { sequence } = state;
    const known = step.decodeStart - 1 + step.size;
    await options.onStep?.({
      set: set + 1,
      sets: steps.length,
      known,
      async tokens() {
        const data = await sequence.data() as Int32Array;
        const sequences = orders.map((_, i) => data.subarray(i * slots + 1, (i + 1) * slots));
        return tokensByCell(sequences, orders, known);
      },
      logits: logits && treeOfSet(logits, step.size),
    });
  }
  for (const x of treeLeaves<Tensor>(state.caches)) x.dispose();
  const cells = orders.flatMap((order) => [...invertOrder(order)]).map((place) => place + 1);
  const found = tensor(Int32Array.from(cells), { shape: [images, count] });
  return takeAlong(state.sequence, found, { axis: 1 });
}

function treeOfSet({ raw, guided }: StepLogits, size: number): StepLogits {
  return { raw: slice(raw, [null, [0, size]]), guided: slice(guided, [null, [0, size]]) };
}

/** What all steps read. */
function inSlots(plan: SamplingPlan, options: SampleOptions, slots: number, count: number) {
  const uniforms = imageUniforms(options, count).map((row) => slotsOf(slots, 0, row));
  const isGiven = plan.decided.flatMap((row) =>
    slotsOf(slots, 0, row.map((token) => Number(token >= 0)))
  );
  return {
    labels: plan.labels,
    positions: positionsInSlots(plan, slots),
    uniforms: tensor(Float32Array.from(uniforms.flat()), { shape: [uniforms.length, slots] }),
    isGiven: tensor(isGiven, { shape: [plan.images, slots], dtype: "bool" }),
  };
}

/** Tokens by slot of all images, 0 where they are to be drawn. */
function sequenceOf({ decided }: SamplingPlan, slots: number): Int32Array {
  const known = decided.map((row) => row.map((token) => Math.max(token, 0)));
  return Int32Array.from(known.flatMap((row) => slotsOf(slots, 0, row)));
}
