/** `extract`: the codes of a folder of images. */
import { dirname } from "node:path";
import { openMpi } from "../lib/distributed/mpi.ts";
import { extractCodes, type ExtractOptions as Extraction } from "../models/data/extract.ts";
import { listImages } from "../models/data/image_folder.ts";
import { openTokenizer } from "../models/tokenizer.ts";
import { showProgress } from "./progress.ts";
import { checked, checkedFiles, UsageError } from "./usage.ts";

/** Options of `extract`. */
export interface ExtractOptions
  extends Pick<Extraction, "out" | "augmentation" | "layout" | "batch" | "workers" | "strict"> {
  readonly tokenizer: string;
  readonly size?: number;
}

/** Encodes a folder of images; after an interruption it goes on. */
export async function extract(folder: string, options: ExtractOptions): Promise<void> {
  const { tokenizer: path, out, size: wanted, ...more } = options;
  const tokenizer = await checkedFiles(() => openTokenizer(path));
  const size = wanted ?? tokenizer.size;
  if (size === undefined) throw new UsageError("required option '--size <pixels>' not specified");
  const grid = await checked(() => tokenizer.gridOf(size));
  const images = await checkedFiles(() => listImages(folder));
  await checked(() => Deno.mkdir(dirname(out), { recursive: true }));

  using progress = showProgress();
  const { done, broken } = await checkedFiles(() =>
    extractCodes({
      ...more,
      mpi: openMpi(),
      images,
      out,
      size,
      grid,
      vocabulary: tokenizer.vocabulary,
      encode: tokenizer.encode,
      onProgress: ({ done, total }) =>
        progress.report({ stage: "extraction", step: done, steps: total }),
    })
  );
  const leftOut = broken > 0 ? `, ${broken} broken left out` : "";
  console.log(
    `Wrote ${out}: ${done - broken} images in ${images.classes.length} classes${leftOut}, ` +
      `${grid[0]}×${grid[1]} tokens of ${tokenizer.vocabulary}`,
  );
}
