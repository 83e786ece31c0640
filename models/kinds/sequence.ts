/** What the Fully Masked Transformers of both kinds of tokens have in common in a run. */
import type { Tensor } from "../../lib/tensor.ts";
import type { SamplingSettings } from "../config/sampling.ts";
import type { ContinuousDrawnInputs } from "../diffusion/fmt.ts";
import { type FmtBodyConfig, sequenceGrid, tokenCount } from "../fmt/config.ts";
import type { FmtDrawnInputs } from "../fmt/fmt.ts";
import { checkRecipe, countSets } from "../sar/draw.ts";
import { meanOfPlaces, meanOfSets } from "../sar/losses.ts";
import { parseRecipe, type Recipe, type RecipeInput } from "../sar/recipe.ts";
import { scaleRecipe } from "../var/recipe.ts";
import type { Misfit } from "./model.ts";
import type { TokenLayout } from "./tokenizer.ts";

/** What a kind of Fully Masked Transformer need not say itself. */
export const sequenceKind = {
  recipe: recipeOf,
  sampling: samplingOf,
  misfits: sequenceMisfits,
  otherSampling: oneByOne,
  sets: setsOf,
};

/** Number of sets of a recipe. */
function setsOf(model: FmtBodyConfig, recipe: Recipe): number {
  return countSets(recipe, sequenceGrid(model));
}

/**
 * The losses of a training step.
 *
 * @param losses The loss of every place f32 [B, N].
 * @param inputs Of the step.
 * @param count Number of sets K.
 * @returns The mean of the places that count, and of the places of each set [K].
 */
export function lossesOf(
  losses: Tensor,
  { lossWeight, sets }: FmtDrawnInputs | ContinuousDrawnInputs,
  count: number,
): { loss: Tensor; setLoss: Tensor } {
  return {
    loss: meanOfPlaces(losses, lossWeight),
    setLoss: meanOfSets(losses, sets, count),
  };
}

/** Of tokens of several scales the sets are the scales, which is what `next-scale` means there. */
function recipeOf(
  { scales }: TokenLayout,
  given: RecipeInput | undefined,
): RecipeInput | undefined {
  const isNextScale = given === undefined || given === "next-scale" || given === "var-like" ||
    (typeof given === "object" && given.schedule === "next-scale");
  return scales.length > 0 && isNextScale ? scaleRecipe(scales) : given;
}

function samplingOf({ scales, grid }: TokenLayout): Partial<SamplingSettings> {
  return scales.length > 0
    ? { order: "raster", schedule: "next-scale" }
    : { steps: Math.min(8, grid.height * grid.width) };
}

function sequenceMisfits(
  model: FmtBodyConfig,
  recipe: Recipe,
  { steps }: SamplingSettings,
): Misfit[] {
  const misfits: Misfit[] = [];
  const tokens = tokenCount(model);
  if (steps > tokens) {
    misfits.push({
      path: ["sampling", "steps"],
      message: `expected at most ${tokens} (tokens of an image) but found ${steps}`,
    });
  }
  try {
    checkRecipe(recipe, sequenceGrid(model));
  } catch (error) {
    misfits.push({ path: ["recipe"], message: (error as Error).message });
  }
  return misfits;
}

/** One token a step, row by row; of several scales none, since they are what the model knows. */
function oneByOne(
  model: FmtBodyConfig,
  sampling: SamplingSettings,
): SamplingSettings | undefined {
  if (model.scales.length > 0) return undefined;
  const steps = tokenCount(model);
  return { ...sampling, decoding: "order", order: "raster", schedule: "uniform", steps };
}

/**
 * The recipe that settings of sampling mean.
 *
 * @param settings Order, schedule and number of sets.
 * @param scales The grids of several scales, which are the sets of `next-scale`; none if there is but one grid.
 * @returns The recipe.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { samplingRecipe } from "./sequence.ts";
 *
 * const settings = { order: "raster", schedule: "next-scale", steps: 8 } as const;
 * assertEquals(samplingRecipe(settings, [1, 2, 4]).schedule, [1, 4, 16]);
 * assertEquals(samplingRecipe({ ...settings, schedule: "cosine" }, []).sets, 8);
 * ```
 */
export function samplingRecipe(
  { order, schedule, steps }: Pick<SamplingSettings, "order" | "schedule" | "steps">,
  scales: readonly number[],
): Recipe {
  if (schedule !== "next-scale") return parseRecipe({ order, schedule, sets: steps });
  if (scales.length === 0) return parseRecipe({ order, schedule });
  const { schedule: sizes } = scaleRecipe(scales);
  return parseRecipe({ order, schedule: sizes, loss: "all" });
}
