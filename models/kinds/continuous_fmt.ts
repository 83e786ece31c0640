/** The Fully Masked Transformer on continuous tokens in a run. */
import { foldIn } from "../../lib/random/threefry.ts";
import { tensor } from "../../lib/tensor.ts";
import { foldIn as foldInKey } from "../../ops/random.ts";
import {
  type ContinuousDrawnInputs,
  type ContinuousFmtConfig,
  continuousInputs,
  continuousPlaceLosses,
} from "../diffusion/fmt.ts";
import { type ContinuousProgress, sampleContinuous } from "../diffusion/sample.ts";
import { sequenceGrid, tokenCount } from "../fmt/config.ts";
import { planEdit } from "../sar/edit.ts";
import { drawSampling } from "../sar/sampling.ts";
import type { Misfit, ModelKind, SamplingRequest } from "./model.ts";
import { lossesOf, samplingRecipe, sequenceKind } from "./sequence.ts";

/** The Fully Masked Transformer with a diffusion head. */
export const continuousFmtKind: ModelKind<ContinuousFmtConfig, ContinuousDrawnInputs> = {
  ...sequenceKind,
  tokens: "vectors",
  fit: ({ grid, scales, values }, classes) => ({
    grid,
    scales,
    classes,
    ...(values.kind === "vectors" ? { head: { channels: values.channels } } : {}),
  }),
  misfits(model, recipe, sampling) {
    const misfits: Misfit[] = sequenceKind.misfits(model, recipe, sampling);
    const { noiseSteps, topK, topP, attention, decoding } = sampling;
    if (noiseSteps !== undefined && noiseSteps > model.head.steps) {
      misfits.push({
        path: ["sampling", "noiseSteps"],
        message: `expected at most ${model.head.steps} (model.head.steps) but found ${noiseSteps}`,
      });
    }
    const ofCodes = {
      topK: topK !== 0,
      topP: topP !== 1,
      attention: attention !== undefined && attention !== "masked",
      decoding: decoding !== "order",
    };
    for (const [field, isSet] of Object.entries(ofCodes)) {
      if (!isSet) continue;
      const message = "expected the default, as continuous tokens have no probabilities";
      misfits.push({ path: ["sampling", field], message });
    }
    if (recipe.fullDecoder) {
      misfits.push({
        path: ["recipe"],
        message: "expected masked decoder self-attention, which continuous tokens are sampled with",
      });
    }
    return misfits;
  },
  inputs: continuousInputs,
  losses(model, recipe, params, inputs, { key, checkpoint }) {
    const [noise, dropout] = [foldInKey(key, 0), foldInKey(key, 1)];
    const options = { key: dropout, checkpoint };
    const losses = continuousPlaceLosses(model, params, inputs, noise, options);
    return lossesOf(losses, inputs, sequenceKind.sets(model, recipe));
  },
  async sample(model, params, { labels, settings, key, firstImage, kept, ...request }) {
    const { perClass: _, order, schedule, steps, ...draw } = settings;
    const options = {
      ...draw,
      labels,
      firstImage,
      onStep: tellSteps(request, model.head.channels),
    };
    const grid = sequenceGrid(model);
    if (!kept) {
      const recipe = samplingRecipe(settings, model.scales);
      const drawn = drawSampling(recipe, grid, key, labels.length, firstImage);
      return await sampleContinuous(model, params, { ...options, ...drawn });
    }
    // Known tokens come first, so that all others are drawn in view of them.
    const { channels } = model.head;
    const images = labels.length, count = tokenCount(model);
    const plan = planEdit(kept.keep, grid, images, { order, schedule, steps, key, firstImage });
    if (plan.kept === count) {
      return tensor(Float32Array.from(kept.tokens), { shape: [images, count, channels] });
    }
    const given = new Float32Array(images * plan.kept * channels);
    for (let place = 0; place < images * plan.kept; place++) {
      const image = Math.floor(place / plan.kept);
      const cell = image * count + plan.order[image * count + place % plan.kept]!;
      given.set(kept.tokens.subarray(cell * channels, (cell + 1) * channels), place * channels);
    }
    return await sampleContinuous(model, params, {
      ...options,
      order: plan.order,
      intervals: plan.intervals,
      key: foldIn(key, 2),
      given: plan.kept > 0 ? tensor(given, { shape: [images, plan.kept, channels] }) : undefined,
    });
  },
};

/** Tells of sets as runs are told of them. */
function tellSteps({ onStep }: Pick<SamplingRequest, "onStep">, channels: number) {
  return onStep && (({ set, sets, tokens }: ContinuousProgress) =>
    onStep({
      set,
      sets,
      async tokens() {
        const vectors = await tokens();
        return {
          values: vectors.map((value) => Number.isNaN(value) ? 0 : value),
          known: Uint8Array.from(
            { length: vectors.length / channels },
            (_, i) => Number(!Number.isNaN(vectors[i * channels])),
          ),
        };
      },
    }));
}
