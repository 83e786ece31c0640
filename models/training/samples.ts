/** Pictures from a trained run: tokens drawn set by set, decoded to images. */
import { alone, type Mpi } from "../../lib/distributed/mpi.ts";
import { type Image, imageGrid } from "../../lib/formats/png.ts";
import type { Tensor } from "../../lib/tensor.ts";
import { jit } from "../../lib/transforms/jit.ts";
import { imageSizeOf } from "../config/data.ts";
import type { RunConfig, SamplingSettings } from "../config/schema.ts";
import { modelKind, type PartialTokens, type TokenModel } from "../kinds/model.ts";
import {
  type Tokenizer,
  tokenizerKind,
  type TokenLayout,
  tokenLayout,
} from "../kinds/tokenizer.ts";
import type { ParametersOf } from "../model.ts";
import { toImages } from "./data.ts";
import { runKey } from "./keys.ts";
import { joinBytes, ownRange } from "./ranks.ts";
import { paintUnknown, tokensToDecode } from "./partial.ts";

/** A run that can be sampled from. */
export interface TrainedRun {
  readonly config: RunConfig;
  readonly tokenizer: ParametersOf<Tokenizer>;
  readonly model: ParametersOf<TokenModel>;
}

/** Told the share that is done, and, in sampling, how to look at the images so far. */
export type SamplingReport = (
  done: number,
  total: number,
  partial?: () => Promise<Image[]>,
) => void | Promise<void>;

/** Images that are sampled together; another number gives the same images. */
const batchSize = 80;

/**
 * Samples images.
 *
 * @param run The trained run.
 * @param labels The class of each image wanted.
 * @param settings How to sample.
 * @param seed The same seed gives the same images.
 * @param report Told the share that is done after every set, with a function that gives the images of the batch as far
 * as they are known: gray where they are not, or of coarse scales only. Sampling goes on when its promise resolves.
 * @param mpi The processes, each of which samples a part; all get all images, which their number does not change.
 * @returns One image for each label.
 * @throws {RangeError} If there are more sets than tokens, or a label is none of the classes.
 */
export async function sampleImages(
  run: TrainedRun,
  labels: readonly number[],
  settings: SamplingSettings,
  seed: number,
  report: SamplingReport = () => {},
  mpi: Mpi = alone,
): Promise<Image[]> {
  const { config, model } = run;
  const key = runKey(seed, "samples");
  const [start, end] = ownRange(mpi, labels.length);
  const batches = Math.ceil((end - start) / batchSize);
  const images: Image[] = [];
  for (let first = start; first < end; first += batchSize) {
    const tokens = await modelKind(config.model).sample(config.model, model, {
      labels: labels.slice(first, Math.min(first + batchSize, end)),
      settings,
      key,
      firstImage: first,
      fullDecoder: config.recipe.fullDecoder,
      onStep: ({ set, sets, tokens }) =>
        report(
          (first - start) / batchSize * sets + set,
          batches * sets,
          async () => await partialImages(run, await tokens()),
        ),
    });
    images.push(...await decodeTokens(run, tokens));
  }
  return gatherImages(mpi, images);
}

/** The images of all processes, by rank, in each of them. */
function gatherImages(mpi: Mpi, own: readonly Image[]): Image[] {
  const sizes = mpi.gather(own.map(({ width, height, channels }) => ({ width, height, channels })));
  const bytes = mpi.gatherBytes(new Uint8Array(joinBytes(own.map(({ data }) => data))));
  return sizes.flatMap((ofRank, rank) => {
    let at = 0;
    return ofRank.map((size) => {
      const { width, height, channels } = size;
      return { ...size, data: bytes[rank]!.slice(at, at += width * height * channels) };
    });
  });
}

/** The grids of a run's tokens. */
export function layoutOf({ tokenizer, data }: RunConfig): TokenLayout {
  return tokenLayout(tokenizer, imageSizeOf(data));
}

const decodeBatch = jit(function decodeTokens(
  model: Tokenizer,
  params: ParametersOf<Tokenizer>,
  tokens: Tensor,
  grid: TokenLayout["grid"],
): Tensor {
  return tokenizerKind(model).decode(model, params, tokens, grid);
});

/**
 * Decodes tokens.
 *
 * @param run The run, of which the tokenizer counts.
 * @param tokens Codes i32 [B, N] or vectors f32 [B, N, channels] by grid index; of several scales all, or the first.
 * @returns B images.
 */
export async function decodeTokens(
  { config, tokenizer }: Omit<TrainedRun, "model">,
  tokens: Tensor,
): Promise<Image[]> {
  const { grid } = layoutOf(config);
  return await toImages(decodeBatch(config.tokenizer, tokenizer, tokens, grid));
}

/** Images of which some tokens are not known. */
async function partialImages(
  run: Omit<TrainedRun, "model">,
  partial: PartialTokens,
): Promise<Image[]> {
  const layout = layoutOf(run.config);
  const decoded = await decodeTokens(run, tokensToDecode(partial, layout));
  return paintUnknown(decoded, partial, layout);
}

/**
 * The picture of a finished run: a row for each class; on the left by the settings of the configuration, on the right,
 * where the kind of model can be sampled in another way, from the same model one token a step, row by row.
 *
 * @param run The trained run.
 * @param report Told the share that is done.
 * @param mpi The processes that share the work.
 * @returns The picture.
 */
export async function samplePicture(
  run: TrainedRun,
  report: (done: number, total: number) => void = () => {},
  mpi: Mpi = alone,
): Promise<Image> {
  const { sampling, seed, model, data: { classes } } = run.config;
  const { perClass } = sampling;
  const labels = Array.from({ length: classes * perClass }, (_, i) => Math.floor(i / perClass));
  const other = modelKind(model).otherSampling?.(model, sampling);
  const ways = other ? [sampling, other] : [sampling];
  const total = ways.reduce((sum, { steps }) => sum + steps, 0);
  const parts: Image[] = [];
  let before = 0;
  for (const settings of ways) {
    const images = await sampleImages(run, labels, settings, seed, (done, of) => {
      report(before + settings.steps * done / of, total);
    }, mpi);
    before += settings.steps;
    parts.push(imageGrid(images, { columns: perClass }));
  }
  return parts.length === 1 ? parts[0]! : imageGrid(parts, { columns: 2, padding: 2 });
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
