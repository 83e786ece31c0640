/** Evaluation of samples and tokenizers: FID, sFID, Inception Score, precision and recall, PSNR. */
export {
  applyClassifier,
  classifier,
  type ClassifierConfig,
  classifierFeatures,
  type ClassifierParameters,
  classifierParameters,
  classifierSchema,
  loadClassifier,
  saveClassifier,
} from "./classifier.ts";
export {
  classifierAccuracy,
  classifierOf,
  type ClassifierTraining,
  trainClassifier,
} from "./classifier_training.ts";
export {
  evaluate,
  type EvaluateOptions,
  type Evaluation,
  type EvaluationProgress,
  writeStatistics,
} from "./evaluate.ts";
export {
  type FeatureExtractor,
  type Features,
  inceptionFeatures,
  loadInception,
  networkFeatures,
} from "./features.ts";
export {
  datasetImages,
  type FolderOptions,
  type ImageSet,
  openImages,
  type Pixels,
  writeImages,
} from "./images.ts";
export {
  applyInception,
  foldBatchNorm,
  type FoldedInception,
  inception,
  type InceptionConfig,
  type InceptionInput,
  type InceptionOutputs,
  inceptionParameters,
  inceptionSchema,
} from "./inception.ts";
export { addProbabilities, inceptionScore, noScore, type ScoreSums } from "./inception_score.ts";
export { loadFeatures } from "./load_features.ts";
export { type FeatureRows, type NeighborOptions, precisionAndRecall } from "./precision_recall.ts";
export { evaluateReconstruction, psnr, type ReconstructionQuality } from "./reconstruction.ts";
export { ssim } from "./ssim.ts";
export {
  addFeatures,
  frechetDistance,
  type Gaussian,
  gaussianOf,
  type Moments,
  noMoments,
} from "./statistics.ts";
