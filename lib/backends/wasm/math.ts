/**
 * Emits elementary functions of 4 floats at a time, inline: polynomials and quotients of them,
 * fitted for the least relative error (about 1e-7).
 *
 * @module
 */
import {
  type Expr,
  f32x4,
  f64x2,
  type FunctionBuilder,
  i32x4,
  i64x2,
  type Local,
  madd,
  shuffle,
  v128,
} from "./assembler.ts";

type F = FunctionBuilder;
type V = Expr<"v128">;

/** A float in every lane. */
const splat = (x: number): V => f32x4.const(x, x, x, x);

/** 32 bits in every lane. */
const bits = (x: number): V => i32x4.const(x, x, x, x);

/** A double in both lanes. */
const splat64 = (x: number): V => f64x2.const(x, x);

/** c[0] + c[1] x + …, by Horner's rule. */
function polynomial(x: V, c: readonly number[]): V {
  return c.map((value) => splat(value)).reduceRight((sum, value) => madd(sum, x, value));
}

function polynomial64(x: V, c: readonly number[]): V {
  return c.map((value) => splat64(value))
    .reduceRight((sum, value) => f64x2.add(f64x2.mul(sum, x), value));
}

/** x within [-limit, limit]; NaN stays NaN. */
function clamp(x: V, limit: number): V {
  return f32x4.pmax(f32x4.pmin(x, splat(limit)), splat(-limit));
}

const signMask = 0x80000000 | 0;

/** log 2 as a part of few bits, whose small multiples are exact, and the rest. */
const log2High = 0.693359375;
const log2Low = Math.LN2 - log2High;

/** e^x; results below 2^-125 are zero. */
export function exp(f: F, x: V): V {
  const input = f.let(x);
  const clamped = f.let(f32x4.pmin(input, splat(89)));
  // Adding 1.5 · 2^23 leaves the nearest integer of the quotient in the low bits.
  const magic = splat(1.5 * 2 ** 23);
  const shifted = f.let(madd(clamped, splat(Math.LOG2E), magic));
  const n = f.let(f32x4.sub(shifted, magic));
  const r = f.let(madd(n, splat(-log2Low), madd(n, splat(-log2High), clamped)));
  const tail = polynomial(r, [
    ...[0.4999999952528688, 0.16666573694398357, 0.041666860982941735],
    ...[0.008363739844009389, 0.001390152972857006],
  ]);
  const power = f32x4.add(madd(tail, f32x4.mul(r, r), r), splat(1));
  // 2^(n - 1), doubled afterwards, because 2^128 is not a float but e^88.7 is.
  const scale = i32x4.add(i32x4.shl(shifted, 23), bits(126 << 23));
  const half = f.let(f32x4.mul(power, scale));
  return v128.andnot(f32x4.add(half, half), f32x4.lt(input, splat(-87.33654)));
}

/** The natural logarithm: -infinity at 0, NaN below. */
export function log(f: F, x: V): V {
  const input = f.let(x);
  const isTiny = f.let(f32x4.lt(input, splat(2 ** -126)));
  const scaled = v128.bitselect(f32x4.mul(input, splat(2 ** 23)), input, isTiny);
  const root = bits(0x3f3504f3); // sqrt(1/2)
  const offset = f.let(i32x4.sub(scaled, root));
  const exponent = f32x4.convertS(i32x4.shrS(offset, 23));
  const e = f.let(f32x4.sub(exponent, v128.and(isTiny, splat(23))));
  const mantissa = i32x4.add(v128.and(offset, bits(0x7fffff)), root);
  const r = f.let(f32x4.sub(mantissa, splat(1)));
  const square = f.let(f32x4.mul(r, r));
  const tail = polynomial(r, [
    ...[0.3333333115409331, -0.2499999394448156, 0.2000071976062281, -0.16668066540632734],
    ...[0.14249143083839233, -0.12419793264846776, 0.1167858413594535, -0.1151801552519934],
    0.07037454588590666,
  ]);
  const small = madd(f32x4.mul(square, r), tail, f32x4.mul(e, splat(log2Low)));
  const fraction = f32x4.add(r, madd(square, splat(-0.5), small));
  const finite = madd(e, splat(log2High), fraction);
  const infinity = splat(Infinity);
  const orInfinity = v128.bitselect(infinity, finite, f32x4.eq(input, infinity));
  const orZero = v128.bitselect(
    splat(-Infinity),
    orInfinity,
    f32x4.eq(input, splat(0)),
  );
  return v128.or(orZero, v128.not(f32x4.ge(input, splat(0))));
}

