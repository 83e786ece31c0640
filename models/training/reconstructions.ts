/** The picture of a tokenizer in a run's folder: images, each above what it gives back of it. */
import { type Image, imageGrid } from "../../lib/formats/png.ts";
import { jit } from "../../lib/transforms/jit.ts";
import type { Tensor } from "../../lib/tensor.ts";
import type { RunConfig } from "../config/schema.ts";
import { reconstruct } from "../kinds/reconstruct.ts";
import type { Tokenizer } from "../kinds/tokenizer.ts";
import type { ParametersOf } from "../model.ts";
import { readImages, type RunImages, toImages } from "./data.ts";
import { runKey } from "./keys.ts";

/** Images in a row of the picture, and at most in all. */
const columns = 16, mostImages = 64;

/**
 * Makes what draws reconstructions of the first of some images: rows of images alternate with rows of theirs.
 *
 * @param config The run's configuration.
 * @param images The images, best such as the tokenizer is not trained on.
 * @returns A function from its parameters to the picture.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice } from "../../lib/device.ts";
 * import { key } from "../../ops/random.ts";
 * import { generateShapes } from "../data/shapes.ts";
 * import { init } from "../model.ts";
 * import { vqTokenizer } from "../vq/config.ts";
 * import { reconstructionPicture } from "./reconstructions.ts";
 *
 * await openDevice("wasm");
 * const tokenizer = vqTokenizer({ imageHeight: 8, imageWidth: 8 });
 * const data = generateShapes({ count: 20, size: 8, classes: 2, seed: 0 });
 * const draw = reconstructionPicture({ tokenizer, seed: 0 }, data);
 * const { width, height } = await draw(init(tokenizer, key(0)));
 * assertEquals([width, height], [2 + 16 * 10, 2 + 4 * 10]);
 * ```
 */
export function reconstructionPicture(
  { tokenizer: model, seed }: Pick<RunConfig, "tokenizer" | "seed">,
  images: RunImages,
): (params: ParametersOf<Tokenizer>) => Promise<Image> {
  const run = jit((params: ParametersOf<Tokenizer>, images: Tensor) =>
    reconstruct(model, params, images).images
  );
  const indices = Array.from({ length: Math.min(images.count, mostImages) }, (_, i) => i);
  return async (params) => {
    const { images: batch } = await readImages(images, indices, runKey(seed, "samples"));
    const [originals, others] = [await toImages(batch), await toImages(run(params, batch))];
    const blank = { ...originals[0]!, data: new Uint8Array(originals[0]!.data.length) };
    const rows: Image[] = [];
    for (let first = 0; first < originals.length; first += columns) {
      for (const half of [originals, others]) {
        const row = half.slice(first, first + columns);
        rows.push(...row, ...Array.from({ length: columns - row.length }, () => blank));
      }
    }
    return imageGrid(rows, { columns });
  };
}
