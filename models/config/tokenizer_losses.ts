/** What a tokenizer learns by, beside the error of its pixels: fields of its training. */
import { z } from "npm:zod@4.6.7";

const weight = (help: string) => z.number().nonnegative().default(0).describe(help);

const codebook = z.strictObject({
  update: z.enum(["gradient", "ema"]).default("gradient").describe(
    "What moves codes: gradient, or ema: each is the moving average of the vectors that take it",
  ),
  decay: z.number().min(0).lt(1).default(0.99)
    .describe("Decay of the moving averages of vectors and of how often codes are taken"),
  window: z.int().positive().default(100)
    .describe("Steps in which no vector takes a code before it counts as unused"),
  restart: z.boolean().default(false)
    .describe("Whether unused codes are drawn anew from the vectors of a step"),
  entropy: weight("Weight of the loss that makes choices of codes sure, and even over all codes"),
  entropyTemperature: z.number().positive().default(0.01)
    .describe("What that loss divides squared distances by"),
}).prefault({}).describe("How the codebook learns");

const perceptual = z.strictObject({
  weight: weight("Weight of the perceptual loss LPIPS"),
  weights: z.string().min(1).optional().describe(
    "File of VGG-16's weights with those of LPIPS, .safetensors",
  ),
}).prefault({}).describe("The perceptual loss");

const adversarial = z.strictObject({
  weight: weight("Weight of the loss that a discriminator of patches judges"),
  start: z.int().nonnegative().default(0)
    .describe("Steps before it, in which the discriminator does not learn either"),
  channels: z.int().positive().default(64).describe(
    "Channels of the discriminator's first level; each further one has twice as many, up to 8 times",
  ),
  levels: z.int().positive().default(3)
    .describe("Levels of the discriminator that halve the image"),
  learningRate: z.number().positive().default(2e-4).describe("Its constant learning rate"),
  beta1: z.number().min(0).max(1).default(0.5).describe("Decay of the mean of its gradients"),
  gradientPenalty: weight("Weight γ/2 of the penalty R1 on its gradient at images"),
}).prefault({}).describe("The adversarial loss");

/** Fields of a tokenizer's training. */
export const tokenizerLossFields = { codebook, perceptual, adversarial };

/** What a tokenizer learns by. */
export interface TokenizerLossSettings {
  readonly codebook: z.output<typeof codebook>;
  readonly perceptual: z.output<typeof perceptual>;
  readonly adversarial: z.output<typeof adversarial>;
}

/** Refuses a perceptual loss without weights. */
export function checkTokenizerLosses(
  { perceptual: { weight, weights } }: Pick<TokenizerLossSettings, "perceptual">,
  context: z.core.$RefinementCtx,
): void {
  if (weight === 0 || weights !== undefined) return;
  context.addIssue({
    code: "custom",
    path: ["perceptual", "weights"],
    message: "expected a file of weights, as the perceptual loss has a weight, but found none",
  });
}