/** x P(x²) / Q(x²), and the sign of x from the limit on. */
function oddQuotient(f: F, x: V, limit: number, p: readonly number[], q: readonly number[]): V {
  const input = f.let(clamp(x, limit));
  const square = f.let(f32x4.mul(input, input));
  const quotient = f32x4.div(
    f32x4.mul(input, polynomial(square, p)),
    polynomial(square, q),
  );
  const one = splat(1);
  const signed = v128.or(one, v128.and(input, bits(signMask)));
  const isBeyond = f32x4.ge(square, splat(limit * limit));
  return v128.bitselect(signed, clamp(quotient, 1), isBeyond);
}

/** The hyperbolic tangent. */
export function tanh(f: F, x: V): V {
  return oddQuotient(f, x, 9.125, [
    ...[0.9999999985561447, 0.1367614178299074, 0.00386359922554854],
    ...[2.7912056780631686e-05, 3.035579009006239e-08, -1.2033805785097694e-11],
  ], [
    ...[1, 0.4700947372095406, 0.027228534111086597],
    ...[0.000393029409000361, 1.280702757114175e-06],
  ]);
}

/** The error function. */
export function erf(f: F, x: V): V {
  return oddQuotient(f, x, 4, [
    ...[1.1283791693790057, 0.1852029971030945, 0.05431690189435913, 0.0038496049137809753],
    ...[0.00037960952555233146, 4.684801056913524e-06, -1.320233938421272e-08],
  ], [
    ...[1, 0.4974652965765743, 0.11395834127825882, 0.015462078948941029],
    ...[0.0013075693904261213, 6.31107984108933e-05],
  ]);
}

/** The four results, as floats or integers, of a function of two doubles that returns such pairs. */
function joinHalves(f: F, x: V, half: (doubles: Local<"v128">) => V[]): Local<"v128">[] {
  const [low, high] = [x, shuffle(x, x, [2, 3, 2, 3])].map((pair) => {
    return half(f.let(f64x2.promoteLow(pair)));
  });
  return low.map((pair, i) => f.let(shuffle(pair, high[i], [0, 1, 4, 5])));
}

/** The sine of x + quarters · π/2. */
function sinusoid(f: F, x: V, quarters: number): V {
  const [r, turns] = joinHalves(f, f.let(x), (d) => {
    const n = f.let(f64x2.nearest(f64x2.mul(d, splat64(2 / Math.PI))));
    // π/2 in parts of 33 bits, so that their multiples are exact.
    const parts = [1.5707963267341256, 6.077100506303966e-11, 2.0222662487959506e-21];
    const rest = parts.reduce<V>((y, c) => f64x2.sub(y, f64x2.mul(n, splat64(c))), d);
    return [f32x4.demoteZero(rest), i32x4.truncF64x2SZero(n)].map((y) => f.let(y));
  });
  const quarter = f.let(i32x4.add(turns, bits(quarters)));
  const square = f.let(f32x4.mul(r, r));
  const sine = madd(
    f32x4.mul(r, square),
    polynomial(square, [-0.1666666457529935, 0.00833273318129384, -0.00019584832042397616]),
    r,
  );
  const cosine = polynomial(square, [
    ...[1, -0.5, 0.04166666458220568, -0.001388828917469879, 2.454507831560965e-05],
  ]);
  const one = bits(1);
  const isOdd = i32x4.eq(v128.and(quarter, one), one);
  const sign = v128.and(i32x4.shl(quarter, 30), bits(signMask));
  return v128.xor(v128.bitselect(cosine, sine, isOdd), sign);
}

/** The sine; exact to 2e-7 for |x| up to 10^8, then losing digits. */
export function sin(f: F, x: V): V {
  return sinusoid(f, x, 0);
}

/** The cosine; exact to 2e-7 for |x| up to 10^8, then losing digits. */
export function cos(f: F, x: V): V {
  return sinusoid(f, x, 1);
}

