/** The configuration of LlamaGen's class-conditional GPT: plain data, checked, with presets. */
import { z } from "npm:zod@4.6.7";

const rate = (what: string) =>
  z.number().min(0).lt(1).default(0.1).describe(`Dropout rate of ${what} in training`);

const count = (initial: number, help: string) => z.int().positive().default(initial).describe(help);

/** Zod schema of {@link GptConfig}; every field has a default, which is that of GPT-B for 256×256 images. */
export const gptSchema = z.strictObject({
  kind: z.literal("llamagen-gpt").default("llamagen-gpt").describe(
    "LlamaGen's class-conditional GPT",
  ),
  vocabulary: count(16384, "Number of token ids V"),
  classes: count(1000, "Number of classes C; the null class for guidance is one more, with id C"),
  grid: z.strictObject({
    height: count(16, "Rows of the token grid"),
    width: count(16, "Columns of the token grid"),
  }).prefault({}).describe("Token grid; N = height × width"),
  dim: count(768, "Width d of the residual stream"),
  heads: count(12, "Attention heads"),
  layers: count(12, "Layers"),
  ffnMultiple: count(256, "The FFN is 2/3·4d wide, rounded up to a multiple of this"),
  normEpsilon: z.number().positive().default(1e-5)
    .describe("Added to the mean square in RMS normalization"),
  ropeBase: z.number().positive().default(10000)
    .describe("Base of the rotary embedding's wavelengths"),
  initScale: z.number().positive().default(0.02)
    .describe("Standard deviation of initial weights; the output head starts at 0"),
  embeddingDropout: rate("embeddings"),
  residualDropout: rate("attention outputs"),
  ffnDropout: rate("FFN outputs"),
}).superRefine(({ dim, heads }, context) => {
  if (dim / heads % 4 !== 0) {
    context.addIssue({
      code: "custom",
      path: ["heads"],
      message:
        `expected dim / heads to be a multiple of 4 (two axes of rotated pairs) but found ${dim} / ${heads}`,
    });
  }
}).describe("LlamaGen's class-conditional GPT");

/** A GPT as data. */
export type GptConfig = z.output<typeof gptSchema>;

/** What makes one: any of its fields. */
export type GptInput = z.input<typeof gptSchema>;

/** The sizes of LlamaGen (table 2), for 16,384 tokens and 1,000 classes. */
export const gptPresets = {
  "GPT-B": { dim: 768, heads: 12, layers: 12 },
  "GPT-L": { dim: 1024, heads: 16, layers: 24 },
  "GPT-XL": { dim: 1280, heads: 20, layers: 36 },
  "GPT-XXL": { dim: 1536, heads: 24, layers: 48 },
  "GPT-XXXL": { dim: 2560, heads: 40, layers: 48 },
  "GPT-1B": { dim: 2048, heads: 32, layers: 22 },
  "GPT-3B": { dim: 3200, heads: 32, layers: 24 },
  "GPT-7B": { dim: 4096, heads: 32, layers: 32 },
} as const satisfies Record<string, GptInput>;

/**
 * A checked GPT, its missing fields filled in.
 *
 * @param config Any of the fields of {@link GptConfig}.
 * @returns The model.
 * @throws {RangeError} If a field is unknown or has no valid value.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { gpt, gptPresets } from "./gpt_config.ts";
 *
 * const for384 = gpt({ ...gptPresets["GPT-L"], grid: { height: 24, width: 24 } });
 * assertEquals([for384.layers, for384.vocabulary], [24, 16384]);
 * ```
 */
export function gpt(config: GptInput = {}): GptConfig {
  const parsed = gptSchema.safeParse(config);
  if (parsed.success) return parsed.data;
  const { path, message } = parsed.error.issues[0]!;
  throw new RangeError(`gpt: ${[...path.map(String), message].join(": ")}`);
}

/**
 * A GPT of a released size, with a code for each 16×16 pixels.
 *
 * @param name Its size.
 * @param imageSize Height and width of the images in pixels: 256 (the default), 384, ….
 * @returns The model.
 * @throws {RangeError} If the size is unknown, or the image not a multiple of 16.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { gptPreset } from "./gpt_config.ts";
 *
 * assertEquals(gptPreset("GPT-3B", 384).grid, { height: 24, width: 24 });
 * ```
 */
export function gptPreset(name: keyof typeof gptPresets, imageSize = 256): GptConfig {
  if (!Object.hasOwn(gptPresets, name)) {
    throw new RangeError(
      `gptPreset: expected name to be one of ${
        Object.keys(gptPresets).join(", ")
      } but found ${name}`,
    );
  }
  const side = imageSize / 16;
  return gpt({ ...gptPresets[name], grid: { height: side, width: side } });
}
