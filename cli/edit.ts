/** `edit`: parts of an image drawn anew by a trained run. */
import { dirname } from "node:path";
import { decodePng, type Image, imageGrid, writePng } from "../lib/formats/png.ts";
import { modelKind } from "../models/kinds/model.ts";
import { editImage } from "../models/training/edit.ts";
import { openRun } from "../models/training/run.ts";
import { showProgress } from "./progress.ts";
import { checkClasses, configWith, type SamplingOptions } from "./sample.ts";
import { checked, UsageError } from "./usage.ts";

/** Options of `edit`. */
export interface EditOptions extends SamplingOptions {
  readonly image: string;
  readonly mask?: string;
  readonly out: string;
  readonly place?: readonly number[];
  readonly class?: number;
  readonly count?: number;
}

/** Edits an image and writes the result, or several as a square. */
export async function edit(folder: string, options: EditOptions): Promise<void> {
  const run = await checked(() => openRun(folder, options.checkpoint));
  const { sampling, seed } = await configWith(run, options);
  const { class: label, count = 1, place } = options;
  if (label !== undefined) checkClasses(run.config, [label]);
  if (place && place.length !== 2) {
    throw new UsageError(`--place: expected left,top but found ${place.join(",")}`);
  }
  const image = await readImage(options.image);
  const mask = options.mask === undefined ? undefined : await readImage(options.mask);
  await checked(() => Deno.mkdir(dirname(options.out), { recursive: true }));

  using progress = showProgress();
  const { images, kept, total } = await checked(() =>
    editImage(
      run,
      { image, mask, place: place as [number, number] | undefined, label, count, seed },
      sampling,
      (step, steps) => progress.report({ stage: "samples", step, steps }),
    )
  );
  const picture = count === 1
    ? images[0]!
    : imageGrid(images, { columns: Math.ceil(Math.sqrt(count)) });
  await checked(() => writePng(options.out, picture));
  const { editing } = modelKind(run.config.model);
  if (editing !== undefined && kept < total) console.error(`Note: ${editing}`);
  console.log(`Wrote ${options.out}: kept ${kept} of ${total} tokens, drew ${total - kept}`);
}

async function readImage(path: string): Promise<Image> {
  const bytes = await checked(() => Deno.readFile(path));
  try {
    return decodePng(bytes);
  } catch (error) {
    throw new UsageError(`${path}: ${(error as Error).message}`, { cause: error });
  }
}
