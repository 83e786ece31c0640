/** How much of a token is left after each step of noise, and the few steps that sampling takes of many. */

/**
 * The cosine schedule: the share of a token's variance that is left after noise steps 0..T-1.
 *
 * Source: Nichol and Dhariwal, "Improved denoising diffusion probabilistic models" (2021), equation 17.
 *
 * @param steps Number of noise steps T.
 * @returns The products ᾱ [T], falling from almost 1 to almost 0.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { cosineNoise } from "./noise_schedule.ts";
 *
 * const left = cosineNoise(1000);
 * assert(left[0]! > 0.9999 && left[999]! < 1e-6);
 * assert(Math.abs(left[499]! - 0.5) < 0.02);
 * ```
 */
export function cosineNoise(steps: number): Float64Array {
  const left = (time: number) => Math.cos((time + 0.008) / 1.008 * Math.PI / 2) ** 2;
  let product = 1;
  return Float64Array.from({ length: steps }, (_, t) => {
    const lost = Math.min(0.999, 1 - left((t + 1) / steps) / left(t / steps));
    return product *= 1 - lost;
  });
}

/**
 * The noise steps that sampling takes, evenly spaced from the last to the first.
 *
 * @param steps Number of noise steps T of training.
 * @param taken How many to take, 1..T.
 * @returns Falling numbers of steps, from T - 1 to 0.
 * @throws {RangeError} If more are to be taken than there are.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { spacedSteps } from "./noise_schedule.ts";
 *
 * assertEquals(spacedSteps(10, 4), [9, 6, 3, 0]);
 * ```
 */
export function spacedSteps(steps: number, taken: number): number[] {
  if (!Number.isInteger(taken) || taken < 1 || taken > steps) {
    throw new RangeError(
      `sampleTokens: expected steps to be a whole number in 1..${steps} but found ${taken}`,
    );
  }
  const stride = taken === 1 ? 0 : (steps - 1) / (taken - 1);
  return Array.from({ length: taken }, (_, i) => Math.round(steps - 1 - i * stride));
}
