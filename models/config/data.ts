/** Where the images of a run come from. */
import { z } from "npm:zod@4.6.7";
import { SHAPE_CLASSES } from "../data/shapes.ts";
import type { ImageSize } from "../kinds/tokenizer.ts";
import { byField } from "./by_field.ts";
import { count } from "./fields.ts";

/** A number that a source decides; writing it down is allowed. */
const decided = <N extends number>(value: N, whose: string, help: string) =>
  z.literal(value, { error: ({ input }) => `expected ${value} (${whose}) but found ${input}` })
    .default(value).describe(help);

const sources = [
  z.strictObject({
    source: z.literal("mnist").default("mnist").describe(
      "70,000 handwritten digits, from an npm package",
    ),
    size: decided(28, "MNIST's", "Rows and columns of an image"),
    classes: decided(10, "MNIST's", "Number of classes"),
  }),
  z.strictObject({
    source: z.literal("shapes").describe("generated, without a download"),
    size: z.int().min(6).max(256).default(28).describe("Rows and columns of an image"),
    count: count(1024, "Number of images"),
    classes: z.int().min(1).max(SHAPE_CLASSES, {
      error: ({ input }) =>
        `expected at most ${SHAPE_CLASSES} (the number of shapes) but found ${input}`,
    }).default(SHAPE_CLASSES).describe("Number of classes"),
  }),
] as const;

/** Zod schema of {@link DataSettings}. */
export const dataSchema = byField("source", sources, "mnist").describe("Images and their classes");

/** Where images come from, by `source`. */
export type DataSettings = z.output<typeof dataSchema>;

/** The size of the images of a source. */
export function imageSizeOf({ size }: DataSettings): ImageSize {
  return { height: size, width: size, channels: 1 };
}
