/** Editing images with a trained run: encoded, some of their tokens drawn anew, and decoded. */
import type { Image } from "../../lib/formats/png.ts";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { jit } from "../../lib/transforms/jit.ts";
import { imageSizeOf } from "../config/data.ts";
import type { SamplingSettings } from "../config/schema.ts";
import { modelKind, type TokenArray } from "../kinds/model.ts";
import { tokenizerKind } from "../kinds/tokenizer.ts";
import { keptCells } from "../sar/edit.ts";
import { runKey } from "./keys.ts";
import { decodeTokens, layoutOf, type TrainedRun } from "./samples.ts";

/** What is edited, and where. */
export interface ImageEdit {
  /** The image, at most as large as the run's images; what lies around it is drawn. */
  readonly image: Image;
  /** White where the image is to be replaced, of its size; without, nothing of it is. */
  readonly mask?: Image;
  /** Columns and rows of pixels in front of the image (default: it is in the middle). */
  readonly place?: readonly [left: number, top: number];
  /** The class of the result (default: none). */
  readonly label?: number;
  /** How many results (default 1). */
  readonly count?: number;
  /** The same seed gives the same results. */
  readonly seed: number;
}

/** The result of an edit. */
export interface EditedImages {
  /** The results. */
  readonly images: Image[];
  /** How many tokens were kept. */
  readonly kept: number;
  /** How many tokens an image has. */
  readonly total: number;
}

/**
 * Edits an image: tokens of which a pixel is to be replaced, or lies outside, are drawn; the others are kept. All
 * tokens are decoded, so that pixels of kept tokens are as the tokenizer reconstructs them.
 *
 * @param run The trained run.
 * @param edit What is edited, and where.
 * @param settings How to sample; there are at most as many steps as tokens to draw.
 * @param report Told the share that is done, after every set.
 * @returns The results.
 * @throws {RangeError} If the image does not fit into those of the run, or the mask into the image.
 */
export async function editImage(
  run: TrainedRun,
  edit: ImageEdit,
  settings: SamplingSettings,
  report: (done: number, total: number) => void = () => {},
): Promise<EditedImages> {
  const { config, model } = run;
  const { classes } = config.data;
  const { image, mask, label = classes, count = 1, seed } = edit;
  const size = imageSizeOf(config.data);
  const place = placeOf(image, size, edit.place);
  if (mask && (mask.width !== image.width || mask.height !== image.height)) {
    throw new RangeError(
      `editImage: expected a mask of ${image.width}×${image.height} as the image` +
        ` but found ${mask.width}×${mask.height}`,
    );
  }
  const canvas = fillAround(toChannels(image, size.channels), size, place);
  const kind = tokenizerKind(config.tokenizer);
  const encode = jit((params: TrainedRun["tokenizer"], images: Tensor) =>
    kind.encode(config.tokenizer, params, images)
  );
  const tokens = await encode(run.tokenizer, toTensor(canvas)).data() as TokenArray;
  const replaced = replacedPixels(image, mask, size, place);
  const { grid, scales } = layoutOf(config);
  // A token of a coarse scale is kept where none of the pixels that it covers is replaced.
  const grids = scales.length === 0
    ? [grid]
    : scales.map((side) => ({ height: side, width: side }));
  const keep = Uint8Array.from(
    grids.flatMap((cells) => [...keptCells(replaced, size.width, cells)]),
  );

  const copies = tokens.length * count;
  const edited = await modelKind(config.model).sample(config.model, model, {
    labels: new Array<number>(count).fill(label),
    // Without a class there is nothing to compare with.
    settings: label === classes ? { ...settings, guidance: 1 } : settings,
    key: runKey(seed, "samples"),
    firstImage: 0,
    fullDecoder: config.recipe.fullDecoder,
    kept: {
      keep,
      tokens: tokens instanceof Int32Array
        ? Int32Array.from({ length: copies }, (_, i) => tokens[i % tokens.length]!)
        : Float32Array.from({ length: copies }, (_, i) => tokens[i % tokens.length]!),
    },
    onStep: ({ set, sets }) => report(set, sets),
  });
  return {
    images: await decodeTokens(run, edited),
    kept: keep.reduce((sum, kept) => sum + kept, 0),
    total: keep.length,
  };
}

interface Size {
  readonly width: number;
  readonly height: number;
}

/** Where an image begins within a larger one: where it is wanted, or in the middle. */
function placeOf(
  image: Size,
  size: Size,
  wanted: ImageEdit["place"],
): readonly [left: number, top: number] {
  const [left, top] = wanted ?? [
    Math.floor((size.width - image.width) / 2),
    Math.floor((size.height - image.height) / 2),
  ];
  const fits = left >= 0 && top >= 0 && left + image.width <= size.width &&
    top + image.height <= size.height;
  if (fits) return [left, top];
  throw new RangeError(
    `editImage: expected the image to lie within ${size.width}×${size.height}` +
      ` but found ${image.width}×${image.height} at ${left},${top}`,
  );
}

/** An image as gray (Rec. 601) or RGB; alpha is dropped. */
function toChannels(image: Image, channels: number): Image {
  const { width, height } = image;
  const from = image.channels === 1 ? 1 : 3;
  if (image.channels === channels) return image;
  const data = new Uint8Array(width * height * channels);
  for (let pixel = 0; pixel < width * height; pixel++) {
    const values = image.data.subarray(pixel * image.channels, pixel * image.channels + from);
    const [red, green, blue] = [values[0]!, values.at(-2) ?? values[0]!, values.at(-1)!];
    data.set(
      channels === 1
        ? [Math.round(0.299 * red + 0.587 * green + 0.114 * blue)]
        : [red, green, blue],
      pixel * channels,
    );
  }
  return { width, height, channels: channels as Image["channels"], data };
}

/** An image within a larger one, its border repeated around it so that its own tokens see no edge. */
function fillAround(
  image: Image,
  { width, height }: Size,
  [left, top]: readonly [number, number],
): Image {
  const { channels } = image;
  const data = new Uint8Array(width * height * channels);
  const nearest = (at: number, length: number) => Math.min(Math.max(at, 0), length - 1);
  for (let pixel = 0; pixel < width * height; pixel++) {
    const column = nearest(pixel % width - left, image.width);
    const row = nearest(Math.floor(pixel / width) - top, image.height);
    const from = (row * image.width + column) * channels;
    data.set(image.data.subarray(from, from + channels), pixel * channels);
  }
  return { width, height, channels, data };
}

/** 1 for each pixel that is to be replaced or lies outside of the image. */
function replacedPixels(
  image: Size,
  mask: Image | undefined,
  { width, height }: Size,
  [left, top]: readonly [number, number],
): Uint8Array {
  const white = mask && toChannels(mask, 1).data;
  return Uint8Array.from({ length: width * height }, (_, pixel) => {
    const column = pixel % width - left, row = Math.floor(pixel / width) - top;
    const isInside = column >= 0 && column < image.width && row >= 0 && row < image.height;
    if (!isInside) return 1;
    return white && white[row * image.width + column]! > 127 ? 1 : 0;
  });
}

/** An image as a tensor [1, C, H, W] in -1..1. */
function toTensor({ width, height, channels, data }: Image): Tensor {
  const pixels = width * height;
  const values = Float32Array.from(
    { length: data.length },
    (_, i) => data[i % pixels * channels + Math.floor(i / pixels)]! / 127.5 - 1,
  );
  return tensor(values, { shape: [1, channels, height, width] });
}
