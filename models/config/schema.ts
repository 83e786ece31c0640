/** The configuration of a run: data, tokenizer, model, recipe, training and sampling, every field with help. */
import { z } from "npm:zod@4.6.7";
import { fmtSchema } from "../fmt/config.ts";
import { GUIDANCE_SCHEDULES } from "../fmt/schedules.ts";
import { checkRecipe } from "../sar/draw.ts";
import { SCHEDULE_NAMES } from "../sar/intervals.ts";
import { ORDER_NAMES } from "../sar/order.ts";
import { recipeSchema } from "../sar/recipe.ts";
import { tokenGrid, vqSchema } from "../vq/config.ts";
import { checkTokenizerLosses, tokenizerLossFields } from "./tokenizer_losses.ts";

const count = (initial: number, help: string) => z.int().positive().default(initial).describe(help);
const atLeast0 = (initial: number, help: string) =>
  z.number().nonnegative().default(initial).describe(help);
const share = (initial: number, help: string) =>
  z.number().min(0).max(1).default(initial).describe(help);

const dataSchema = z.strictObject({
  source: z.enum(["mnist", "shapes"]).default("mnist")
    .describe("mnist: 70,000 digits from an npm package; shapes: generated, without a download"),
  size: z.int().min(6).max(256).default(28)
    .describe("Rows and columns of a generated image; MNIST's are 28"),
  count: count(1024, "Number of generated images"),
  classes: z.int().min(1).max(10).default(10)
    .describe("Number of classes; MNIST has 10, there are 8 shapes"),
}).describe("Images and their classes");

/** Defaults that differ between the two trainings. */
interface TrainingDefaults {
  steps: number;
  batchSize: number;
  learningRate: number;
  beta2: number;
  weightDecay: number;
}

/** Fields of a training with AdamW. */
const trainingFields = (initial: TrainingDefaults) => ({
  steps: count(initial.steps, "Number of steps"),
  batchSize: count(initial.batchSize, "Images in a step"),
  accumulate: count(
    1,
    "Parts that a step's images are computed in, one after another: less memory, the same step",
  ),
  learningRate: z.number().positive().default(initial.learningRate)
    .describe("Learning rate after warm-up"),
  schedule: z.enum(["constant", "cosine", "linear"]).default("constant")
    .describe("How the learning rate goes on from there until the last step"),
  finalRate: share(0.05, "Share of the learning rate that cosine and linear end with"),
  warmup: z.int().nonnegative().default(0).describe("Steps of linear warm-up"),
  beta1: share(0.9, "Decay of the mean of gradients in AdamW"),
  beta2: share(initial.beta2, "Decay of the mean of squared gradients in AdamW"),
  epsilon: z.number().positive().default(1e-8).describe("Added to their root in AdamW"),
  weightDecay: atLeast0(
    initial.weightDecay,
    "Decoupled weight decay of tensors of two or more axes",
  ),
  clip: atLeast0(1, "Greatest global norm of the gradient; 0 for any"),
  average: share(0, "Decay of a moving average of the weights, which is sampled from; 0 for none"),
  skipLimit: count(
    20,
    "Steps in a row that may be skipped, because loss or gradient is not finite, before training stops",
  ),
  logEvery: count(10, "Steps between readings of the loss; each is a line of metrics.jsonl"),
  checkpointEvery: count(500, "Steps between checkpoints"),
  keepCheckpoints: count(2, "How many of the last checkpoints are kept"),
  keepBest: z.boolean().default(true).describe(
    "Whether the checkpoint with the lowest loss, as the mean since the one before it, is kept as well",
  ),
});

const trainingSchema = z.strictObject({
  ...trainingFields({
    steps: 250_000,
    batchSize: 256,
    learningRate: 1e-4,
    beta2: 0.95,
    weightDecay: 0.05,
  }),
  classDropout: share(
    0.1,
    "Share of labels that become the null class, which guidance compares with",
  ),
  sampleEvery: z.int().nonnegative().default(5000)
    .describe("Steps between pictures of samples on the way, samples/step-N.png; 0 for none"),
  recompute: z.boolean().default(false).describe(
    "Whether layers are computed again in the backward pass: less memory, more time",
  ),
}).describe("Training of the model");

