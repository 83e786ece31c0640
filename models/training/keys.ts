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

/** A key as a tensor u32 [2], as programs of a device take it. */
export function keyTensor(key: Key): Tensor {
  return tensor(Uint32Array.from(key));
}
