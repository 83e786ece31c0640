/** Where the random numbers of a run come from. */
import { foldIn, type Key, keyFromSeed } from "../../lib/random/threefry.ts";
import { type Tensor, tensor } from "../../lib/tensor.ts";

/** Beside the epochs, which are folded into the seed's key from 0. */
const keysOfRun = 0xffffffff;

const purposes = [
  "tokenizer",
  "model",
  "training",
  "samples",
  "tokenizer training",
  "discriminator",
] as const;

/**
 * The random key of a run for one purpose: first values of the tokenizer, its discriminator or the model, steps of a
 * training (each a child by its number), or samples.
 *
 * @param seed The run's seed.
 * @param purpose What it is for.
 * @returns A key, another for every purpose.
 *
 * @example
 * ```ts
 * import { assertNotEquals } from "@std/assert";
 * import { runKey } from "./keys.ts";
 *
 * assertNotEquals(runKey(0, "model"), runKey(0, "samples"));
 * ```
 */
export function runKey(seed: number, purpose: typeof purposes[number]): Key {
  return foldIn(foldIn(keyFromSeed(seed), keysOfRun), purposes.indexOf(purpose));
}

/**
 * A key for each of some images of a batch u32 [count, 2], for what is drawn on a device: it depends on the place in
 * the batch, and not on the part of it that is computed.
 *
 * @param key The key of the step.
 * @param first The place of the first image.
 * @param count Number of images.
 */
export function imageKeys(key: Key, first: number, count: number): Tensor {
  const words = Array.from({ length: count }, (_, i) => foldIn(key, first + i)).flat();
  return tensor(Uint32Array.from(words), { shape: [count, 2] });
}

/** A key as a tensor u32 [2], as programs of a device take it. */
export function keyTensor(key: Key): Tensor {
  return tensor(Uint32Array.from(key));
}
