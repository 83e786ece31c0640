/** Next-scale prediction as a recipe of SAR: the sets are the scales of a multi-scale tokenizer. */
import { parseRecipe, type Recipe } from "../sar/recipe.ts";

/**
 * The recipe whose sets are the scales: tokens coarse to fine, all tokens of a scale in one step. It is drawn for the
 * grid that `sequenceGrid` gives, a single row of the tokens of all scales; `raster` leaves that as it is. Other
 * recipes may be drawn for it as well, such as one with several sets to the finest scale.
 *
 * Source: Tian et al., "Visual autoregressive modeling" (2024), section 3.2; here the encoder takes in the tokens
 * of the coarser scales, in place of their sum enlarged to the scale to be predicted.
 *
 * @param scales Rows and columns of each scale, coarse to fine.
 * @returns The recipe.
 * @throws {RangeError} If there are no scales.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { recipeName } from "../sar/recipe.ts";
 * import { scaleRecipe } from "./recipe.ts";
 *
 * assertEquals(recipeName(scaleRecipe([1, 2, 4])), "raster-3-1,4,16");
 * ```
 */
export function scaleRecipe(scales: readonly number[]): Recipe {
  return parseRecipe({ order: "raster", schedule: scales.map((side) => side * side), loss: "all" });
}
