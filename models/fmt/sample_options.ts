/** What sampling from the Fully Masked Transformer is asked for, checked and planned before the first step. */
import { foldIn, type Key, uniform } from "../../lib/random/threefry.ts";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { checkIntervals } from "../sar/intervals.ts";
import { visibleCounts } from "../sar/masks.ts";
import { checkOrder } from "../sar/order.ts";
import { type FmtBodyConfig, tokenCount } from "./config.ts";
import type { DrawSettings } from "./draw.ts";
import { isGuided, type ScheduleOptions, type SetPlace } from "./schedules.ts";
import type { StepLogits, StepMasks } from "./sampling_step.ts";

/** What to sample, and how. B images of N tokens in K sets. */
export interface SampleOptions extends ScheduleOptions {
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
  /** How many of the most likely tokens may be drawn; 0 (the default) for all. */
  readonly topK?: number;
  /** The probability that the tokens that may be drawn reach together; 1 (the default) for all. */
  readonly topP?: number;
  /** Tokens of the leading sets in sequence order [B·n], n being where one of the sets ends. */
  readonly given?: ArrayLike<number>;
  /**
   * Tokens by grid index [B·N] that are taken, each in its turn, instead of drawn ones; -1 where to draw. Sets before
   * theirs do not know them: where they should, they are to be `given`.
   */
  readonly fixed?: ArrayLike<number>;
  /**
   * `masked` (the default); `full-decoder`: queries of all sets see each other; `full`: so do all known
   * tokens. The latter two suit models trained with two sets, and run without caches.
   */
  readonly attention?: "masked" | "full-decoder" | "full";
  /**
   * `order` (the default): each set holds the next tokens of the order; `confidence`: it holds the tokens of which
   * the model is surest, so that of the order only the given tokens count. The latter runs without caches.
   */
  readonly decoding?: "order" | "confidence";
  /** With `confidence`: how much the choice of the first sets is left to chance (default 4.5, as in MaskGIT). */
  readonly confidenceNoise?: number;
  /** Whether keys and values are kept from step to step (default true); without, results are the same. */
  readonly cache?: boolean;
  /** Whether `onStep` gets logits (default false; with `confidence` it gets none). */
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

/** Options that have been checked. */
export interface SamplingPlan {
  /** Number of images B. */
  readonly images: number;
  /** Set sizes [K]. */
  readonly intervals: Int32Array;
  /** Whether all images have the same order. */
  readonly sharedOrder: boolean;
  /** The order of each image [B][N]. */
  readonly orders: readonly Int32Array[];
  /** Class ids, with guidance those of the null class behind them i32 [R]. */
  readonly labels: Tensor;
  /** Given tokens of each image, in sequence order. */
  readonly given: { readonly length: number; readonly rows: readonly (readonly number[])[] };
  /** Tokens of each image in sequence order that are given or fixed; -1 where to draw [B][N]. */
  readonly decided: readonly (readonly number[])[];
  /** How tokens are drawn. */
  readonly settings: DrawSettings & { readonly guided: boolean };
}

/**
 * Checks what sampling is asked for.
 *
 * @throws {TypeError | RangeError} As `sample`.
 */
export function planSampling(model: FmtBodyConfig, options: SampleOptions): SamplingPlan {
  const count = tokenCount(model);
  const images = options.labels.length;
  const intervals = checkIntervals(options.intervals, count);
  const labels = checkLabels(model, options.labels);
  const sharedOrder = options.order.length === count;
  const order = Array.from(options.order);
  if (!sharedOrder && order.length !== images * count) {
    throw new TypeError(
      `sample: expected order to hold ${count} cells, or ${
        images * count
      }, but found ${order.length}`,
    );
  }
  const orders = Array.from(
    { length: images },
    (_, i) => checkOrder(sharedOrder ? order : order.slice(i * count, (i + 1) * count), count),
  );
  const guided = isGuided(options);
  const nulls = new Array<number>(guided ? images : 0).fill(model.classes);
  const { greedy = false, topK = 0, topP = 1 } = options;
  const given = givenTokens(options, intervals);
  return {
    images,
    intervals,
    sharedOrder,
    orders,
    labels: tensor(Int32Array.from([...labels, ...nulls])),
    given,
    decided: decidedTokens(options, given, orders),
    settings: { guided, greedy, topK, topP },
  };
}

/** The grid index of each slot i32 [1 or R, slots]; the condition, in slot 0, has the index after the last cell. */
export function positionsInSlots(
  { orders, sharedOrder, settings }: SamplingPlan,
  slots: number,
): Tensor {
  const tables = (sharedOrder ? orders.slice(0, 1) : orders).map((order) =>
    slotsOf(slots, order.length, order)
  );
  const positions = settings.guided && !sharedOrder ? [...tables, ...tables] : tables;
  return tensor(Int32Array.from(positions.flat()), { shape: [positions.length, slots] });
}

/** A row of slots: the condition's value, those of the places, and zeros. */
export function slotsOf(slots: number, condition: number, places: ArrayLike<number>): number[] {
  const row = new Array<number>(slots).fill(0);
  row[0] = condition;
  for (let place = 0; place < places.length; place++) row[1 + place] = places[place]!;
  return row;
}

/** Where each set stands among the others. */
export function placesOf(intervals: Int32Array): SetPlace[] {
  const count = intervals.reduce((sum, size) => sum + size, 0);
  let known = 0;
  return Array.from(intervals, (size, i) => {
    known += size;
    return { set: i + 1, sets: intervals.length, known: known / count };
  });
}

/**
 * Numbers in 0..1 from each image's own key [B][length], so that an image is the same in any batch.
 *
 * @param options Of which `key`, `firstImage` and `greedy` count; greedy sampling needs none.
 * @param length How many for each image.
 * @param path Children of the image's key, from which they are drawn.
 * @throws {TypeError} If the key is missing.
 */
export function imageUniforms(
  { labels, key, firstImage = 0, greedy }: SampleOptions,
  length: number,
  path: readonly number[] = [],
): Float32Array[] {
  return Array.from(labels, (_, i) => {
    if (greedy) return new Float32Array(length);
    if (!key) throw new TypeError("sample: expected a key but found none");
    return Float32Array.from(uniform(path.reduce(foldIn, foldIn(key, firstImage + i)), length));
  });
}

/**
 * Masks of a step without caches.
 *
 * @param intervals Set sizes, of which those before the step's own hold the known tokens.
 * @param attention Which attention is full.
 * @param known Rows that are known: the condition's and those of the tokens so far.
 */
export function masksOf(
  intervals: ArrayLike<number>,
  attention: NonNullable<SampleOptions["attention"]>,
  known: number,
): StepMasks {
  const count = Array.from(intervals).reduce((sum, size) => sum + size, 0);
  const masked = visibleCounts(intervals, {
    encoderTokens: count - 1,
    fullDecoder: attention !== "masked",
  });
  // Where later queries are seen, they must not know more than the tokens so far.
  const cross = attention === "masked"
    ? masked.cross
    : masked.cross.map((visible) => Math.min(visible, known));
  const all = (length: number) => new Int32Array(length).fill(known);
  const row = (data: Int32Array) => tensor(data, { shape: [1, data.length] });
  return {
    encoderVisible: row(attention === "full" ? all(count) : masked.encoder),
    decoderVisible: row(masked.decoder),
    crossVisible: row(attention === "full" ? all(count) : cross),
  };
}

/** Known tokens of sequences by grid index, -1 for the others. */
export function tokensByCell(
  sequences: readonly ArrayLike<number>[],
  orders: readonly ArrayLike<number>[],
  known: number,
): Int32Array {
  const cells = orders.map((order, image) => {
    const tokens = new Int32Array(order.length).fill(-1);
    for (let place = 0; place < known; place++) tokens[order[place]!] = sequences[image]![place]!;
    return tokens;
  });
  return Int32Array.from(cells.flatMap((tokens) => [...tokens]));
}

function checkLabels(model: FmtBodyConfig, labels: ArrayLike<number>): number[] {
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
): SamplingPlan["given"] {
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

/** The tokens of each image in sequence order that are not drawn, and -1 for the others. */
function decidedTokens(
  { fixed, decoding }: SampleOptions,
  { length, rows }: SamplingPlan["given"],
  orders: SamplingPlan["orders"],
): number[][] {
  const count = orders[0]?.length ?? 0;
  if (fixed && fixed.length !== orders.length * count) {
    throw new TypeError(
      `sample: expected fixed to hold ${orders.length} × ${count} tokens but found ${fixed.length}`,
    );
  }
  if (fixed && decoding === "confidence") {
    throw new RangeError("sample: expected no fixed tokens with the decoding confidence");
  }
  return orders.map((order, image) =>
    Array.from(
      order,
      (cell, place) => place < length ? rows[image]![place]! : fixed?.[image * count + cell] ?? -1,
    )
  );
}
