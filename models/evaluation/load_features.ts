/** Extractors of features from files, whichever network these hold. */
import { openSafetensors } from "../../lib/formats/safetensors.ts";
import { classifierFeatures, loadClassifier } from "./classifier.ts";
import { type FeatureExtractor, loadInception } from "./features.ts";

/**
 * Loads an extractor of features: a classifier that `saveClassifier` wrote, or else the Inception
 * network of FID.
 *
 * @param path A `.safetensors` file.
 * @returns The extractor.
 * @throws {TypeError} If the file holds neither; what is missing or unexpected is named.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { key } from "../../ops/random.ts";
 * import { createParameters } from "../layers/parameter.ts";
 * import { classifier, classifierParameters, saveClassifier } from "./classifier.ts";
 * import { loadFeatures } from "./load_features.ts";
 *
 * const path = await Deno.makeTempFile({ suffix: ".safetensors" });
 * const model = classifier({ height: 8, width: 8, channels: 2, features: 4 });
 * await saveClassifier(path, model, createParameters(classifierParameters(model), key(0)));
 * const { name } = await loadFeatures(path);
 * assertEquals(name, "classifier 8×8, 10 classes");
 * await Deno.remove(path);
 * ```
 */
export async function loadFeatures(path: string): Promise<FeatureExtractor> {
  if (!await describesModel(path)) return await loadInception(path);
  const { model, params } = await loadClassifier(path);
  return classifierFeatures(model, params);
}

/** Whether a file's metadata describe a model, as those of the state dict of Inception do not. */
async function describesModel(path: string): Promise<boolean> {
  await using file = await openSafetensors(path);
  return file.metadata.model !== undefined;
}
