/** Sampling from the Fully Masked Transformer, set by set, in any order and any intervals. */
import { foldIn, type Key, uniform } from "../../lib/random/threefry.ts";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { takeAlong } from "../../ops/gather.ts";
import { slice } from "../../ops/slice.ts";
import { checkIntervals } from "../sar/intervals.ts";
import { visibleCounts } from "../sar/masks.ts";
import { checkOrder, invertOrder } from "../sar/order.ts";
import { type FmtConfig, tokenCount } from "./config.ts";
import type { FmtParameters } from "./network.ts";
import {
  cachedStep,
  emptyCaches,
  fullStep,
  scalar,
  type StepInputs,
  type StepLogits,
  type StepMasks,
  type StepSettings,
} from "./sampling_step.ts";
import { planSteps, type SamplingStep, slotCount } from "./steps.ts";

/** What to sample, and how. B images of N tokens in K sets. */
export interface SampleOptions {
  /** Class ids [B]. */
  readonly labels: ArrayLike<number>;
  /** The order of the grid's cells: one for all images [N], or one for each [B·N]. */
  readonly order: ArrayLike<number>;
  /** Set sizes [K]. */
  readonly intervals: ArrayLike<number>;
  /** The random key; image i draws from its child `firstImage + i`. Not needed for greedy sampling. */
  readonly key?: Key;
  /** Number of the first image (default 0): a batch gives the same images as a part of a larger one. */
  readonly firstImage?: number;
  /** Whether the most likely token is always taken (default false). */
  readonly greedy?: boolean;
  /** Scale of classifier-free guidance; 1 (the default) is none. */
  readonly guidance?: number;
  /** `constant` (the default), or `linear`: from 1 up to `guidance` in step with the known tokens (MAR). */
  readonly guidanceSchedule?: "constant" | "linear";
  /** The logits are divided by it (default 1). */
  readonly temperature?: number;
  /** How many of the most likely tokens may be drawn; 0 (the default) for all. */
  readonly topK?: number;
  /** The probability that the tokens that may be drawn reach together; 1 (the default) for all. */
  readonly topP?: number;
  /** Tokens of the leading sets in sequence order [B·n], n being where one of the sets ends. */
  readonly given?: ArrayLike<number>;
  /**
   * `masked` (the default); `full-decoder`: queries of all sets see each other; `full`: so do all known
   * tokens. The latter two suit models trained with two sets, and run without caches.
   */
  readonly attention?: "masked" | "full-decoder" | "full";
  /** Whether keys and values are kept from step to step (default true); without, results are the same. */
  readonly cache?: boolean;
  /** Whether `onStep` gets logits (default false). */
  readonly keepLogits?: boolean;
  /** Called after each set; sampling goes on when its promise resolves. */
  readonly onStep?: (step: SampleProgress) => void | Promise<void>;
}

/** What is known after a step. */
export interface SampleProgress {
  /** Number of the set, from 1. */
  readonly set: number;
  /** Number of sets K. */
  readonly sets: number;
  /** How many tokens of each image are known. */
  readonly known: number;
  /** Reads the tokens by grid index [B·N], -1 for those not known yet. */
  tokens(): Promise<Int32Array>;
  /** With `keepLogits`: of the set's tokens, `raw` [B or 2B, s, V] (conditional half first) and `guided` [B, s, V]. */
  readonly logits?: StepLogits;
}

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
  const { steps, images, slots, orders, settings } = plan;
  const count = tokenCount(model);
  const rows = settings.guided ? 2 * images : images;
  const { attention = "masked", cache = true } = options;
  const withCache = cache && attention === "masked";
  let state = {
    sequence: tensor(plan.sequence, { shape: [images, slots] }),
    caches: withCache ? emptyCaches(model, rows, slots) : { encoder: [], decoder: [], cross: [] },
  };
  for (const [set, step] of steps.entries()) {
    const inputs: StepInputs = {
      ...plan.constants,
      encodeStart: scalar(step.encodeStart, "i32"),
      decodeStart: scalar(step.decodeStart, "i32"),
      setEnd: scalar(step.decodeStart + step.size, "i32"),
      guidance: scalar(guidanceAt(options, step, count), "f32"),
    };
    const stepSettings = { ...settings, window: step.window };
    let logits: StepLogits | undefined;
    if (withCache) {
      ({ state, logits } = cachedStep(state, model, params, inputs, stepSettings));
    } else {
      const masks = masksOf(options, step, count);
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
      tokens: async () => byCell(await sequence.data() as Int32Array, orders, slots, known),
      logits: logits && treeOfSet(logits, step.size),
    });
  }
  const places = orders.flatMap((order) => [...invertOrder(order)]).map((place) => place + 1);
  const found = tensor(Int32Array.from(places), { shape: [images, count] });
  return takeAlong(state.sequence, found, { axis: 1 });
}

function treeOfSet({ raw, guided }: StepLogits, size: number): StepLogits {
  return { raw: slice(raw, [null, [0, size]]), guided: slice(guided, [null, [0, size]]) };
}

