/** Pictures from a trained run: tokens drawn set by set, decoded to images. */
import { type Image, imageGrid } from "../../lib/formats/png.ts";
import { jit } from "../../lib/transforms/jit.ts";
import { reshape } from "../../ops/reshape.ts";
import type { RunConfig, SamplingSettings } from "../config/schema.ts";
import type { FmtParameters } from "../fmt/network.ts";
import { sample } from "../fmt/sample.ts";
import { parseRecipe } from "../sar/recipe.ts";
import { drawSampling } from "../sar/sampling.ts";
import { decodeCodes, type VqParameters } from "../vq/vq.ts";
import { toImages } from "./data.ts";
import { runKey } from "./keys.ts";

/** A run that can be sampled from. */
export interface TrainedRun {
  readonly config: RunConfig;
  readonly tokenizer: VqParameters;
  readonly model: FmtParameters;
}

/** Images that are sampled together; another number gives the same images. */
const batchSize = 80;

const decodeBatch = jit(decodeCodes);

/**
 * Samples images.
 *
 * @param run The trained run.
 * @param labels The class of each image wanted.
 * @param settings How to sample.
 * @param seed The same seed gives the same images.
 * @param report Told the share that is done, after every set.
 * @returns One image for each label.
 * @throws {RangeError} If there are more sets than tokens, or a label is none of the classes.
 */
export async function sampleImages(
  { config, tokenizer, model }: TrainedRun,
  labels: readonly number[],
  settings: SamplingSettings,
  seed: number,
  report: (done: number, total: number) => void = () => {},
): Promise<Image[]> {
  const { grid } = config.model;
  const { order, schedule, steps, ...draw } = settings;
  const recipe = parseRecipe({
    order,
    schedule,
    ...(schedule === "next-scale" ? {} : { sets: steps }),
  });
  const key = runKey(seed, "samples");
  const batches = Math.ceil(labels.length / batchSize);
  const images: Image[] = [];
  for (let first = 0; first < labels.length; first += batchSize) {
    const own = labels.slice(first, first + batchSize);
    const tokens = await sample(config.model, model, {
      ...draw,
      ...drawSampling(recipe, grid, key, own.length, first),
      labels: own,
      attention: draw.attention ?? (config.recipe.fullDecoder ? "full-decoder" : "masked"),
      onStep: ({ set, sets }) => report(first / batchSize * sets + set, batches * sets),
    });
    const codes = reshape(tokens, [own.length, grid.height, grid.width]);
    images.push(...await toImages(decodeBatch(config.tokenizer, tokenizer, codes)));
  }
  return images;
}

/**
 * The picture of a finished run: a row for each class; on the left in the few steps of the configuration, on the right
 * from the same model one token a step, row by row.
 *
 * @param run The trained run.
 * @param report Told the share that is done.
 * @returns The picture.
 */
export async function samplePicture(
  run: TrainedRun,
  report: (done: number, total: number) => void = () => {},
): Promise<Image> {
  const { sampling, seed, model: { classes, grid } } = run.config;
  const { perClass } = sampling;
  const labels = Array.from({ length: classes * perClass }, (_, i) => Math.floor(i / perClass));
  const few = sampling;
  const each = {
    ...sampling,
    decoding: "order",
    order: "raster",
    schedule: "uniform",
    steps: grid.height * grid.width,
  } as const;
  const total = few.steps + each.steps;
  const left = await sampleImages(run, labels, few, seed, (done, of) => {
    report(few.steps * done / of, total);
  });
  const right = await sampleImages(run, labels, each, seed, (done, of) => {
    report(few.steps + each.steps * done / of, total);
  });
  const halves = [left, right].map((images) => imageGrid(images, { columns: perClass }));
  return imageGrid(halves, { columns: 2, padding: 2 });
}

/**
 * A small picture of what a run that is still training can do: a row for each of its first classes. It is drawn with the
 * same randomness each time, so that one sees it sharpen.
 *
 * @param run The run.
 * @returns The picture.
 */
export async function progressPicture(run: TrainedRun): Promise<Image> {
  const { sampling, seed, model: { classes } } = run.config;
  const { perClass } = sampling;
  const rows = Math.min(classes, Math.max(1, Math.floor(batchSize / perClass)));
  const labels = Array.from({ length: rows * perClass }, (_, i) => Math.floor(i / perClass));
  return imageGrid(await sampleImages(run, labels, sampling, seed), { columns: perClass });
}
