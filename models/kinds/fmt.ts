/** The Fully Masked Transformer in a run. */
import { type FmtConfig, sequenceGrid, tokenCount } from "../fmt/config.ts";
import { type FmtDrawnInputs, fmtInputs, fmtPlaceLosses } from "../fmt/fmt.ts";
import { sample, type SampleProgress } from "../fmt/sample.ts";
import { makeTrainingBatch } from "../sar/batch.ts";
import { editTokens } from "../sar/edit.ts";
import { drawSampling } from "../sar/sampling.ts";
import type { ModelKind, PartialTokens, SamplingRequest } from "./model.ts";
import { lossesOf, samplingRecipe, sequenceKind } from "./sequence.ts";

/** The Fully Masked Transformer, on one grid or on the grids of several scales. */
export const fmtKind: ModelKind<FmtConfig, FmtDrawnInputs> = {
  ...sequenceKind,
  tokens: "codes",
  fit: ({ grid, scales, values }, classes) => ({
    grid,
    scales,
    classes,
    ...(values.kind === "codes" ? { vocabulary: values.vocabulary } : {}),
  }),
  inputs: (model, recipe, tokens, labels, key, firstImage) =>
    fmtInputs(
      makeTrainingBatch(recipe, sequenceGrid(model), tokens, key, 1, firstImage),
      labels,
    ),
  losses: (model, recipe, params, inputs, options) =>
    lossesOf(
      fmtPlaceLosses(model, params, inputs, options),
      inputs,
      sequenceKind.sets(model, recipe),
    ),
  async sample(model, params, { labels, settings, key, firstImage, fullDecoder, ...request }) {
    const { perClass: _, order, schedule, steps, ...draw } = settings;
    const options = {
      ...draw,
      labels,
      attention: draw.attention ?? (fullDecoder ? "full-decoder" : "masked"),
      onStep: tellSteps(request),
    };
    const { kept } = request;
    if (kept && model.scales.length === 0) {
      // Known tokens come first, so that all others are drawn in view of them.
      const plan = { order, schedule, steps, key, firstImage };
      return await editTokens(model, params, kept.tokens, kept.keep, { ...options, ...plan });
    }
    const count = tokenCount(model);
    const recipe = samplingRecipe(settings, model.scales);
    return await sample(model, params, {
      ...options,
      ...drawSampling(recipe, sequenceGrid(model), key, labels.length, firstImage),
      fixed: kept && kept.tokens.map((token, i) => kept.keep[i % count] ? token : -1),
    });
  },
};

/** Tells of sets as runs are told of them. */
function tellSteps({ onStep }: Pick<SamplingRequest, "onStep">) {
  return onStep &&
    (({ set, sets, tokens }: SampleProgress) =>
      onStep({ set, sets, tokens: async () => partialCodes(await tokens()) }));
}

/** Tokens, -1 where they are not known. */
export function partialCodes(tokens: Int32Array): PartialTokens {
  return {
    values: tokens.map((token) => Math.max(token, 0)),
    known: Uint8Array.from(tokens, (token) => Number(token >= 0)),
  };
}