const samplingSchema = z.strictObject({
  order: z.enum(ORDER_NAMES).default("random").describe("Order in which tokens are sampled"),
  schedule: z.enum([...SCHEDULE_NAMES, "next-scale"]).exclude(["mar"]).default("cosine")
    .describe("How they are cut into sets"),
  steps: count(8, "Number of sets, one model step each (next-scale has its own)"),
  guidance: atLeast0(2, "Scale of classifier-free guidance; 1 for none"),
  guidanceSchedule: z.enum(GUIDANCE_SCHEDULES).default("constant").describe(
    "constant; linear or cosine: from 1 up in step with the known tokens; interval: for some sets; off",
  ),
  guidanceInterval: z.tuple([z.int(), z.int()]).optional()
    .describe("First and last set, from 1, that the schedule interval guides (default all)"),
  temperature: z.number().positive().default(1).describe("Logits are divided by it"),
  finalTemperature: z.number().nonnegative().optional()
    .describe("Temperature of the last set, reached in equal steps (default temperature)"),
  topK: z.int().nonnegative().default(0)
    .describe("How many of the most likely tokens may be drawn; 0 for all"),
  topP: z.number().gt(0).max(1).default(1)
    .describe("Probability that the tokens that may be drawn reach together"),
  attention: z.enum(["masked", "full-decoder", "full"]).optional().describe(
    "full: known tokens and queries see each other, for models trained with 2 sets (default as in training)",
  ),
  decoding: z.enum(["order", "confidence"]).default("order")
    .describe("Whether sets follow the order, or hold the tokens that the model is surest of"),
  perClass: count(8, "Images of each class in samples.png, both in few steps and one token a step"),
}).describe("Sampling");

/** Zod schema of {@link RunConfig}; every field has a default and a sentence of help. */
export const runSchema = z.strictObject({
  seed: z.int().nonnegative().default(0)
    .describe("Seed of all that is random: weights, order of the data, recipe, dropout, samples"),
  data: dataSchema.prefault({}),
  tokenizer: vqSchema.prefault({}),
  tokenizerTraining: z.strictObject({
    ...trainingFields({
      steps: 10_000,
      batchSize: 64,
      learningRate: 2e-3,
      beta2: 0.999,
      weightDecay: 0,
    }),
    ...tokenizerLossFields,
  }).superRefine(checkTokenizerLosses).prefault({}).describe("Training of the tokenizer"),
  model: fmtSchema.prefault({}),
  recipe: recipeSchema.prefault("random-16-random"),
  training: trainingSchema.prefault({}),
  sampling: samplingSchema.prefault({}),
}).superRefine((config, context) => {
  const { data, tokenizer, model, recipe, sampling } = config;
  const grid = tokenGrid(tokenizer);
  const side = data.source === "mnist" ? 28 : data.size;
  const agree = (path: string[], found: number, wanted: number, why: string) => {
    if (found === wanted) return;
    context.addIssue({
      code: "custom",
      path,
      message: `expected ${wanted} (${why}) but found ${found}`,
    });
  };
  if (data.source === "mnist") {
    agree(["data", "size"], data.size, 28, "MNIST's");
    agree(["data", "classes"], data.classes, 10, "MNIST's");
  } else if (data.classes > 8) {
    agree(["data", "classes"], data.classes, 8, "the number of shapes");
  }
  agree(["tokenizer", "imageHeight"], tokenizer.imageHeight, side, "the images' size");
  agree(["tokenizer", "imageWidth"], tokenizer.imageWidth, side, "the images' size");
  agree(["tokenizer", "imageChannels"], tokenizer.imageChannels, 1, "the images are gray");
  agree(["model", "vocabulary"], model.vocabulary, tokenizer.codes, "tokenizer.codes");
  agree(["model", "classes"], model.classes, data.classes, "data.classes");
  agree(["model", "grid", "height"], model.grid.height, grid.height, "the tokenizer's grid");
  agree(["model", "grid", "width"], model.grid.width, grid.width, "the tokenizer's grid");
  agree(["model", "scales"], model.scales.length, 0, "the tokenizer has one scale");
  for (const stage of ["tokenizerTraining", "training"] as const) {
    const { batchSize, accumulate } = config[stage];
    if (batchSize % accumulate === 0) continue;
    context.addIssue({
      code: "custom",
      path: [stage, "accumulate"],
      message: `expected a divisor of batchSize ${batchSize} but found ${accumulate}`,
    });
  }
  const tokens = grid.height * grid.width;
  if (sampling.steps > tokens) {
    context.addIssue({
      code: "custom",
      path: ["sampling", "steps"],
      message: `expected at most ${tokens} (tokens of an image) but found ${sampling.steps}`,
    });
  }
  try {
    checkRecipe(recipe, grid);
  } catch (error) {
    context.addIssue({
      code: "custom",
      path: ["recipe"],
      message: (error as Error).message,
    });
  }
}).describe("A run: train a tokenizer and a model on its codes, and sample from it");

/** The configuration of a run. */
export type RunConfig = z.output<typeof runSchema>;

/** What makes one: any of its fields. */
export type RunInput = z.input<typeof runSchema>;

/** Settings of a training with AdamW. */
export type TrainingSettings = Omit<
  RunConfig["tokenizerTraining"],
  keyof typeof tokenizerLossFields
>;

/** Settings of sampling. */
export type SamplingSettings = RunConfig["sampling"];
