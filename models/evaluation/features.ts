/** Networks as extractors of features: images in, vectors and class probabilities out. */
import { openSafetensors } from "../../lib/formats/safetensors.ts";
import { realize, type Tensor, tensor } from "../../lib/tensor.ts";
import { jit } from "../../lib/transforms/jit.ts";
import { treeLeaves } from "../../lib/tree.ts";
import { readParameters } from "../llamagen/weights.ts";
import type { Pixels } from "./images.ts";
import {
  applyInception,
  foldBatchNorm,
  inception,
  type InceptionConfig,
  inceptionParameters,
} from "./inception.ts";

/** What a network says of images. */
export interface Features<T = Tensor> {
  /** The vectors that FID, precision and recall compare [B, D]. */
  readonly pooled: T;
  /** The vectors with a sense of place that sFID compares [B, S]. */
  readonly spatial: T;
  /** Class probabilities [B, C]. */
  readonly probabilities: T;
}

/** A network that describes images. */
export interface FeatureExtractor {
  /** What reports call it. */
  readonly name: string;
  /** Describes a batch of images. */
  extract(images: Pixels): Promise<Features<Float32Array>>;
}

/**
 * Makes an extractor of a network. It runs as one program per size of image; smaller batches are
 * filled up to the largest seen, so that the last one does not compile another.
 *
 * @param name What reports call it.
 * @param params The network's parameters, passed to the program as arguments.
 * @param apply The network: parameters and images [B, H, W, 3] of values 0..255 to features.
 * @returns The extractor.
 */
export function networkFeatures<P>(
  name: string,
  params: P,
  apply: (params: P, images: Tensor) => Features,
): FeatureExtractor {
  const program = jit((params: P, images: Tensor): Tensor[] => {
    const { pooled, spatial, probabilities } = apply(params, images);
    return [pooled, spatial, probabilities];
  }, { name });
  let largest = 0;
  return {
    name,
    async extract({ count, height, width, data }) {
      largest = Math.max(largest, count);
      const values = new Float32Array(largest * height * width * 3);
      values.set(data);
      const outputs = program(params, tensor(values, { shape: [largest, height, width, 3] }));
      const rows = await Promise.all(
        outputs.map(async (x) => (await x.data()).subarray(0, x.size / largest * count)),
      );
      for (const x of outputs) x.dispose();
      const [pooled, spatial, probabilities] = rows as Float32Array[];
      return { pooled: pooled!, spatial: spatial!, probabilities: probabilities! };
    },
  };
}

/**
 * The Inception network as extractor.
 *
 * @param params Its state dict, with the names of `inceptionParameters`.
 * @param model Its configuration (default the network of FID).
 * @returns The extractor.
 */
export async function inceptionFeatures(
  params: Readonly<Record<string, Tensor>>,
  model: InceptionConfig = inception(),
): Promise<FeatureExtractor> {
  const weights = foldBatchNorm(params);
  await realize(...treeLeaves(weights));
  return networkFeatures(
    "inception",
    weights,
    (folded, images) => applyInception(model, folded, images),
  );
}

/**
 * Loads the Inception network of FID from a `.safetensors` file of the state dict that pytorch-fid
 * uses (`pt_inception-2015-12-05`), its names unchanged.
 *
 * @param path The file.
 * @param model Its configuration (default the network of FID).
 * @returns The extractor.
 * @throws {TypeError} If the file does not hold the network; what is missing or unexpected is named.
 */
export async function loadInception(
  path: string,
  model: InceptionConfig = inception(),
): Promise<FeatureExtractor> {
  await using file = await openSafetensors(path);
  const parameters = inceptionParameters(model);
  // Counters of training steps that PyTorch keeps.
  const ignore = [...file.entries.keys()].filter((name) => name.endsWith(".num_batches_tracked"));
  return await inceptionFeatures(
    await readParameters(parameters, file, { source: path, ignore }),
    model,
  );
}
