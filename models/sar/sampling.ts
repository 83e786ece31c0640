/** What sampling by a recipe draws from a key: an order for each image, set sizes, and the key of the tokens. */
import { foldIn, type Key } from "../../lib/random/threefry.ts";
import { drawIntervals, drawOrder } from "./draw.ts";
import type { Grid } from "./order.ts";
import type { Recipe } from "./recipe.ts";

/** Order, set sizes and key of a batch of images, as `sample` takes them. */
export interface SamplingDraw {
  /** One order for all images [N], or, of a recipe with fresh orders, one for each [B·N]. */
  readonly order: Int32Array;
  /** Set sizes [K], the same for all batches of a key. */
  readonly intervals: Int32Array;
  /** The key from which tokens are drawn. */
  readonly key: Key;
  /** Number of the first image. */
  readonly firstImage: number;
}

/**
 * Draws orders and set sizes for a batch of images. Image i gets the same order and tokens in whatever batch it is.
 *
 * @param recipe The recipe to sample by, which may be another than that of training.
 * @param grid Height and width, N = H·W.
 * @param key The random key.
 * @param images Number of images B of the batch.
 * @param firstImage Number of its first image (default 0).
 * @returns Order, set sizes and key: options of `sample`.
 * @throws {TypeError | RangeError} As `makeOrder` and `makeIntervals`, if the recipe does not fit the grid.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { parseRecipe } from "./recipe.ts";
 * import { drawSampling } from "./sampling.ts";
 *
 * const grid = { height: 2, width: 2 };
 * const recipe = parseRecipe("random-3-random");
 * const both = drawSampling(recipe, grid, [0, 1], 2);
 * const second = drawSampling(recipe, grid, [0, 1], 1, 1);
 * assertEquals(second.order, both.order.slice(4));
 * assertEquals(second.intervals, both.intervals);
 * ```
 */
export function drawSampling(
  recipe: Recipe,
  grid: Grid,
  key: Key,
  images: number,
  firstImage = 0,
): SamplingDraw {
  const orderKey = foldIn(key, 1);
  const orders = recipe.order === "random"
    ? Array.from(
      { length: images },
      (_, i) => drawOrder(recipe, grid, foldIn(orderKey, firstImage + i)),
    )
    : [drawOrder(recipe, grid)];
  return {
    order: Int32Array.from(orders.flatMap((order) => [...order])),
    intervals: drawIntervals(recipe, grid, foldIn(key, 0)),
    key: foldIn(key, 2),
    firstImage,
  };
}
