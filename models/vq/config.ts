/** The configuration of the small image tokenizer: plain data, checked. */
import { z } from "npm:zod@4.6.7";
import type { Grid } from "../sar/order.ts";

const count = (initial: number, help: string) => z.int().positive().default(initial).describe(help);

const channels = (initial: number[], help: string) =>
  z.array(z.int().positive()).min(1).default(initial).describe(help);

/** Zod schema of {@link VqConfig}; every field has a default and a sentence of help. */
export const vqSchema = z.strictObject({
  kind: z.literal("vq").default("vq").describe("A small convolutional tokenizer"),
  imageHeight: count(28, "Rows of pixels of an image"),
  imageWidth: count(28, "Columns of pixels of an image"),
  imageChannels: count(1, "Values of a pixel: 1 for gray, 3 for RGB"),
  encoderChannels: channels(
    [32, 64],
    "Channels of the encoder's levels, each half the size of the one before",
  ),
  decoderChannels: channels(
    [64, 32, 16],
    "Channels of the decoder: of the token grid, then of each level, twice the size of the one before",
  ),
  codes: count(128, "Rows of the codebook V"),
  codeChannels: count(8, "Width of the codebook"),
  normalizeCodes: z.boolean().default(true)
    .describe("Whether latents and codebook rows are scaled to length 1"),
  commitment: z.number().nonnegative().default(0.25)
    .describe("Weight of the loss that draws latents to their codes"),
}).superRefine(checkLevels).describe("A small convolutional tokenizer");

/** A small image tokenizer as data. */
export type VqConfig = z.output<typeof vqSchema>;

/** What makes one: any of its fields. */
export type VqInput = z.input<typeof vqSchema>;

/**
 * A checked tokenizer, its missing fields filled in.
 *
 * @param config Any of the fields of {@link VqConfig}.
 * @returns The model, to be passed to `init`, `apply`, `describe`, `encodeImages` and `decodeCodes`.
 * @throws {RangeError} If a field is unknown or has no valid value.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tokenGrid, vqTokenizer } from "./config.ts";
 *
 * assertEquals(tokenGrid(vqTokenizer({ imageHeight: 32 })), { height: 8, width: 7 });
 * ```
 */
export function vqTokenizer(config: VqInput = {}): VqConfig {
  const parsed = vqSchema.safeParse(config);
  if (parsed.success) return parsed.data;
  const { path, message } = parsed.error.issues[0]!;
  throw new RangeError(`vqTokenizer: ${[...path.map(String), message].join(": ")}`);
}

/** The grid of tokens that an image becomes. */
export function tokenGrid(
  { imageHeight, imageWidth, encoderChannels }: Omit<LevelSettings, "decoderChannels">,
): Grid {
  const factor = 2 ** encoderChannels.length;
  return { height: imageHeight / factor, width: imageWidth / factor };
}

/** What decides the sizes of the levels. */
interface LevelSettings {
  readonly imageHeight: number;
  readonly imageWidth: number;
  readonly encoderChannels: readonly number[];
  readonly decoderChannels: readonly number[];
}

/** Refuses images that the levels cannot halve, and a decoder of another number of levels. */
export function checkLevels(config: LevelSettings, context: z.core.$RefinementCtx): void {
  const { encoderChannels, decoderChannels } = config;
  const factor = 2 ** encoderChannels.length;
  for (const side of ["imageHeight", "imageWidth"] as const) {
    if (config[side] % factor === 0) continue;
    context.addIssue({
      code: "custom",
      path: [side],
      message: `expected a multiple of ${factor} (${encoderChannels.length} levels) but found ${
        config[side]
      }`,
    });
  }
  if (decoderChannels.length !== encoderChannels.length + 1) {
    context.addIssue({
      code: "custom",
      path: ["decoderChannels"],
      message: `expected ${
        encoderChannels.length + 1
      } numbers (one more than the encoder's levels) but found ${decoderChannels.length}`,
    });
  }
}
