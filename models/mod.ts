/** Models as data, and Set AutoRegressive modeling on them. */
export { fmt, type FmtConfig, type FmtInput, fmtPresets } from "./fmt/config.ts";
export {
  type FmtInputs,
  fmtInputs,
  fmtLogits,
  fmtLoss,
  type FmtOptions,
  type FmtTrainingInputs,
} from "./fmt/fmt.ts";
export { sample, type SampleOptions, type SampleProgress } from "./fmt/sample.ts";
export { apply, describe, init, type Model, readModel } from "./model.ts";
export { lossWeights, makeTrainingBatch, type TrainingBatch } from "./sar/batch.ts";
export { countSets, drawIntervals, drawOrder } from "./sar/draw.ts";
export { makeIntervals, type ScheduleName } from "./sar/intervals.ts";
export { setIds, type VisibleCounts, visibleCounts } from "./sar/masks.ts";
export { type Grid, invertOrder, makeOrder, type Order } from "./sar/order.ts";
export { parseRecipe, PRESETS, type Recipe, type RecipeInput, recipeName } from "./sar/recipe.ts";
export { type VqConfig, vqTokenizer } from "./vq/config.ts";
export { decodeCodes, encodeImages, reconstructImages, vqLoss } from "./vq/vq.ts";
