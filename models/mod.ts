/** Models as data, and Set AutoRegressive modeling on them. */
export { type ConfigName, namedConfigs } from "./config/named.ts";
export { readConfig } from "./config/read.ts";
export type { RunConfig, RunInput, SamplingSettings, TrainingSettings } from "./config/schema.ts";
export * from "./evaluation/mod.ts";
export {
  autoencoder,
  type AutoencoderConfig,
  autoencoderLoss,
  decodeTokens,
  encodeTokens,
} from "./diffusion/autoencoder.ts";
export {
  continuousFmt,
  type ContinuousFmtConfig,
  type ContinuousInputs,
  continuousInputs,
  continuousLoss,
  continuousStates,
  type ContinuousTrainingInputs,
} from "./diffusion/fmt.ts";
export {
  type DiffusionHead,
  type DiffusionHeadParameters,
  diffusionHeadParameters,
  diffusionHeadPresets,
  diffusionHeadSchema,
  diffusionLoss,
} from "./diffusion/head.ts";
export {
  type ContinuousProgress,
  type ContinuousSampleOptions,
  sampleContinuous,
} from "./diffusion/sample.ts";
export { type DenoiseOptions, sampleTokens } from "./diffusion/sample_tokens.ts";
export { fmt, type FmtConfig, type FmtInput, fmtPresets, sequenceGrid } from "./fmt/config.ts";
export {
  type FmtInputs,
  fmtInputs,
  fmtLogits,
  fmtLoss,
  type FmtOptions,
  type FmtTrainingInputs,
} from "./fmt/fmt.ts";
export { sample, type SampleOptions, type SampleProgress } from "./fmt/sample.ts";
export { convertWeights, findLlamagenModel, type LlamagenModel } from "./llamagen/convert.ts";
export { type GptInputs, gptLogits, gptLoss, type GptOptions } from "./llamagen/gpt.ts";
export {
  gpt,
  type GptConfig,
  type GptInput,
  gptPreset,
  gptPresets,
} from "./llamagen/gpt_config.ts";
export { type GptProgress, type GptSampleOptions, sampleGpt } from "./llamagen/gpt_sample.ts";
export {
  decodeLlamagenCodes,
  encodeLlamagenImages,
  reconstructLlamagenImages,
} from "./llamagen/vq.ts";
export {
  llamagenVq,
  type LlamagenVqConfig,
  type LlamagenVqInput,
  llamagenVqPresets,
} from "./llamagen/vq_config.ts";
export { warmStart } from "./llamagen/warm_start.ts";
export { loadParameters } from "./llamagen/weights.ts";
export { apply, describe, init, type Model, readModel } from "./model.ts";
export { lossWeights, makeTrainingBatch, type TrainingBatch } from "./sar/batch.ts";
export { countSets, drawIntervals, drawOrder } from "./sar/draw.ts";
export { type EditOptions, editTokens, keptCells, placeTokens, planEdit } from "./sar/edit.ts";
export { makeIntervals, type ScheduleName } from "./sar/intervals.ts";
export { setIds, type VisibleCounts, visibleCounts } from "./sar/masks.ts";
export { type Grid, invertOrder, makeOrder, type Order } from "./sar/order.ts";
export { parseRecipe, PRESETS, type Recipe, type RecipeInput, recipeName } from "./sar/recipe.ts";
export { type Stage, type StageProgress, train } from "./training/loop.ts";
export { openRun, type RunProgress, trainRun } from "./training/run.ts";
export { sampleImages, samplePicture, type TrainedRun } from "./training/samples.ts";
export {
  type AfterUpdate,
  type Losses,
  type TrainingState,
  trainingStep,
} from "./training/step.ts";
export { multiscaleVq, type MultiscaleVqConfig, scalePresets } from "./var/config.ts";
export { scaleRecipe } from "./var/recipe.ts";
export {
  decodeScales,
  encodeScales,
  joinScales,
  multiscaleVqLoss,
  reconstructScales,
  splitScales,
} from "./var/tokenizer.ts";
export {
  type CodebookBuffers,
  type CodebookTraining,
  codebookUse,
  initCodebookBuffers,
  updateCodebook,
} from "./vq/codebook_training.ts";
export { type VqConfig, vqTokenizer } from "./vq/config.ts";
export {
  adversarialLoss,
  discriminate,
  type DiscriminatorConfig,
  type DiscriminatorParameters,
  discriminatorParameters,
  gradientPenalty,
  hingeLoss,
} from "./vq/discriminator.ts";
export { entropyLoss } from "./vq/entropy_loss.ts";
export { loadPerceptual, perceptualDistance, perceptualParameters } from "./vq/perceptual.ts";
export { decodeCodes, encodeImages, reconstructImages, vqLoss } from "./vq/vq.ts";
