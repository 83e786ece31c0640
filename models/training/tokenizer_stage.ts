/** The first training of a run: the tokenizer, on images. */
import type { Tensor } from "../../lib/tensor.ts";
import type { RunConfig } from "../config/schema.ts";
import type { ImageDataset } from "../data/dataset.ts";
import { init } from "../model.ts";
import { vqLoss, type VqParameters, vqParameters } from "../vq/vq.ts";
import { batchesOf, imageBatch, partOf, positionOf } from "./data.ts";
import { keyTensor, runKey } from "./keys.ts";
import type { Stage } from "./loop.ts";

/** The training of the tokenizer. */
export function tokenizerStage(
  config: RunConfig,
  data: ImageDataset,
): Stage<VqParameters, Tensor> {
  const { tokenizer, tokenizerTraining: settings, seed } = config;
  const examples = batchesOf(data.count, settings.batchSize, seed);
  return {
    name: "tokenizer",
    settings,
    seed,
    config,
    position: (step) => positionOf(data.count, settings.batchSize, step),
    parameters: () => vqParameters(tokenizer),
    init: () => init(tokenizer, keyTensor(runKey(seed, "tokenizer"))),
    batches: () =>
      Promise.resolve((step, part) =>
        imageBatch(data, part ? partOf(examples(step), part) : examples(step))
      ),
    loss: (params, images) => ({ ...vqLoss(tokenizer, params, images) }),
    losses: ["loss", "reconstruction", "codebook"],
    rate: { name: "imagesPerSecond", perStep: settings.batchSize },
  };
}
