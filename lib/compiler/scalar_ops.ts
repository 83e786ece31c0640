/**
 * The scalar operations: arity, result type, cost and meaning of each, in one table. The code
 * generators have one rule per name; the reference backend and constant folding call `evaluate`.
 */
import type { DType } from "../dtype.ts";
import { threefry2x32 } from "../random/threefry.ts";

/** How one scalar operation behaves. */
export interface ScalarOpSpec {
  readonly arity: number;
  /** `same`: the type of the operand (of the second operand for `where`). */
  readonly result: "same" | "bool" | "u32";
  /** Cost relative to an addition. */
  readonly weight: number;
  /** The value in double precision (wrapped or rounded to the type by the caller). */
  evaluate(x: readonly number[], dtype: DType): number;
}

const op = (
  arity: number,
  evaluate: ScalarOpSpec["evaluate"],
  { result = "same" as ScalarOpSpec["result"], weight = 1 } = {},
): ScalarOpSpec => ({ arity, result, weight, evaluate });

const compare = (evaluate: ScalarOpSpec["evaluate"]) => op(2, evaluate, { result: "bool" });
const heavy = { weight: 8 };

/** The 32 bits of the threefry block of (key0, key1, counter0, counter1), word `word`. */
const threefry = (word: 0 | 1) =>
  op(
    4,
    (x) => threefry2x32([x[0]!, x[1]!], [x[2]!, x[3]!])[word],
    { result: "u32", weight: 60 },
  );

/** Every scalar operation. `divide` and `modulo` are for integers and truncate, `div` for floats. */
export const scalarOps = {
  neg: op(1, ([a]) => -a!),
  abs: op(1, ([a]) => Math.abs(a!)),
  sign: op(1, ([a]) => Math.sign(a!)),
  floor: op(1, ([a]) => Math.floor(a!)),
  ceil: op(1, ([a]) => Math.ceil(a!)),
  /** To the nearest whole number, ties to even. */
  round: op(1, ([a]) => roundHalfEven(a!)),
  sqrt: op(1, ([a]) => Math.sqrt(a!), { weight: 2 }),
  exp: op(1, ([a]) => Math.exp(a!), heavy),
  log: op(1, ([a]) => Math.log(a!), heavy),
  sin: op(1, ([a]) => Math.sin(a!), heavy),
  cos: op(1, ([a]) => Math.cos(a!), heavy),
  tanh: op(1, ([a]) => Math.tanh(a!), heavy),
  erf: op(1, ([a]) => erf(a!), heavy),
  isNan: op(1, ([a]) => Number(Number.isNaN(a!)), { result: "bool" }),
  not: op(1, ([a]) => Number(!a)),
  bitNot: op(1, ([a]) => ~a!),

  add: op(2, ([a, b]) => a! + b!),
  sub: op(2, ([a, b]) => a! - b!),
  mul: op(
    2,
    ([a, b], dtype) => dtype === "i32" || dtype === "u32" ? integerProduct(a!, b!) : a! * b!,
  ),
  div: op(2, ([a, b]) => a! / b!, { weight: 2 }),
  divide: op(2, ([a, b]) => b === 0 ? 0 : Math.trunc(a! / b!), { weight: 4 }),
  modulo: op(2, ([a, b]) => b === 0 ? 0 : a! % b!, { weight: 4 }),
  pow: op(2, ([a, b]) => Math.pow(a!, b!), { weight: 16 }),
  /** NaN if either is. */
  minimum: op(2, ([a, b]) => Math.min(a!, b!)),
  maximum: op(2, ([a, b]) => Math.max(a!, b!)),
  equal: compare(([a, b]) => Number(a === b)),
  notEqual: compare(([a, b]) => Number(a !== b)),
  less: compare(([a, b]) => Number(a! < b!)),
  lessEqual: compare(([a, b]) => Number(a! <= b!)),
  and: op(2, ([a, b]) => Number(a && b)),
  or: op(2, ([a, b]) => Number(a || b)),
  xor: op(2, ([a, b]) => Number(Boolean(a) !== Boolean(b))),
  bitAnd: op(2, ([a, b]) => a! & b!),
  bitOr: op(2, ([a, b]) => a! | b!),
  bitXor: op(2, ([a, b]) => a! ^ b!),
  /** The shift count is taken modulo 32. */
  shiftLeft: op(2, ([a, b]) => a! << b!),
  /** Arithmetic for i32, logical for u32. */
  shiftRight: op(2, ([a, b], dtype) => dtype === "u32" ? a! >>> b! : a! >> b!),
  threefry0: threefry(0),
  threefry1: threefry(1),

  /** `where(condition, a, b)`. */
  where: op(3, ([c, a, b]) => c ? a! : b!),
} as const satisfies Record<string, ScalarOpSpec>;

/** The name of a scalar operation. */
export type ScalarOp = keyof typeof scalarOps;

function integerProduct(a: number, b: number): number {
  const product = a * b;
  return Number.isSafeInteger(product) ? product : Math.imul(a, b);
}

function roundHalfEven(x: number): number {
  const rounded = Math.round(x);
  return Math.abs(x % 1) === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

/** The error function in double precision (Abramowitz and Stegun 7.1.5, and its continued fraction). */
export function erf(x: number): number {
  const a = Math.abs(x);
  if (Number.isNaN(x)) return NaN;
  if (a > 6) return Math.sign(x);
  if (a < 2.5) {
    let term = a, sum = a;
    for (let n = 1; n < 80; n++) {
      term *= -a * a / n;
      sum += term / (2 * n + 1);
    }
    return Math.sign(x) * 2 / Math.sqrt(Math.PI) * sum;
  }
  let fraction = 0;
  for (let n = 60; n > 0; n--) fraction = (n / 2) / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-a * a) / (Math.sqrt(Math.PI) * (a + fraction)));
}
