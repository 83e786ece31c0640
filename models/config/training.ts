/** The settings of both trainings in the configuration of a run. */
import { z } from "npm:zod@4.6.7";
import { atLeast0, count, share } from "./fields.ts";
import { checkTokenizerLosses, tokenizerLossFields } from "./tokenizer_losses.ts";

/** Defaults that differ between the two trainings. */
interface TrainingDefaults {
  steps: number;
  batchSize: number;
  learningRate: number;
  beta2: number;
  weightDecay: number;
}

function isPattern(text: string): boolean {
  try {
    return new RegExp(text) instanceof RegExp;
  } catch {
    return false;
  }
}

/** Parameters with settings of their own. */
const groupSchema = z.strictObject({
  match: z.string().min(1).refine(isPattern, "expected a regular expression").describe(
    "Regular expression found in the path of a parameter, as encoder.0.attention.wo.weight",
  ),
  learningRate: atLeast0(1, "Multiplies the learning rate"),
  weightDecay: z.number().nonnegative().optional().describe(
    "In place of the training's, for tensors of any number of axes",
  ),
});

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
  groups: z.array(groupSchema).default([]).describe(
    'Parameters with settings of their own, each in the first group that matches: [{"match":"norm","learningRate":0.5,"weightDecay":0}]',
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
  precision: z.enum(["f32", "f16"]).default("f32").describe(
    "Type that it is computed in; f16 keeps weights in f32 and needs a webgpu device with shader-f16",
  ),
  lossScaleEvery: count(
    2000,
    "Good steps in a row that double the scale of the loss in f16; a step that overflows is skipped and halves it",
  ),
});

/** Zod schema of the tokenizer's training. */
export const tokenizerTrainingSchema = z.strictObject({
  weights: z.string().min(1).optional().describe(
    "File of trained weights, which are taken as they are: there is no training then",
  ),
  ...trainingFields({
    steps: 10_000,
    batchSize: 64,
    learningRate: 2e-3,
    beta2: 0.999,
    weightDecay: 0,
  }),
  ...tokenizerLossFields,
}).superRefine(checkTokenizerLosses).describe("Training of the tokenizer");

/** Zod schema of the model's training. */
export const trainingSchema = z.strictObject({
  warmStart: z.string().min(1).optional().describe(
    "File of LlamaGen's GPT of as many layers, from which an fmt starts: its first layers become the encoder",
  ),
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
  offload: z.boolean().default(false).describe(
    "Whether AdamW's means and the average wait in the host's memory, as for models beyond the 4 GiB of wasm: more time",
  ),
}).describe("Training of the model");

/** Settings of a training with AdamW. */
export type TrainingSettings = Omit<
  z.output<typeof tokenizerTrainingSchema>,
  "weights" | keyof typeof tokenizerLossFields
>;
