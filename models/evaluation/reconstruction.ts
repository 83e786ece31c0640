/** How well a tokenizer gives images back: PSNR, SSIM, and rFID by way of `evaluate`. */
import { inTurn } from "../../lib/distributed/in_turn.ts";
import { alone } from "../../lib/distributed/mpi.ts";
import { evaluate, type EvaluateOptions, type Evaluation } from "./evaluate.ts";
import { type ImageSet, openImages, type Pixels } from "./images.ts";
import { ssim } from "./ssim.ts";

/**
 * The peak signal-to-noise ratio of 8-bit values, `10 log10(255² / mean square error)`, in decibels.
 *
 * @param original Values 0..255.
 * @param reconstruction As many values.
 * @returns The ratio; infinite where the values are the same.
 * @throws {TypeError} If the numbers of values differ or are 0.
 *
 * @example
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { psnr } from "./reconstruction.ts";
 *
 * assertAlmostEquals(psnr(Uint8Array.of(0, 255), Uint8Array.of(255, 0)), 0);
 * ```
 */
export function psnr(original: Uint8Array, reconstruction: Uint8Array): number {
  if (original.length === 0 || original.length !== reconstruction.length) {
    throw new TypeError(
      `psnr: expected as many values as the original has, ${original.length},` +
        ` but found ${reconstruction.length}`,
    );
  }
  let squares = 0;
  for (let i = 0; i < original.length; i++) squares += (original[i]! - reconstruction[i]!) ** 2;
  return 10 * Math.log10(255 ** 2 * original.length / squares);
}

/** The quality of reconstructions. */
export interface ReconstructionQuality extends Evaluation {
  /** The mean of the images' PSNR in decibels; higher is better. */
  readonly psnr: number;
  /** The mean of the images' structural similarity; higher is better, 1 is perfect. */
  readonly ssim: number;
}

/**
 * Evaluates a tokenizer: reconstructs images and compares them with the originals. Its `fid` is the
 * rFID, of reconstructions against the very images that they are of.
 *
 * @param options `originals`: a folder, a `.npz` file or a set of images; `reconstruct`: encodes and
 * decodes a batch, to images of the same size, in one of the processes that share the work; the rest as in `evaluate`.
 * @returns The measures.
 *
 * @example
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { key } from "../../ops/random.ts";
 * import { generateShapes } from "../data/shapes.ts";
 * import { createParameters } from "../layers/parameter.ts";
 * import { classifier, classifierFeatures, classifierParameters } from "./classifier.ts";
 * import { datasetImages } from "./images.ts";
 * import { evaluateReconstruction } from "./reconstruction.ts";
 *
 * const model = classifier({ height: 8, width: 8, classes: 3, channels: 2, features: 4 });
 * const quality = await evaluateReconstruction({
 *   originals: datasetImages(generateShapes({ count: 8, size: 8, classes: 3, seed: 0 })),
 *   reconstruct: ({ data }) => Promise.resolve(data.map((value) => value ^ 1)),
 *   features: classifierFeatures(model, createParameters(classifierParameters(model), key(0))),
 * });
 * assertAlmostEquals(quality.psnr, 20 * Math.log10(255), 1e-9);
 * ```
 */
export async function evaluateReconstruction(
  { originals, reconstruct, ...options }:
    & { originals: string | ImageSet; reconstruct(images: Pixels): Promise<Uint8Array> }
    & Omit<EvaluateOptions, "samples" | "reference">,
): Promise<ReconstructionQuality> {
  const reference = await openImages(originals, options);
  const compare = async (batch: Pixels) => {
    const data = await reconstruct(batch);
    const { count, height, width } = batch, length = data.length / count;
    const measures = Array.from({ length: count }, (_, i) => {
      const [a, b] = [batch.data, data].map((all) => all.subarray(i * length, (i + 1) * length));
      return { psnr: psnr(a!, b!), ssim: ssim(a!, b!, { height, width, channels: 3 }) };
    });
    return { images: { ...batch, data }, measures };
  };
  let ratios = 0, similarities = 0;
  const samples: ImageSet = {
    name: `reconstructions of ${reference.name}`,
    count: reference.count,
    async *batches(size) {
      const batches = inTurn(reference.batches(size), compare, options.mpi ?? alone);
      for await (const { images, measures } of batches) {
        for (const measured of measures) {
          ratios += measured.psnr;
          similarities += measured.ssim;
        }
        yield images;
      }
    },
  };
  const evaluation = await evaluate({ ...options, samples, reference });
  const { count } = reference;
  return { ...evaluation, psnr: ratios / count, ssim: similarities / count };
}
