/** The configuration of the multi-scale residual tokenizer: plain data, checked. */
import { z } from "npm:zod@4.6.7";
import { checkLevels, tokenGrid, vqSchema } from "../vq/config.ts";

const { kind: _, normalizeCodes: __, ...convolutionFields } = vqSchema.shape;

/** Zod schema of {@link MultiscaleVqConfig}; every field has a default and a sentence of help. */
export const multiscaleVqSchema = z.strictObject({
  kind: z.literal("multiscale-vq").default("multiscale-vq")
    .describe("A tokenizer of several scales, each coding what the coarser ones leave"),
  ...convolutionFields,
  scales: z.array(z.int().positive()).min(1).default([1, 2, 4, 7]).describe(
    "Rows and columns of the token grids, coarse to fine; the last is the encoder's own",
  ),
  refinements: z.int().nonnegative().default(4).describe(
    "Convolutions after the enlargement of a scale's codes, shared by neighboring scales; 0 for none",
  ),
  refinementShare: z.number().min(0).max(1).default(0.5)
    .describe("Share r of the convolution: (1 - r)·x + r·conv(x)"),
}).superRefine((config, context) => {
  checkLevels(config, context);
  const { scales } = config;
  const { height, width } = tokenGrid(config);
  const fail = (message: string) => context.addIssue({ code: "custom", path: ["scales"], message });
  if (height !== width) fail(`expected a square token grid but found ${height}×${width}`);
  if (scales.some((side, i) => i > 0 && side <= scales[i - 1]!)) {
    fail(`expected increasing scales but found ${scales.join(", ")}`);
  }
  if (scales.at(-1) !== height) {
    fail(`expected the last scale to be ${height} (the encoder's) but found ${scales.at(-1)}`);
  }
}).describe("A tokenizer of several scales");

/** The scales of VAR (Tian et al. 2024), for tokenizers that reduce images by 16. */
export const scalePresets = {
  "VAR-256": [1, 2, 3, 4, 5, 6, 8, 10, 13, 16],
  "VAR-512": [1, 2, 3, 4, 6, 9, 13, 18, 24, 32],
} as const satisfies Record<string, readonly number[]>;

/** A multi-scale tokenizer as data. */
export type MultiscaleVqConfig = z.output<typeof multiscaleVqSchema>;

/** What makes one: any of its fields. */
export type MultiscaleVqInput = z.input<typeof multiscaleVqSchema>;

/**
 * A checked multi-scale tokenizer, its missing fields filled in.
 *
 * @param config Any of the fields of {@link MultiscaleVqConfig}.
 * @returns The model, to be passed to `init`, `apply`, `describe`, `encodeScales` and `decodeScales`.
 * @throws {RangeError} If a field is unknown or has no valid value.
 *
 * @example
 * ```ts
 * import { assertEquals, assertThrows } from "@std/assert";
 * import { multiscaleVq } from "./config.ts";
 *
 * assertEquals(multiscaleVq({ imageHeight: 32, imageWidth: 32, scales: [1, 3, 8] }).codes, 128);
 * assertThrows(() => multiscaleVq({ scales: [1, 2] }), RangeError, "last scale to be 7");
 * ```
 */
export function multiscaleVq(config: MultiscaleVqInput = {}): MultiscaleVqConfig {
  const parsed = multiscaleVqSchema.safeParse(config);
  if (parsed.success) return parsed.data;
  const { path, message } = parsed.error.issues[0]!;
  throw new RangeError(`multiscaleVq: ${[...path.map(String), message].join(": ")}`);
}
