/**
 * Random numbers on the host: the counter-based generator Threefry-2x32 with 20 rounds, keyed and
 * splittable as JAX's. A key is two 32-bit words; the same key gives the same numbers everywhere.
 *
 * Layout (JAX's "partitionable" one): word `i` of a stream is `x0 ^ x1` of the block with counter
 * `(0, i)`; child key `i` is the whole block with counter `(0, i)`. A key is therefore used either for
 * drawing numbers or for making child keys, never for both.
 */

/** A random key: two unsigned 32-bit words. */
export type Key = readonly [number, number];

const PARITY = 0x1bd11bda;

/**
 * One Threefry-2x32 block of 20 rounds.
 *
 * Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011).
 *
 * @param key two unsigned 32-bit words
 * @param counter two unsigned 32-bit words
 * @returns two unsigned 32-bit words
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { threefry2x32 } from "./threefry.ts";
 *
 * assertEquals(threefry2x32([0, 0], [0, 0]), [0x6b200159, 0x99ba4efe]);
 * ```
 */
export function threefry2x32(key: Key, counter: readonly [number, number]): [number, number] {
  const k0 = key[0] | 0;
  const k1 = key[1] | 0;
  const k2 = k0 ^ k1 ^ PARITY;
  let a = (counter[0] + k0) | 0;
  let b = (counter[1] + k1) | 0;

  a = (a + b) | 0, b = ((b << 13) | (b >>> 19)) ^ a;
  a = (a + b) | 0, b = ((b << 15) | (b >>> 17)) ^ a;
  a = (a + b) | 0, b = ((b << 26) | (b >>> 6)) ^ a;
  a = (a + b) | 0, b = ((b << 6) | (b >>> 26)) ^ a;
  a = (a + k1) | 0, b = (b + k2 + 1) | 0;

  a = (a + b) | 0, b = ((b << 17) | (b >>> 15)) ^ a;
  a = (a + b) | 0, b = ((b << 29) | (b >>> 3)) ^ a;
  a = (a + b) | 0, b = ((b << 16) | (b >>> 16)) ^ a;
  a = (a + b) | 0, b = ((b << 24) | (b >>> 8)) ^ a;
  a = (a + k2) | 0, b = (b + k0 + 2) | 0;

  a = (a + b) | 0, b = ((b << 13) | (b >>> 19)) ^ a;
  a = (a + b) | 0, b = ((b << 15) | (b >>> 17)) ^ a;
  a = (a + b) | 0, b = ((b << 26) | (b >>> 6)) ^ a;
  a = (a + b) | 0, b = ((b << 6) | (b >>> 26)) ^ a;
  a = (a + k0) | 0, b = (b + k1 + 3) | 0;

  a = (a + b) | 0, b = ((b << 17) | (b >>> 15)) ^ a;
  a = (a + b) | 0, b = ((b << 29) | (b >>> 3)) ^ a;
  a = (a + b) | 0, b = ((b << 16) | (b >>> 16)) ^ a;
  a = (a + b) | 0, b = ((b << 24) | (b >>> 8)) ^ a;
  a = (a + k1) | 0, b = (b + k2 + 4) | 0;

  a = (a + b) | 0, b = ((b << 13) | (b >>> 19)) ^ a;
  a = (a + b) | 0, b = ((b << 15) | (b >>> 17)) ^ a;
  a = (a + b) | 0, b = ((b << 26) | (b >>> 6)) ^ a;
  a = (a + b) | 0, b = ((b << 6) | (b >>> 26)) ^ a;
  a = (a + k2) | 0, b = (b + k0 + 5) | 0;

  return [a >>> 0, b >>> 0];
}

/**
 * The key of a seed: its high and low 32 bits, as `jax.random.key` makes it.
 *
 * @param seed a whole number in 0..2^53-1
 * @returns the key
 * @throws RangeError if the seed is not such a number
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { keyFromSeed } from "./threefry.ts";
 *
 * assertEquals(keyFromSeed(7), [0, 7]);
 * ```
 */
export function keyFromSeed(seed: number): Key {
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw new RangeError(`keyFromSeed: expected seed to be a whole number >= 0 but found ${seed}`);
  }
  return [Math.floor(seed / 2 ** 32), seed >>> 0];
}

/**
 * A child of a key, chosen by a number (a step, an image's index): the `data`-th key of `split`.
 *
 * @param key the parent
 * @param data an unsigned 32-bit number
 * @returns the child
 *
 * @example
 * ```ts
 * import { assertEquals, assertNotEquals } from "@std/assert";
 * import { foldIn, split } from "./threefry.ts";
 *
 * assertEquals(foldIn([0, 1], 2), split([0, 1], 3)[2]);
 * assertNotEquals(foldIn([0, 1], 2), foldIn([0, 1], 3));
 * ```
 */
export function foldIn(key: Key, data: number): Key {
  return threefry2x32(key, [0, data]);
}

/**
 * Independent children of a key.
 *
 * @param key the parent, not to be used again
 * @param count how many children
 * @returns the children
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { split } from "./threefry.ts";
 *
 * assertEquals(split([0, 0])[0], [0x6b200159, 0x99ba4efe]);
 * ```
 */
export function split(key: Key, count = 2): Key[] {
  return Array.from({ length: count }, (_, i) => foldIn(key, i));
}

/**
 * Uniform random words.
 *
 * @param key the key to draw with
 * @param count how many words
 * @returns `count` unsigned 32-bit words
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { randomBits } from "./threefry.ts";
 *
 * assertEquals(randomBits([0, 0], 1)[0], (0x6b200159 ^ 0x99ba4efe) >>> 0);
 * ```
 */
export function randomBits(key: Key, count: number): Uint32Array {
  const words = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    const [a, b] = threefry2x32(key, [0, i]);
    words[i] = a ^ b;
  }
  return words;
}

/**
 * Uniform random numbers in [0, 1): the upper 23 bits of each word times 2^-23, as JAX's.
 *
 * @param key the key to draw with
 * @param count how many numbers
 * @returns `count` numbers, each exact in float32
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { uniform } from "./threefry.ts";
 *
 * assert(uniform([0, 1], 100).every((x) => x >= 0 && x < 1));
 * ```
 */
export function uniform(key: Key, count: number): Float32Array {
  return Float32Array.from(randomBits(key, count), (word) => (word >>> 9) * 2 ** -23);
}

/**
 * A uniform random permutation of 0..length-1 (Fisher-Yates; an index below `n` is `word * n >> 32`,
 * whose bias is below n / 2^32).
 *
 * @param key the key to draw with
 * @param length how many elements
 * @returns the permutation
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { permutation } from "./threefry.ts";
 *
 * assertEquals(permutation([0, 1], 5).toSorted(), Int32Array.of(0, 1, 2, 3, 4));
 * ```
 */
export function permutation(key: Key, length: number): Int32Array {
  const result = Int32Array.from({ length }, (_, i) => i);
  const words = randomBits(key, length);
  for (let last = length - 1; last > 0; last--) {
    const chosen = Math.floor(words[last] * (last + 1) / 2 ** 32);
    const moved = result[last];
    result[last] = result[chosen];
    result[chosen] = moved;
  }
  return result;
}
