/** The second training of a run: the model, on the codes of the images. */
import { foldIn } from "../../lib/random/threefry.ts";
import type { Tensor } from "../../lib/tensor.ts";
import type { RunConfig } from "../config/schema.ts";
import type { ImageDataset } from "../data/dataset.ts";
import { tokenCount } from "../fmt/config.ts";
import { fmtInputs, fmtLoss, type FmtTrainingInputs } from "../fmt/fmt.ts";
import { type FmtParameters, fmtParameters } from "../fmt/network.ts";
import { init } from "../model.ts";
import { dropLabels, makeTrainingBatch, type TrainingBatch } from "../sar/batch.ts";
import { batchesOf, type BatchPart, partOf, positionOf } from "./data.ts";
import { keyTensor, runKey } from "./keys.ts";
import type { Stage } from "./loop.ts";

/**
 * The training of the model.
 *
 * @param config The run's configuration.
 * @param data Of which the labels count.
 * @param encode Gives the codes of all images [count, N], by grid index.
 */
export function modelStage(
  config: RunConfig,
  { count, labels, classes }: ImageDataset,
  encode: () => Promise<Int32Array>,
): Stage<FmtParameters, FmtTrainingInputs & { key: Tensor }> {
  const { model, recipe, training: settings, seed } = config;
  const tokens = tokenCount(model);
  const examples = batchesOf(count, settings.batchSize, seed);
  const trainingKey = runKey(seed, "training");
  return {
    name: "model",
    settings,
    seed,
    config,
    position: (step) => ({
      ...positionOf(count, settings.batchSize, step),
      key: foldIn(trainingKey, step),
    }),
    parameters: () => fmtParameters(model),
    init: () => init(model, keyTensor(runKey(seed, "model"))),
    async batches() {
      const codes = await encode();
      return (step, part = whole) => {
        const key = foldIn(trainingKey, step);
        const chosen = examples(step);
        const grids = new Int32Array(chosen.length * tokens);
        chosen.forEach((example, i) =>
          grids.set(codes.subarray(example * tokens, (example + 1) * tokens), i * tokens)
        );
        const batch = makeTrainingBatch(recipe, model.grid, grids, foldIn(key, 0));
        const own = Uint8Array.from(chosen, (example) => labels[example]!);
        const kept = dropLabels(own, classes, settings.classDropout, foldIn(key, 1));
        // Parts of a batch share its draws; only dropout has a key for each.
        const dropout = foldIn(key, 2);
        return {
          ...fmtInputs(partOfBatch(batch, part), partOf(kept, part)),
          key: keyTensor(part.count > 1 ? foldIn(dropout, part.index) : dropout),
        };
      };
    },
    loss: (params, { key, ...inputs }) => ({
      loss: fmtLoss(model, params, inputs, { key, checkpoint: settings.recompute }),
    }),
    losses: ["loss"],
    rate: { name: "tokensPerSecond", perStep: settings.batchSize * tokens },
  };
}

const whole: BatchPart = { index: 0, count: 1 };

/** The images of a part of a batch, with its draw of sets. */
function partOfBatch(batch: TrainingBatch, part: BatchPart): TrainingBatch {
  return {
    ...batch,
    order: partOf(batch.order, part),
    encoderOrder: partOf(batch.encoderOrder, part),
    targets: partOf(batch.targets, part),
    encoderTokens: partOf(batch.encoderTokens, part),
  };
}
