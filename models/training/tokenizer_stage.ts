/** The first training of a run: the tokenizer, on images. */
import { foldIn } from "../../lib/random/threefry.ts";
import type { RunConfig } from "../config/schema.ts";
import { type Tokenizer, tokenizerKind } from "../kinds/tokenizer.ts";
import { init, type ParametersOf, parametersOf } from "../model.ts";
import {
  batchesOf,
  isFolder,
  partOf,
  positionOf,
  readAhead,
  readImages,
  type RunImages,
  whole,
} from "./data.ts";
import { imageKeys, keyTensor, runKey } from "./keys.ts";
import type { Stage } from "./loop.ts";
import { reconstructionPicture } from "./reconstructions.ts";
import { type TokenizerBatch, type TokenizerBuffers, tokenizerLoss } from "./tokenizer_loss.ts";

/**
 * The training of the tokenizer. At checkpoints it draws what it gives back.
 *
 * @param config The run's configuration.
 * @param data The images.
 * @param shown Images that are drawn.
 * @returns The training.
 */
export function tokenizerStage(
  config: RunConfig,
  data: RunImages,
  shown: RunImages = data,
): Stage<ParametersOf<Tokenizer>, TokenizerBatch, TokenizerBuffers> {
  const { tokenizer, tokenizerTraining: settings, seed } = config;
  const examples = batchesOf(data.count, settings.batchSize, seed);
  const key = runKey(seed, "tokenizer training");
  const { prepare, ...learning } = tokenizerLoss(
    tokenizerKind(tokenizer).trainable(tokenizer),
    settings,
    keyTensor(runKey(seed, "discriminator")),
  );
  return {
    name: "tokenizer",
    settings,
    seed,
    config,
    position: (step) => positionOf(data.count, settings.batchSize, step),
    parameters: () => parametersOf(tokenizer),
    init: () => init(tokenizer, keyTensor(runKey(seed, "tokenizer"))),
    async batches() {
      await prepare();
      const batch = async (step: number, part = whole) => {
        const chosen = partOf(examples(step), part);
        const ofStep = foldIn(key, step);
        const keys = imageKeys(ofStep, part.index * chosen.length, chosen.length);
        const { images } = await readImages(data, chosen, foldIn(ofStep, 3));
        return { images, keys };
      };
      return isFolder(data) ? readAhead(batch) : batch;
    },
    ...learning,
    pictures: { every: settings.checkpointEvery, draw: reconstructionPicture(config, shown) },
    rate: { name: "imagesPerSecond", perStep: settings.batchSize },
  };
}

/** Whether a run trains its tokenizer; otherwise it is given the weights. */
export function trainsTokenizer({ tokenizerTraining }: RunConfig): boolean {
  return tokenizerTraining.weights === undefined;
}