/** log2 of two positive doubles. */
function log2Double(f: F, d: V): V {
  const root = splat64(Math.SQRT1_2);
  const offset = f.let(i64x2.sub(d, root));
  const e = f64x2.convertLowS(i32x4.shrS(shuffle(offset, offset, [1, 3, 1, 3]), 20));
  const low = i32x4.const(-1, 0xfffff, -1, 0xfffff);
  const m = f.let(i64x2.add(v128.and(offset, low), root));
  const one = splat64(1);
  const s = f.let(f64x2.div(f64x2.sub(m, one), f64x2.add(m, one)));
  const series = polynomial64(f.let(f64x2.mul(s, s)), [
    ...[2.885390081790204, 0.9617966731821408, 0.5770836174478428],
    ...[0.41167066245986966, 0.34076997056108876],
  ]);
  return f64x2.add(e, f64x2.mul(s, series));
}

/** 2^p of two doubles, as two floats and two zeros. */
function exp2Double(f: F, p: V): V {
  const limited = f.let(f64x2.pmax(f64x2.pmin(p, splat64(200)), splat64(-200)));
  const n = f.let(f64x2.nearest(limited));
  const power = polynomial64(f.let(f64x2.sub(limited, n)), [
    ...[0.9999999999997623, 0.6931471805463988, 0.24022650698896889, 0.055504109397991386],
    ...[0.009618128540721981, 0.001333345162196278, 0.00015403852306115367],
    ...[1.5309855108739204e-05, 1.3175919541748163e-06],
  ]);
  const biased = i32x4.shl(i32x4.add(i32x4.truncF64x2SZero(n), bits(1023)), 20);
  const scale = shuffle(biased, bits(0), [4, 0, 4, 1]);
  return f32x4.demoteZero(f64x2.mul(power, scale));
}

/** x^y, by way of doubles; NaN for negative x unless y is an integer. */
export function pow(f: F, x: V, y: V): V {
  const base = f.let(x);
  const exponent = f.let(y);
  const magnitude = f.let(f32x4.abs(base));
  const exponents = [exponent, shuffle(exponent, exponent, [2, 3, 2, 3])];
  const [power] = joinHalves(f, magnitude, (d) => {
    const p = f64x2.mul(f64x2.promoteLow(exponents.shift()!), log2Double(f, d));
    return [f.let(exp2Double(f, f.let(p)))];
  });
  const zero = splat(0);
  const one = splat(1);
  const remainder = f32x4.sub(
    exponent,
    f32x4.mul(f32x4.trunc(f32x4.mul(exponent, splat(0.5))), splat(2)),
  );
  const isOdd = f32x4.eq(f32x4.abs(remainder), one);
  const sign = v128.and(v128.and(base, bits(signMask)), isOdd);
  const isFraction = f32x4.ne(f32x4.trunc(exponent), exponent);
  const isNegative = v128.and(f32x4.lt(base, zero), f32x4.gt(base, splat(-Infinity)));
  const isInvalid = v128.or(v128.and(isNegative, isFraction), f32x4.ne(base, base));
  return v128.bitselect(one, v128.or(v128.xor(power, sign), isInvalid), f32x4.eq(exponent, zero));
}

/**
 * Threefry-2x32 with 20 rounds on four counters at a time.
 *
 * Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011), section 3.3.
 *
 * @param key two vectors of words
 * @param counter two vectors of words
 * @returns both words of the results
 */
export function threefry2x32(
  f: F,
  key: readonly [V, V],
  counter: readonly [V, V],
): [Local<"v128">, Local<"v128">] {
  const [k0, k1] = key.map((k) => f.let(k));
  const keys = [k0, k1, f.let(v128.xor(v128.xor(k0, k1), bits(0x1bd11bda)))];
  const a = f.let(i32x4.add(counter[0], k0));
  const b = f.let(i32x4.add(counter[1], k1));
  for (let group = 1; group <= 5; group++) {
    for (const turn of group % 2 ? [13, 15, 26, 6] : [17, 29, 16, 24]) {
      f.set(a, i32x4.add(a, b));
      f.set(b, v128.xor(v128.or(i32x4.shl(b, turn), i32x4.shrU(b, 32 - turn)), a));
    }
    f.set(a, i32x4.add(a, keys[group % 3]));
    f.set(b, i32x4.add(b, i32x4.add(keys[(group + 1) % 3], bits(group))));
  }
  return [a, b];
}
