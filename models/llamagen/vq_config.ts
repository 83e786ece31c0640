/** The configuration of LlamaGen's image tokenizer: plain data, checked, with presets. */
import { z } from "npm:zod@4.6.7";

const count = (initial: number, help: string) => z.int().positive().default(initial).describe(help);

const multipliers = (help: string) =>
  z.array(z.int().positive()).min(1).default([1, 1, 2, 2, 4]).describe(help);

/** Zod schema of {@link LlamagenVqConfig}; every field has a default, which is that of VQ-16. */
export const llamagenVqSchema = z.strictObject({
  kind: z.literal("llamagen-vq").default("llamagen-vq").describe("LlamaGen's image tokenizer"),
  channels: count(128, "Channels that the multipliers multiply"),
  encoderMultipliers: multipliers(
    "Channels of the encoder's levels, each half the size of the one before",
  ),
  decoderMultipliers: multipliers("Channels of the decoder's levels, the largest image first"),
  blocks: count(2, "Residual blocks of a level of the encoder; the decoder has one more"),
  attentionLevels: z.int().nonnegative().default(1)
    .describe("How many of the levels of smallest images attend after each residual block"),
  latentChannels: count(256, "Channels between the convolutions and the projection to codes"),
  codes: count(16384, "Rows of the codebook V"),
  codeChannels: count(8, "Width of the codebook"),
  normalizeCodes: z.boolean().default(true)
    .describe("Whether latents and codebook rows are scaled to length 1"),
  groups: count(32, "Groups of the group normalizations"),
  normEpsilon: z.number().positive().default(1e-6).describe("Added to their variance"),
}).superRefine((config, context) => {
  const { channels, groups, encoderMultipliers, decoderMultipliers } = config;
  if (channels % groups !== 0) {
    context.addIssue({
      code: "custom",
      path: ["channels"],
      message: `expected a multiple of the ${groups} groups but found ${channels}`,
    });
  }
  if (encoderMultipliers.length !== decoderMultipliers.length) {
    context.addIssue({
      code: "custom",
      path: ["decoderMultipliers"],
      message:
        `expected ${encoderMultipliers.length} levels as in the encoder but found ${decoderMultipliers.length}`,
    });
  }
}).describe("LlamaGen's image tokenizer");

/** LlamaGen's image tokenizer as data. */
export type LlamagenVqConfig = z.output<typeof llamagenVqSchema>;

/** What makes one: any of its fields. */
export type LlamagenVqInput = z.input<typeof llamagenVqSchema>;

/** The released tokenizers: a code for each 16×16, or 8×8, pixels. */
export const llamagenVqPresets = {
  "VQ-16": {},
  "VQ-8": { encoderMultipliers: [1, 2, 2, 4], decoderMultipliers: [1, 2, 2, 4] },
} as const satisfies Record<string, unknown>;

/**
 * A checked tokenizer, its missing fields filled in.
 *
 * @param config Any of the fields of {@link LlamagenVqConfig}, or the name of a preset.
 * @returns The model.
 * @throws {RangeError} If a field is unknown or has no valid value.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { llamagenVq } from "./vq_config.ts";
 *
 * assertEquals(llamagenVq("VQ-8").encoderMultipliers, [1, 2, 2, 4]);
 * ```
 */
export function llamagenVq(
  config: LlamagenVqInput | keyof typeof llamagenVqPresets = {},
): LlamagenVqConfig {
  const parsed = llamagenVqSchema.safeParse(
    typeof config === "string" ? llamagenVqPresets[config] : config,
  );
  if (parsed.success) return parsed.data;
  const { path, message } = parsed.error.issues[0]!;
  throw new RangeError(`llamagenVq: ${[...path.map(String), message].join(": ")}`);
}

/** How many pixels down and right one code stands for. */
export function pixelsPerCode({ encoderMultipliers }: LlamagenVqConfig): number {
  return 2 ** (encoderMultipliers.length - 1);
}
