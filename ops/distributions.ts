/** Random numbers of the usual distributions, by key. */
import { erf } from "../lib/compiler/scalar_ops.ts";
import { type Shape, showShape } from "../lib/shape.ts";
import type { Tensor, TensorLike } from "../lib/tensor.ts";
import { add, mul, neg, remainder, sub } from "./arithmetic.ts";
import { checkDType } from "./arguments.ts";
import { bitcast, cast } from "./cast.ts";
import { less } from "./compare.ts";
import { clamp } from "./extremes.ts";
import { bitOr, shiftRight } from "./logic.ts";
import { erfinv, log, log1p } from "./math.ts";
import { randomBits } from "./random.ts";
import { argsort } from "./sort/sort.ts";
import { argmax } from "./statistics.ts";

/** The bits of 1 as f32; with 23 random bits below, a number in 1..2. */
const one = 0x3f800000;

/** Uniform numbers in 0..1, multiples of 2^-23, with 0 but without 1. */
function fraction(key: Tensor, shape: Shape): Tensor {
  const bits = bitOr(shiftRight(randomBits(key, shape), 9), one);
  return sub(bitcast(bits, "f32"), 1);
}

/** Uniform numbers in 0..1 without either end. */
function openFraction(key: Tensor, shape: Shape): Tensor {
  return add(fraction(key, shape), 2 ** -24);
}

/**
 * Uniform random numbers.
 *
 * @param key The random key.
 * @param shape The shape wanted.
 * @param options `low` (default 0) and `high` (default 1, not included).
 * @returns An f32 tensor of that shape.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { uniform } from "./distributions.ts";
 * import { key } from "./random.ts";
 * const x = await uniform(key(0), [9], { low: 2, high: 3 }).toArray() as number[];
 * assert(x.every((element) => element >= 2 && element < 3));
 * ```
 */
export function uniform(
  key: Tensor,
  shape: Shape,
  options: { readonly low?: number; readonly high?: number } = {},
): Tensor {
  const { low = 0, high = 1 } = options;
  const x = fraction(key, shape);
  return low === 0 && high === 1 ? x : add(mul(x, high - low), low);
}

/**
 * Random numbers of the normal distribution of mean 0 and variance 1.
 *
 * @param key The random key.
 * @param shape The shape wanted.
 * @returns An f32 tensor of that shape.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { normal } from "./distributions.ts";
 * import { key } from "./random.ts";
 * import { mean } from "./reduce.ts";
 * assert(Math.abs(await mean(normal(key(0), [1000])).item()) < 0.1);
 * ```
 */
export function normal(key: Tensor, shape: Shape): Tensor {
  // The middle of each of 2^23 intervals of -1..1: never an end, and exact in f32.
  const x = add(mul(fraction(key, shape), 2), 2 ** -23 - 1);
  return mul(Math.SQRT2, erfinv(x));
}

/**
 * Random numbers of the normal distribution of mean 0 and variance 1, restricted to a range.
 *
 * @param key The random key.
 * @param shape The shape wanted.
 * @param options `low` (default -2) and `high` (default 2).
 * @returns An f32 tensor of that shape.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { truncatedNormal } from "./distributions.ts";
 * import { key } from "./random.ts";
 * const x = await truncatedNormal(key(0), [99]).toArray() as number[];
 * assert(x.every((element) => Math.abs(element) <= 2));
 * ```
 */
export function truncatedNormal(
  key: Tensor,
  shape: Shape,
  options: { readonly low?: number; readonly high?: number } = {},
): Tensor {
  const { low = -2, high = 2 } = options;
  const from = erf(low * Math.SQRT1_2), to = erf(high * Math.SQRT1_2);
  const x = add(mul(openFraction(key, shape), to - from), from);
  return clamp(mul(Math.SQRT2, erfinv(x)), low, high);
}

/**
 * Random booleans.
 *
 * @param key The random key.
 * @param shape The shape wanted.
 * @param probability How likely `true` is: a number, or a tensor that broadcasts to the shape.
 * @returns A bool tensor of that shape.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { bernoulli } from "./distributions.ts";
 * import { key } from "./random.ts";
 * assertEquals(await bernoulli(key(0), [2], 1).toArray(), [true, true]);
 * ```
 */
export function bernoulli(key: Tensor, shape: Shape, probability: TensorLike): Tensor {
  return less(fraction(key, shape), probability);
}

/**
 * Uniform random whole numbers. (They are words modulo `high - low`: the bias is below
 * `(high - low) / 2^32`.)
 *
 * @param key The random key.
 * @param shape The shape wanted.
 * @param low The least number.
 * @param high The end, not included.
 * @returns An i32 tensor of that shape.
 * @throws {RangeError} If the range is empty or the ends are not i32 numbers.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { randint } from "./distributions.ts";
 * import { key } from "./random.ts";
 * const x = await randint(key(0), [9], 3, 5).toArray() as number[];
 * assert(x.every((element) => element === 3 || element === 4));
 * ```
 */
export function randint(key: Tensor, shape: Shape, low: number, high: number): Tensor {
  if ((low | 0) !== low || (high | 0) !== high || low >= high) {
    throw new RangeError(
      `randint: expected i32 numbers with low below high but found ${low} and ${high}`,
    );
  }
  return add(cast(remainder(randomBits(key, shape), high - low), "i32"), low);
}

/**
 * Random numbers of the standard Gumbel distribution.
 *
 * @param key The random key.
 * @param shape The shape wanted.
 * @returns An f32 tensor of that shape.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { gumbel } from "./distributions.ts";
 * import { key } from "./random.ts";
 * import { mean } from "./reduce.ts";
 * assert(Math.abs(await mean(gumbel(key(0), [1000])).item() - 0.5772) < 0.1);
 * ```
 */
export function gumbel(key: Tensor, shape: Shape): Tensor {
  // -log(1 - u) is as uniform as -log(u), and log1p keeps its small values, the large draws, exact.
  return neg(log(neg(log1p(neg(openFraction(key, shape))))));
}

/**
 * Random classes with the probabilities `softmax(logits)`, by the Gumbel-max trick.
 *
 * Source: Maddison et al., "A* sampling" (2014), section 2.
 *
 * @param key The random key.
 * @param logits A float tensor [..., V]; -Infinity for classes that must not be drawn.
 * @returns An i32 tensor [...].
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { categorical } from "./distributions.ts";
 * import { key } from "./random.ts";
 * assertEquals(await categorical(key(0), tensor([-Infinity, 0])).item(), 1);
 * ```
 */
export function categorical(key: Tensor, logits: Tensor): Tensor {
  checkDType("categorical", "logits", logits, "float");
  return argmax(add(cast(logits, "f32"), gumbel(key, logits.shape)));
}

/**
 * Uniform random permutations of `0..N-1`.
 *
 * @param key The random key.
 * @param shape The shape wanted [..., N]: one permutation along the last axis for each of the others.
 * @returns An i32 tensor of that shape.
 * @throws {TypeError} If the shape has no axes.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { permutation } from "./distributions.ts";
 * import { key } from "./random.ts";
 * const order = await permutation(key(0), [4]).toArray() as number[];
 * assertEquals(order.toSorted(), [0, 1, 2, 3]);
 * ```
 */
export function permutation(key: Tensor, shape: Shape): Tensor {
  if (shape.length === 0) {
    throw new TypeError(
      `permutation: expected shape to have at least one axis but found ${showShape(shape)}`,
    );
  }
  return argsort(randomBits(key, shape));
}
