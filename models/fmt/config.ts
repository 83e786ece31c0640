/** The configuration of the Fully Masked Transformer: plain data, checked, with presets. */
import { z } from "npm:zod@4.6.7";
import type { Grid } from "../sar/order.ts";

const rate = (what: string) =>
  z.number().min(0).lt(1).default(0.1).describe(
    `Dropout rate of ${what} in training, 0 to below 1`,
  );

const count = (initial: number, help: string) => z.int().positive().default(initial).describe(help);

/** Zod schema of {@link FmtConfig}; every field has a default and a sentence of help. */
export const fmtSchema = z.strictObject({
  kind: z.literal("fmt").default("fmt").describe("The Fully Masked Transformer"),
  vocabulary: count(16384, "Number of token ids V"),
  classes: count(1000, "Number of classes C; the null class for guidance is one more, with id C"),
  grid: z.strictObject({
    height: count(16, "Rows of the token grid"),
    width: count(16, "Columns of the token grid"),
  }).prefault({}).describe("Token grid; N = height × width"),
  scales: z.array(z.int().positive()).default([]).describe(
    "Rows and columns of the grids of a multi-scale tokenizer, coarse to fine, the last being the grid; none if all tokens lie on the grid",
  ),
  dim: count(768, "Width d of the residual stream"),
  heads: count(12, "Attention heads"),
  encoderLayers: count(6, "Layers of the encoder"),
  decoderLayers: count(6, "Layers of the decoder"),
  ffnMultiple: count(256, "The FFN is 2/3·4d wide, rounded up to a multiple of this"),
  normEpsilon: z.number().positive().default(1e-5)
    .describe("Added to the mean square in RMS normalization"),
  ropeBase: z.number().positive().default(10000)
    .describe("Base of the rotary embedding's wavelengths"),
  classRope: z.enum(["identity", "zero"]).default("identity").describe(
    "Rotary embedding of the class token: identity leaves its q and k alone, zero makes them 0 as LlamaGen does",
  ),
  queryPosition: z.enum(["sincos", "learned", "none"]).default("sincos").describe(
    "Position added to the decoder's query vector: a fixed 2D sine-cosine table, a learned table, or none",
  ),
  queryPositionScale: z.number().positive().default(1).describe(
    "Root mean square of the sine-cosine table in units of initScale: at 1, all embeddings start alike",
  ),
  encoderFinalNorm: z.boolean().default(false)
    .describe("Whether the encoder's output is normalized before cross-attention"),
  initScale: z.number().positive().default(0.02)
    .describe("Standard deviation of initial weights; the output head starts at 0"),
  embeddingDropout: rate("embeddings"),
  residualDropout: rate("attention outputs"),
  ffnDropout: rate("FFN outputs"),
}).superRefine(checkFmt).describe("Fully Masked Transformer");

/** A Fully Masked Transformer as data. */
export type FmtConfig = z.output<typeof fmtSchema>;

/** What transformers of any kind of tokens have in common. */
export type FmtBodyConfig = Omit<FmtConfig, "kind" | "vocabulary">;

/** What makes one: any of its fields. */
export type FmtInput = z.input<typeof fmtSchema>;

/** The sizes of the SAR paper (table 3), for 16×16 grids, 16,384 tokens and 1,000 classes. */
export const fmtPresets = {
  "FMT-B": { dim: 768, heads: 12, encoderLayers: 6, decoderLayers: 6 },
  "FMT-L": { dim: 1024, heads: 16, encoderLayers: 12, decoderLayers: 12 },
  "FMT-XL": { dim: 1280, heads: 20, encoderLayers: 18, decoderLayers: 18 },
} as const satisfies Record<string, FmtInput>;

/**
 * A checked Fully Masked Transformer, its missing fields filled in.
 *
 * @param config Any of the fields of {@link FmtConfig}.
 * @returns The model, to be passed to `init`, `apply`, `describe` and `sample`.
 * @throws {RangeError} If a field is unknown or has no valid value.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { fmt, fmtPresets } from "./config.ts";
 *
 * const model = fmt({ ...fmtPresets["FMT-L"], grid: { height: 24, width: 24 } });
 * assertEquals([model.dim, model.encoderLayers, model.ropeBase], [1024, 12, 10000]);
 * ```
 */
export function fmt(config: FmtInput = {}): FmtConfig {
  const parsed = fmtSchema.safeParse(config);
  if (parsed.success) return parsed.data;
  const { path, message } = parsed.error.issues[0]!;
  throw new RangeError(`fmt: ${[...path.map(String), message].join(": ")}`);
}

/** What decides how heads and places share features and grid. */
interface LayoutSettings {
  readonly dim: number;
  readonly heads: number;
  readonly grid: Grid;
  readonly scales: readonly number[];
}

/** Refuses heads that two axes cannot share, and scales that do not lead to the grid. */
export function checkFmt(config: LayoutSettings, context: z.core.$RefinementCtx): void {
  const perHead = config.dim / config.heads;
  if (perHead % 4 !== 0) {
    context.addIssue({
      code: "custom",
      path: ["heads"],
      message:
        `expected dim / heads to be a multiple of 4 (two axes of rotated pairs) but found ${config.dim} / ${config.heads}`,
    });
  }
  const { grid: { height, width }, scales } = config;
  const isIncreasing = scales.every((side, i) => i === 0 || side > scales[i - 1]!);
  if (scales.length > 0 && !(isIncreasing && scales.at(-1) === height && height === width)) {
    context.addIssue({
      code: "custom",
      path: ["scales"],
      message:
        `expected increasing scales, the last as large as the (square) grid of ${height}×${width}, but found ${
          scales.join(", ")
        }`,
    });
  }
}

/** Number of tokens N of an image: those of the grid, or of the grids of all scales together. */
export function tokenCount({ grid, scales }: Pick<LayoutSettings, "grid" | "scales">): number {
  return scales.length === 0
    ? grid.height * grid.width
    : scales.reduce((sum, side) => sum + side * side, 0);
}

/**
 * The grid that orders and set sizes of a recipe are drawn for: the token grid, or, of several scales, one row of
 * the tokens of all scales, coarse to fine, each scale row by row.
 */
export function sequenceGrid(model: Pick<LayoutSettings, "grid" | "scales">): Grid {
  return model.scales.length === 0 ? model.grid : { height: 1, width: tokenCount(model) };
}

/** Hidden width of the FFN: ⌊2·4d/3⌋ rounded up to a multiple of `ffnMultiple`. */
export function ffnWidth(
  { dim, ffnMultiple }: Pick<FmtConfig, "dim" | "ffnMultiple">,
): number {
  return Math.ceil(Math.floor(8 * dim / 3) / ffnMultiple) * ffnMultiple;
}