/** Everything that is decided before the first step. */
function planSampling(model: FmtConfig, options: SampleOptions) {
  const count = tokenCount(model);
  const images = options.labels.length;
  const intervals = checkIntervals(options.intervals, count);
  const steps = planSteps(intervals);
  const slots = slotCount(steps);
  const labels = checkLabels(model, options.labels);
  const shared = options.order.length === count;
  const order = Array.from(options.order);
  if (!shared && order.length !== images * count) {
    throw new TypeError(
      `sample: expected order to hold ${count} cells, or ${
        images * count
      }, but found ${order.length}`,
    );
  }
  const orders = Array.from(
    { length: images },
    (_, i) => checkOrder(shared ? order : order.slice(i * count, (i + 1) * count), count),
  );
  const { guidance = 1, greedy = false, temperature = 1, topK = 0, topP = 1 } = options;
  const guided = guidance !== 1;
  const given = givenTokens(options, intervals);

  // Slot 0 is the condition, at the position after the last cell.
  const tables = (shared ? orders.slice(0, 1) : orders).map((order) =>
    slotsOf(slots, count, order)
  );
  const positionRows = guided && !shared ? [...tables, ...tables] : tables;
  const uniforms = Array.from({ length: images }, (_, i) => {
    if (greedy) return new Float32Array(slots);
    if (!options.key) throw new TypeError("sample: expected a key but found none");
    const own = foldIn(options.key, (options.firstImage ?? 0) + i);
    return Float32Array.from(slotsOf(slots, 0, uniform(own, count)));
  });
  const settings: Omit<StepSettings, "window"> = {
    guided,
    greedy,
    temperature,
    topK,
    topP,
    keepLogits: options.keepLogits ?? false,
  };
  const nulls = new Array<number>(guided ? images : 0).fill(model.classes);
  return {
    steps,
    images,
    slots,
    orders,
    settings,
    sequence: Int32Array.from(given.rows.flatMap((row) => slotsOf(slots, 0, row))),
    constants: {
      labels: tensor(Int32Array.from([...labels, ...nulls])),
      positions: tensor(Int32Array.from(positionRows.flat()), {
        shape: [positionRows.length, slots],
      }),
      uniforms: tensor(Float32Array.from(uniforms.flatMap((row) => [...row])), {
        shape: [images, slots],
      }),
      givenEnd: scalar(1 + given.length, "i32"),
    },
  };
}

/** A row of slots: the condition's value, those of the places, and zeros. */
function slotsOf(slots: number, condition: number, places: ArrayLike<number>): number[] {
  const row = new Array<number>(slots).fill(0);
  row[0] = condition;
  for (let place = 0; place < places.length; place++) row[1 + place] = places[place]!;
  return row;
}

function checkLabels(model: FmtConfig, labels: ArrayLike<number>): number[] {
  return Array.from(labels, (label) => {
    if (!Number.isInteger(label) || label < 0 || label > model.classes) {
      throw new RangeError(
        `sample: expected labels in 0..${model.classes} but found ${label}`,
      );
    }
    return label;
  });
}

/** The given tokens of each image, checked to end where a set ends. */
function givenTokens(
  { given = [], labels }: SampleOptions,
  intervals: Int32Array,
): { length: number; rows: number[][] } {
  const length = given.length / labels.length;
  let end = 0;
  for (let set = 0; end < length && set < intervals.length; set++) end += intervals[set]!;
  if (end !== length) {
    throw new TypeError(
      `sample: expected given to hold whole leading sets of ${labels.length} images but found ${given.length} tokens for intervals ${
        intervals.join(", ")
      }`,
    );
  }
  const tokens = Array.from(given);
  return {
    length,
    rows: Array.from(labels, (_, i) => tokens.slice(i * length, (i + 1) * length)),
  };
}

function guidanceAt(options: SampleOptions, step: SamplingStep, count: number): number {
  const { guidance = 1, guidanceSchedule = "constant" } = options;
  const known = step.decodeStart - 1 + step.size;
  return guidanceSchedule === "constant" ? guidance : 1 + (guidance - 1) * known / count;
}

/** Masks of a step without caches. */
function masksOf(
  { intervals, attention = "masked" }: SampleOptions,
  { decodeStart }: SamplingStep,
  count: number,
): StepMasks {
  const masked = visibleCounts(intervals, {
    encoderTokens: count - 1,
    fullDecoder: attention !== "masked",
  });
  // Where later queries are seen, they must not know more than the tokens so far: `decodeStart` encoder rows.
  const cross = attention === "masked"
    ? masked.cross
    : masked.cross.map((visible) => Math.min(visible, decodeStart));
  const all = (length: number) => new Int32Array(length).fill(decodeStart);
  const row = (data: Int32Array) => tensor(data, { shape: [1, data.length] });
  return {
    encoderVisible: row(attention === "full" ? all(count) : masked.encoder),
    decoderVisible: row(masked.decoder),
    crossVisible: row(attention === "full" ? all(count) : cross),
  };
}

/** Known tokens of the sequences by grid index, -1 for the others. */
function byCell(
  sequence: Int32Array,
  orders: readonly Int32Array[],
  slots: number,
  known: number,
): Int32Array {
  const cells = orders.map((order, image) => {
    const tokens = new Int32Array(order.length).fill(-1);
    for (let place = 0; place < known; place++) {
      tokens[order[place]!] = sequence[image * slots + 1 + place]!;
    }
    return tokens;
  });
  return Int32Array.from(cells.flatMap((tokens) => [...tokens]));
}
