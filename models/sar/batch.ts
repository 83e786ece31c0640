/**
 * What one training step of SAR needs from the host, as typed arrays whose shapes depend on the recipe and the
 * grid but never on the draw, so that a compiled step is made once.
 *
 * The encoder has M token rows after its condition row(s), M being the most that any draw of the recipe
 * keeps (`countEncoderTokens`). A draw keeps N - s_K <= M of them; the rows behind hold the next tokens
 * of the sequence, which belong to the last set. They are exactly as if dropped: no kept row and no query sees
 * a column at or after c + N - s_K (`visibleCounts`), so they enter no logit, and what they compute
 * themselves is never read, so no gradient flows through them. Logits, loss and gradients therefore equal those
 * of an encoder of N - s_K rows.
 */
import { foldIn, type Key, uniform } from "../../lib/random/threefry.ts";
import { countEncoderTokens, drawIntervals, drawOrder } from "./draw.ts";
import { visibleCounts } from "./masks.ts";
import type { Grid } from "./order.ts";
import type { Recipe } from "./recipe.ts";

/** Inputs of one training step. B images, N tokens each, K sets, M encoder tokens, c condition rows. */
export interface TrainingBatch {
  /** Grid index at each place of the sequence [B, N]; a row of its own per image for the order random. */
  readonly order: Int32Array;
  /** The first M entries of each row of `order` [B, M]: grid positions of the encoder's tokens. */
  readonly encoderOrder: Int32Array;
  /** Tokens in sequence order [B, N]: query i predicts target i. */
  readonly targets: Int32Array;
  /** The first M tokens of the sequence [B, M]: the encoder's input after the condition. */
  readonly encoderTokens: Int32Array;
  /** Set sizes [K], one draw for the batch. */
  readonly intervals: Int32Array;
  /** Visible columns of encoder self-attention [c + M]. */
  readonly encoderVisible: Int32Array;
  /** Visible columns of decoder self-attention [N]. */
  readonly decoderVisible: Int32Array;
  /** Visible encoder columns of decoder cross-attention [N]. */
  readonly crossVisible: Int32Array;
  /** 1 for each place that the loss counts, else 0 [N]; the loss is sum(weight·ce) / sum(weight) over the batch. */
  readonly lossWeight: Float32Array;
}

/**
 * Draws orders and intervals of a recipe for a batch and arranges its tokens: the first half of the paper's
 * training algorithm. One order per image, one list of intervals per batch.
 *
 * @param recipe the recipe
 * @param grid height and width of a token grid, N = H·W
 * @param tokens token ids by grid index [B, N], B >= 1
 * @param key the random key of this step
 * @param condition number of condition rows c before the encoder's tokens: 1 for a class, T for a text
 * @param firstImage number of the first image: a part of a batch has the draws that it has in the whole
 * @returns the arrays of the step
 * @throws TypeError if the tokens are not a whole number of grids
 * @throws TypeError or RangeError as `checkRecipe` if the recipe does not fit the grid
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { makeTrainingBatch } from "./batch.ts";
 * import { parseRecipe } from "./recipe.ts";
 *
 * const recipe = parseRecipe({ order: [3, 1, 0, 2], schedule: [1, 1, 2] });
 * const batch = makeTrainingBatch(recipe, { height: 2, width: 2 }, [10, 11, 12, 13], [0, 1]);
 * assertEquals(batch.targets, Int32Array.of(13, 11, 10, 12));
 * assertEquals(batch.encoderTokens, Int32Array.of(13, 11));
 * assertEquals(batch.crossVisible, Int32Array.of(1, 2, 3, 3));
 * ```
 */
export function makeTrainingBatch(
  recipe: Recipe,
  grid: Grid,
  tokens: ArrayLike<number>,
  key: Key,
  condition = 1,
  firstImage = 0,
): TrainingBatch {
  const count = grid.height * grid.width;
  const images = tokens.length / count;
  if (!Number.isInteger(images) || images < 1) {
    throw new TypeError(
      `makeTrainingBatch: expected tokens to hold whole grids of ${count} but found ${tokens.length} tokens`,
    );
  }
  const intervals = drawIntervals(recipe, grid, foldIn(key, 0));
  const orderKey = foldIn(key, 1);
  const known = countEncoderTokens(recipe, grid);
  const visible = visibleCounts(intervals, {
    condition,
    encoderTokens: known,
    fullDecoder: recipe.fullDecoder,
  });

  const order = new Int32Array(images * count);
  const sharedOrder = recipe.order === "random" ? undefined : drawOrder(recipe, grid);
  for (let image = 0; image < images; image++) {
    const own = sharedOrder ?? drawOrder(recipe, grid, foldIn(orderKey, firstImage + image));
    order.set(own, image * count);
  }
  const targets = order.map((cell, i) => tokens[i - i % count + cell]);
  return {
    order,
    encoderOrder: firstOfEach(order, count, known),
    targets,
    encoderTokens: firstOfEach(targets, count, known),
    intervals,
    encoderVisible: visible.encoder,
    decoderVisible: visible.decoder,
    crossVisible: visible.cross,
    lossWeight: lossWeights(intervals, recipe.loss),
  };
}

/**
 * Which places of the sequence the loss counts.
 *
 * @param intervals set sizes [K]
 * @param loss all sets, or the last only (the MAR end)
 * @returns 1 or 0 per place [N]
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { lossWeights } from "./batch.ts";
 *
 * assertEquals(lossWeights([2, 3], "last"), Float32Array.of(0, 0, 1, 1, 1));
 * ```
 */
export function lossWeights(intervals: ArrayLike<number>, loss: Recipe["loss"]): Float32Array {
  const sizes = Array.from(intervals);
  const count = sizes.reduce((sum, size) => sum + size, 0);
  return new Float32Array(count).fill(1, loss === "last" ? count - sizes[sizes.length - 1] : 0);
}

/**
 * Replaces labels by the null class at random, so that the model also learns to do without one
 * (classifier-free guidance).
 *
 * @param labels class ids [B]
 * @param nullClass id of the null class
 * @param rate probability of replacing a label, 0..1
 * @param key the random key of this step, another than the batch's
 * @returns class ids [B]
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { dropLabels } from "./batch.ts";
 *
 * assertEquals(dropLabels([3, 7], 10, 0, [0, 1]), Int32Array.of(3, 7));
 * assertEquals(dropLabels([3, 7], 10, 1, [0, 1]), Int32Array.of(10, 10));
 * ```
 */
export function dropLabels(
  labels: ArrayLike<number>,
  nullClass: number,
  rate: number,
  key: Key,
): Int32Array {
  const draws = uniform(key, labels.length);
  return Int32Array.from(labels, (label, i) => draws[i] < rate ? nullClass : label);
}

/** The first `kept` entries of every row of a [B, count] array. */
function firstOfEach(rows: Int32Array, count: number, kept: number): Int32Array {
  return rows.filter((_, i) => i % count < kept);
}
