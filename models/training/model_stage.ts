/** The second training of a run: the model, on the tokens of the images. */
import { foldIn, uniform } from "../../lib/random/threefry.ts";
import type { Tensor } from "../../lib/tensor.ts";
import type { RunConfig } from "../config/schema.ts";
import { tokenCount } from "../fmt/config.ts";
import { modelKind, type TokenModel } from "../kinds/model.ts";
import { gptParameters } from "../llamagen/gpt.ts";
import { findLlamagenModel } from "../llamagen/convert.ts";
import { warmStart } from "../llamagen/warm_start.ts";
import { openWeights, readParameters } from "../llamagen/weights.ts";
import { init, type ParametersOf, parametersOf } from "../model.ts";
import { dropLabels } from "../sar/batch.ts";
import { batchesOf, partOf, positionOf, readAhead, whole } from "./data.ts";
import { imageKeys, keyTensor, runKey } from "./keys.ts";
import type { Stage } from "./loop.ts";
import type { TokenDataset } from "./tokens.ts";

/** What a step of the model's training reads. */
export interface ModelBatch {
  /** What the kind of model takes. */
  readonly inputs: unknown;
  /** A random key for each image u32 [B, 2], for dropout and noise. */
  readonly keys: Tensor;
}

/**
 * The training of the model.
 *
 * @param config The run's configuration.
 * @param count Number of images.
 * @param open Gives the tokens of the images; called only if there are steps to make.
 * @returns The training.
 */
export function modelStage(
  config: RunConfig,
  count: number,
  open: () => Promise<TokenDataset>,
): Stage<ParametersOf<TokenModel>, ModelBatch> {
  const { data, model, recipe, training: settings, seed } = config;
  const kind = modelKind(model);
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
    parameters: () => parametersOf(model),
    init: () => firstParameters(config),
    async batches() {
      const dataset = await open();
      const examples = batchesOf(dataset.count, settings.batchSize, seed);
      const batch = async (step: number, part = whole) => {
        const key = foldIn(trainingKey, step);
        const chosen = examples(step);
        const images = chosen.length;
        const views = uniform(foldIn(key, 3), images).map((x) => Math.floor(x * dataset.views));
        const { tokens, labels } = await dataset.read(partOf(chosen, part), partOf(views, part));
        // Parts of a batch share its draws; dropout and noise have a key for each image.
        const { classDropout } = settings;
        const isDropped = dropLabels(new Int32Array(images), 1, classDropout, foldIn(key, 1));
        const own = partOf(isDropped, part);
        const kept = Array.from(labels, (label, i) => own[i] ? data.classes : label);
        const firstImage = part.index * own.length;
        const inputs = kind.inputs(model, recipe, tokens, kept, foldIn(key, 0), firstImage);
        return { inputs, keys: imageKeys(foldIn(key, 2), firstImage, own.length) };
      };
      return dataset.isSlow ? readAhead(batch) : batch;
    },
    loss: (params, { inputs, keys }) =>
      kind.losses(model, recipe, params, inputs, { key: keys, checkpoint: settings.recompute }),
    losses: ["loss", { name: "setLoss", length: kind.sets(model, recipe) }],
    rate: { name: "tokensPerSecond", perStep: settings.batchSize * tokensOf(model) },
  };
}

/** Number of tokens of an image. */
export function tokensOf(model: TokenModel): number {
  return tokenCount({ scales: [], ...model });
}

/** Fresh parameters, or such as take up the layers of a GPT. */
async function firstParameters(
  { model, training, seed }: RunConfig,
): Promise<ParametersOf<TokenModel>> {
  const fresh = init(model, keyTensor(runKey(seed, "model")));
  const path = training.warmStart;
  if (path === undefined || model.kind !== "fmt") return fresh;
  try {
    await using file = await openWeights(path);
    const source = findLlamagenModel(file.entries, { grid: model.grid });
    if (source?.kind !== "llamagen-gpt") {
      throw new TypeError("expected the names of LlamaGen's GPT but found others");
    }
    const given = await readParameters(gptParameters(source), file, { source: path });
    return warmStart(fresh as Parameters<typeof warmStart>[0], given);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new RangeError(`training.warmStart: ${path}: ${error.message}`, { cause: error });
  }
}
