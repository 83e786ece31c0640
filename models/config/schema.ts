/** The configuration of a run: data, tokenizer, model, recipe, training and sampling, every field with help. */
import { z } from "npm:zod@4.6.7";
import { autoencoderSchema } from "../diffusion/autoencoder.ts";
import { continuousFmtSchema } from "../diffusion/fmt.ts";
import { fmtSchema } from "../fmt/config.ts";
import { type Misfit, modelKind } from "../kinds/model.ts";
import { tokenizerKind, tokenLayout } from "../kinds/tokenizer.ts";
import { gptSchema } from "../llamagen/gpt_config.ts";
import { llamagenVqSchema } from "../llamagen/vq_config.ts";
import { recipeSchema } from "../sar/recipe.ts";
import { multiscaleVqSchema } from "../var/config.ts";
import { vqSchema } from "../vq/config.ts";
import { byField, isObject } from "./by_field.ts";
import { dataSchema, imageSizeOf } from "./data.ts";
import { samplingSchema } from "./sampling.ts";
import { tokenizerTrainingSchema, trainingSchema } from "./training.ts";

export type { SamplingSettings } from "./sampling.ts";
export type { TrainingSettings } from "./training.ts";

/** Zod schema of a run's tokenizer, by its kind. */
export const tokenizerSchema = byField(
  "kind",
  [vqSchema, multiscaleVqSchema, autoencoderSchema, llamagenVqSchema],
  "vq",
).describe("The tokenizer");

/** Zod schema of a run's model, by its kind. */
export const modelSchema = byField(
  "kind",
  [fmtSchema, continuousFmtSchema, gptSchema],
  "fmt",
).describe("The model");

/** Zod schema of {@link RunConfig}; every field has a default and a sentence of help. */
export const runSchema = z.strictObject({
  seed: z.int().nonnegative().default(0)
    .describe("Seed of all that is random: weights, order of the data, recipe, dropout, samples"),
  data: dataSchema.prefault({}),
  tokenizer: tokenizerSchema.prefault({}),
  tokenizerTraining: tokenizerTrainingSchema.prefault({}),
  model: modelSchema.prefault({}),
  recipe: recipeSchema.prefault("random-16-random"),
  training: trainingSchema.prefault({}),
  sampling: samplingSchema.prefault({}),
}).superRefine((config, context) => {
  for (const { path, message } of findMisfits(config)) {
    context.addIssue({ code: "custom", path: [...path], message });
  }
}).describe("A run: train a tokenizer and a model on its codes, and sample from it");

/** The parts that have to fit each other. */
type RunParts = Pick<
  z.output<typeof runSchema>,
  "data" | "tokenizer" | "tokenizerTraining" | "model" | "recipe" | "training" | "sampling"
>;

/** What does not fit in a configuration whose parts are valid. */
function findMisfits(config: RunParts): Misfit[] {
  const { data, tokenizer, tokenizerTraining, model, recipe, training, sampling } = config;
  const image = imageSizeOf(data);
  const ofTokenizer = tokenizerKind(tokenizer), ofModel = modelKind(model);
  const differing = differences("tokenizer", tokenizer, ofTokenizer.fit(image), "the images'");
  if (differing.length > 0) return differing;
  let layout;
  try {
    layout = tokenLayout(tokenizer, image);
  } catch (error) {
    return [{ path: ["data", "size"], message: (error as Error).message }];
  }
  const { values, scales } = layout;
  if (values.kind !== ofModel.tokens) {
    return [{
      path: ["model", "kind"],
      message: `expected a model of ${values.kind}, which the tokenizer ${tokenizer.kind} gives,` +
        ` but found ${model.kind}, which is one of ${ofModel.tokens}`,
    }];
  }
  const fields = ofModel.fit(layout, data.classes);
  if (scales.length > 0 && !("scales" in fields)) {
    return [{
      path: ["model", "kind"],
      message: `expected a model of several scales, which the tokenizer ${tokenizer.kind} has,` +
        ` but found ${model.kind}`,
    }];
  }
  const misfits = differences("model", model, fields, "the tokenizer's");
  if (data.source === "codes" && tokenizerTraining.weights === undefined) {
    misfits.push({
      path: ["tokenizerTraining", "weights"],
      message: "expected the file of weights that the codes were made with but found none",
    });
  }
  if (training.warmStart !== undefined && model.kind !== "fmt") {
    misfits.push({
      path: ["training", "warmStart"],
      message: `expected none for ${model.kind}: it is for fmt`,
    });
  }
  for (const stage of ["tokenizerTraining", "training"] as const) {
    const { batchSize, accumulate } = config[stage];
    if (batchSize % accumulate === 0) continue;
    misfits.push({
      path: [stage, "accumulate"],
      message: `expected a divisor of batchSize ${batchSize} but found ${accumulate}`,
    });
  }
  return [...misfits, ...ofModel.misfits(model, recipe, sampling)];
}

/** Fields that are not what they have to be. */
function differences(
  path: string,
  found: Readonly<Record<string, unknown>>,
  wanted: Readonly<Record<string, unknown>>,
  whose: string,
): Misfit[] {
  return Object.entries(wanted).flatMap(([name, value]) => {
    const own = found[name], at = `${path}.${name}`;
    if (isObject(value)) return differences(at, isObject(own) ? own : {}, value, whose);
    if (String(own) === String(value)) return [];
    const why = name === "classes" ? "data.classes" : whose;
    const show = (x: unknown) => String(x) || "none";
    return [{
      path: at.split("."),
      message: `expected ${show(value)} (${why}) but found ${show(own)}`,
    }];
  });
}

/** The configuration of a run. */
export type RunConfig = z.output<typeof runSchema>;

/** Type that a model is computed in. */
export type Precision = RunConfig["training"]["precision"];

/** What makes one: any of its fields. */
export type RunInput = z.input<typeof runSchema>;
