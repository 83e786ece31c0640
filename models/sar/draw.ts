/** What a recipe means on a grid: its orders, its intervals, and the sizes that no draw exceeds. */
import type { Key } from "../../lib/random/threefry.ts";
import { checkIntervals, makeIntervals, mostKnownTokens } from "./intervals.ts";
import { type Grid, makeOrder, nextScale } from "./order.ts";
import type { Recipe } from "./recipe.ts";

/**
 * Number of sets K of a recipe on a grid.
 *
 * @param recipe the recipe
 * @param grid height and width
 * @returns K, the same for every draw
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { countSets } from "./draw.ts";
 * import { parseRecipe } from "./recipe.ts";
 *
 * assertEquals(countSets(parseRecipe("next-scale"), { height: 8, width: 8 }), 4);
 * assertEquals(countSets(parseRecipe("ar"), { height: 7, width: 7 }), 49);
 * ```
 */
export function countSets(recipe: Recipe, grid: Grid): number {
  if (recipe.sets === "N") return grid.height * grid.width;
  return recipe.sets === "grid" ? nextScale(grid).intervals.length : recipe.sets;
}

/**
 * An order of the recipe.
 *
 * @param recipe the recipe
 * @param grid height and width
 * @param key the random key, for the order `random` only
 * @returns a permutation of the cells [N]
 * @throws TypeError or RangeError as `makeOrder`
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { drawOrder } from "./draw.ts";
 * import { parseRecipe } from "./recipe.ts";
 *
 * const recipe = parseRecipe({ order: [2, 0, 1], sets: "N" });
 * assertEquals(drawOrder(recipe, { height: 1, width: 3 }), Int32Array.of(2, 0, 1));
 * ```
 */
export function drawOrder(recipe: Recipe, grid: Grid, key?: Key): Int32Array {
  return makeOrder(recipe.order, grid, recipe.order === "random" ? key : recipe.seed);
}

/**
 * Intervals of the recipe.
 *
 * @param recipe the recipe
 * @param grid height and width
 * @param key the random key, for the schedules `random` and `mar` only
 * @returns set sizes [K]
 * @throws TypeError or RangeError as `makeIntervals` and `checkIntervals`
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { drawIntervals } from "./draw.ts";
 * import { parseRecipe } from "./recipe.ts";
 *
 * const grid = { height: 4, width: 4 };
 * assertEquals(drawIntervals(parseRecipe("raster-4-cosine"), grid), Int32Array.of(2, 3, 5, 6));
 * ```
 */
export function drawIntervals(recipe: Recipe, grid: Grid, key?: Key): Int32Array {
  const count = grid.height * grid.width;
  if (Array.isArray(recipe.schedule)) return checkIntervals(recipe.schedule, count);
  if (recipe.schedule === "next-scale") return nextScale(grid).intervals;
  return makeIntervals(recipe.schedule, count, countSets(recipe, grid), key);
}

/**
 * The number of token rows M that the encoder needs for every draw of a recipe: N-1 for random sets, far fewer
 * where the last set is always large (30 % of N for `random-2-mar`, 5 of 16 for `next-scale` on 4×4).
 *
 * @param recipe the recipe
 * @param grid height and width
 * @returns M in 0..N-1
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { countEncoderTokens } from "./draw.ts";
 * import { parseRecipe } from "./recipe.ts";
 *
 * const grid = { height: 4, width: 4 };
 * assertEquals(countEncoderTokens(parseRecipe("sar-ts"), grid), 15);
 * assertEquals(countEncoderTokens(parseRecipe("next-scale"), grid), 5);
 * ```
 */
export function countEncoderTokens(recipe: Recipe, grid: Grid): number {
  const count = grid.height * grid.width;
  const { schedule } = recipe;
  if (typeof schedule === "string" && schedule !== "next-scale") {
    return mostKnownTokens(schedule, count, countSets(recipe, grid));
  }
  return count - drawIntervals(recipe, grid).at(-1)!;
}

/**
 * Checks that a recipe fits a grid: no more sets than tokens, sizes that add up, a permutation of its length.
 *
 * @param recipe the recipe
 * @param grid height and width
 * @throws TypeError or RangeError as `makeOrder`, `makeIntervals` and `checkIntervals`
 *
 * @example
 * ```ts
 * import { assertThrows } from "@std/assert";
 * import { checkRecipe } from "./draw.ts";
 * import { parseRecipe } from "./recipe.ts";
 *
 * assertThrows(() => checkRecipe(parseRecipe("sar-ts"), { height: 3, width: 3 }), RangeError, "1..9");
 * ```
 */
export function checkRecipe(recipe: Recipe, grid: Grid): void {
  drawOrder(recipe, grid, [0, 0]);
  drawIntervals(recipe, grid, [0, 0]);
}
