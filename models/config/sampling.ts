/** The settings of sampling in the configuration of a run. */
import { z } from "npm:zod@4.6.7";
import { GUIDANCE_SCHEDULES } from "../fmt/schedules.ts";
import { SCHEDULE_NAMES } from "../sar/intervals.ts";
import { ORDER_NAMES } from "../sar/order.ts";
import { atLeast0, count } from "./fields.ts";

/** Zod schema of {@link SamplingSettings}. */
export const samplingSchema = z.strictObject({
  order: z.enum(ORDER_NAMES).default("random").describe("Order in which tokens are sampled"),
  schedule: z.enum([...SCHEDULE_NAMES, "next-scale"]).exclude(["mar"]).default("cosine")
    .describe(
      "How they are cut into sets; next-scale: by the tokenizer's scales if it has several",
    ),
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
  noiseSteps: z.int().positive().optional()
    .describe("Steps in which noise is removed from continuous tokens (default 100, or all)"),
  eta: z.number().min(0).max(1).optional().describe(
    "Share of noise that is drawn anew in these steps: 0 for none, 1 (the default) for as much as was removed",
  ),
  perClass: count(8, "Images of each class in samples.png, both in few steps and one token a step"),
}).describe("Sampling");

/** Settings of sampling. */
export type SamplingSettings = z.output<typeof samplingSchema>;
