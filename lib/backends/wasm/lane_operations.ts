/**
 * The scalar operations of the compiler on four lanes at a time. A bool is a mask: all bits of its
 * lane set, or none.
 */
import type { DType } from "../../dtype.ts";
import type { ScalarOp } from "../../compiler/scalar_ops.ts";
import {
  type Expr,
  f32x4,
  type FunctionBuilder,
  i32,
  i32x4,
  select,
  shuffle,
  v128,
} from "./assembler.ts";
import { cos, erf, exp, log, pow, sin, tanh } from "./math.ts";

type V = Expr<"v128">;

const zero = i32x4.const(0, 0, 0, 0);
const ones = i32x4.const(-1, -1, -1, -1);
/** 0 or 1 in every lane, of a mask. */
const toBit = (mask: V): V => v128.and(mask, i32x4.const(1, 1, 1, 1));

/** A constant in every lane. */
export function splatConstant(dtype: DType, value: number): V {
  if (dtype === "f32") return f32x4.const(value, value, value, value);
  if (dtype === "bool") return value ? ones : zero;
  return i32x4.const(value, value, value, value);
}

/** The words that are stored for a value: a bool as 0 or 1. */
export function toWords(dtype: DType, x: V): V {
  return dtype === "bool" ? toBit(x) : x;
}

/** The value of stored words. */
export function fromWords(dtype: DType, x: V): V {
  return dtype === "bool" ? i32x4.neg(x) : x;
}

/** A value converted to another type. */
export function castLanes(from: DType, to: DType, x: V): V {
  if (from === to) return x;
  if (to === "bool") {
    return from === "f32" ? f32x4.ne(x, f32x4.const(0, 0, 0, 0)) : v128.not(i32x4.eq(x, zero));
  }
  if (from === "bool") {
    return to === "f32" ? v128.and(x, f32x4.const(1, 1, 1, 1)) : toBit(x);
  }
  if (to === "f32") return from === "u32" ? f32x4.convertU(x) : f32x4.convertS(x);
  if (from === "f32") return to === "u32" ? i32x4.truncF32x4U(x) : i32x4.truncF32x4S(x);
  return x;
}

/** The same bits read as another type. */
export function bitcastLanes(from: DType, to: DType, x: V): V {
  return fromWords(to, toWords(from, x));
}

/** Applies a function of integers to every lane. */
function byLane(
  f: FunctionBuilder,
  a: V,
  b: V,
  each: (a: Expr<"i32">, b: Expr<"i32">) => Expr<"i32">,
): V {
  const [x, y] = [f.let(a), f.let(b)];
  const result = f.let(zero);
  for (let lane = 0; lane < 4; lane++) {
    const [p, q] = [f.let(i32x4.lane(x, lane)), f.let(i32x4.lane(y, lane))];
    f.set(result, i32x4.replaceLane(result, lane, each(p, q)));
  }
  return result;
}

/**
 * A quotient or remainder of integers that does not trap: 0 where `b` is 0.
 *
 * @param a A value that may be read several times.
 * @param b The same; or a constant.
 */
export function divideIntegers(
  op: "divide" | "modulo",
  isSigned: boolean,
  a: Expr<"i32">,
  b: Expr<"i32"> | number,
): Expr<"i32"> {
  const quotient = isSigned ? i32.divS : i32.divU, remainder = isSigned ? i32.remS : i32.remU;
  const apply = op === "divide" ? quotient : remainder;
  if (typeof b === "number") {
    if (b === 0) return i32.const(0);
    if (b !== -1 || !isSigned) return apply(a, b);
    return op === "divide" ? i32.sub(0, a) : i32.const(0);
  }
  const isZero = i32.eqz(b);
  const safe = select(isZero, i32.const(1), b);
  if (op === "modulo" || !isSigned) return select(isZero, i32.const(0), apply(a, safe));
  // -2^31 / -1 traps.
  const isMinus = i32.eq(b, -1);
  const usual = apply(a, select(isMinus, i32.const(1), safe));
  return select(isZero, i32.const(0), select(isMinus, i32.sub(0, a), usual));
}

function shift(
  f: FunctionBuilder,
  op: "shl" | "shrS" | "shrU",
  a: V,
  b: V,
  constant: number | undefined,
): V {
  return constant === undefined ? byLane(f, a, b, i32[op]) : i32x4[op](a, constant & 31);
}

const floatUnary: Partial<Record<ScalarOp, (x: V) => V>> = {
  neg: f32x4.neg,
  abs: f32x4.abs,
  floor: f32x4.floor,
  ceil: f32x4.ceil,
  round: f32x4.nearest,
  sqrt: f32x4.sqrt,
};
const floatFunction: Partial<Record<ScalarOp, (f: FunctionBuilder, x: V) => V>> = {
  exp,
  log,
  sin,
  cos,
  tanh,
  erf,
  sign(f, value) {
    const x = f.let(value);
    const none = f32x4.const(0, 0, 0, 0);
    const above = f.let(f32x4.gt(x, none)), below = f.let(f32x4.lt(x, none));
    const one = v128.or(
      v128.and(above, f32x4.const(1, 1, 1, 1)),
      v128.and(below, f32x4.const(-1, -1, -1, -1)),
    );
    return v128.bitselect(one, x, v128.or(above, below)); // zeros and NaN stay as they are
  },
};
const floatBinary: Partial<Record<ScalarOp, (a: V, b: V) => V>> = {
  add: f32x4.add,
  sub: f32x4.sub,
  mul: f32x4.mul,
  div: f32x4.div,
  minimum: f32x4.min,
  maximum: f32x4.max,
  equal: f32x4.eq,
  notEqual: f32x4.ne,
  less: f32x4.lt,
  lessEqual: f32x4.le,
};

/**
 * One scalar operation on four lanes.
 *
 * @param op The operation; not a threefry, whose two words are computed together.
 * @param dtype The type of the operands (of the last two, for `where`).
 * @param x The operands; each may be read several times.
 * @param constant The value of the second operand, if it is known.
 */
export function applyLanes(
  f: FunctionBuilder,
  op: Exclude<ScalarOp, "threefry0" | "threefry1">,
  dtype: DType,
  x: readonly V[],
  constant?: number,
): V {
  const [a, b, c] = x as [V, V, V];
  if (op === "where") return v128.bitselect(b, c, a);
  if (dtype === "f32") {
    const unary = floatUnary[op], binary = floatBinary[op], fn = floatFunction[op];
    if (unary) return unary(a);
    if (binary) return binary(a, b);
    if (fn) return fn(f, a);
    if (op === "pow") return pow(f, a, b);
    if (op === "isNan") return f32x4.ne(a, a);
    throw new TypeError(`wasm: expected an operation on floats but found ${op}`);
  }
  if (dtype === "bool") {
    switch (op) {
      case "not":
        return v128.not(a);
      case "and":
      case "minimum":
      case "mul":
        return v128.and(a, b);
      case "or":
      case "maximum":
        return v128.or(a, b);
      case "xor":
      case "notEqual":
        return v128.xor(a, b);
      case "equal":
        return v128.not(v128.xor(a, b));
      case "less":
        return v128.andnot(b, a);
      case "lessEqual":
        return v128.or(b, v128.not(a));
      case "isNan":
        return zero;
      default:
        throw new TypeError(`wasm: expected an operation on bools but found ${op}`);
    }
  }
  const isSigned = dtype === "i32";
  switch (op) {
    case "neg":
      return i32x4.neg(a);
    case "abs":
      return isSigned ? i32x4.abs(a) : a;
    case "sign": {
      const positive = toBit(v128.not(i32x4.eq(a, zero)));
      return isSigned ? v128.or(i32x4.shrS(a, 31), positive) : positive;
    }
    case "floor":
    case "ceil":
    case "round":
      return a;
    case "isNan":
      return zero;
    case "not":
      return toBit(i32x4.eq(a, zero));
    case "bitNot":
      return v128.not(a);
    case "add":
      return i32x4.add(a, b);
    case "sub":
      return i32x4.sub(a, b);
    case "mul":
      return i32x4.mul(a, b);
    case "divide":
    case "modulo":
      return byLane(f, a, b, (p, q) => divideIntegers(op, isSigned, p, constant ?? q));
    case "minimum":
      return isSigned ? i32x4.minS(a, b) : i32x4.minU(a, b);
    case "maximum":
      return isSigned ? i32x4.maxS(a, b) : i32x4.maxU(a, b);
    case "equal":
      return i32x4.eq(a, b);
    case "notEqual":
      return v128.not(i32x4.eq(a, b));
    case "less":
      return isSigned ? i32x4.ltS(a, b) : i32x4.ltU(a, b);
    case "lessEqual":
      return isSigned ? i32x4.leS(a, b) : i32x4.leU(a, b);
    case "and":
    case "or":
    case "xor": {
      const [p, q] = [a, b].map((y) => castLanes(dtype, "bool", y)) as [V, V];
      return toBit(v128[op](p, q));
    }
    case "bitAnd":
      return v128.and(a, b);
    case "bitOr":
      return v128.or(a, b);
    case "bitXor":
      return v128.xor(a, b);
    case "shiftLeft":
      return shift(f, "shl", a, b, constant);
    case "shiftRight":
      return shift(f, isSigned ? "shrS" : "shrU", a, b, constant);
    default:
      throw new TypeError(`wasm: expected an operation on integers but found ${op}`);
  }
}

/** How lanes are reduced; `bool` is reduced as 0 and 1. */
export function reduceLanes(f: FunctionBuilder, reduce: Reduce, dtype: DType): {
  readonly identity: V;
  combine(a: V, b: V): V;
} {
  const type = dtype === "bool" ? "i32" : dtype;
  const [lowest, highest] = type === "f32"
    ? [-Infinity, Infinity]
    : type === "i32"
    ? [-(2 ** 31), 2 ** 31 - 1]
    : [0, 2 ** 32 - 1];
  const of = {
    sum: ["add", 0],
    product: ["mul", 1],
    maximum: ["maximum", lowest],
    minimum: ["minimum", highest],
  } as const;
  const [op, identity] = of[reduce];
  const combine = (a: V, b: V) => applyLanes(f, op, type, [a, b]);
  const isFloatExtreme = type === "f32" && (reduce === "maximum" || reduce === "minimum");
  return {
    identity: splatConstant(type, identity),
    combine: isFloatExtreme ? floatExtreme(f, reduce) : combine,
  };
}

/**
 * The larger (or smaller) of what was found and the next values, NaN if either is: of fewer and less
 * dependent instructions than `max`, which also tells the zeros apart.
 */
function floatExtreme(f: FunctionBuilder, reduce: "maximum" | "minimum"): (a: V, b: V) => V {
  const choose = reduce === "maximum" ? f32x4.pmax : f32x4.pmin; // `a` where one is NaN
  return (a, b) => {
    const next = f.let(b);
    return v128.bitselect(next, choose(a, next), f32x4.ne(next, next));
  };
}

type Reduce = "sum" | "product" | "maximum" | "minimum";

/** All four lanes combined, in every lane. */
export function acrossLanes(
  f: FunctionBuilder,
  x: V,
  combine: (a: V, b: V) => V,
): V {
  const value = f.let(x);
  const pairs = f.let(combine(value, shuffle(value, value, [2, 3, 0, 1])));
  return combine(pairs, shuffle(pairs, pairs, [1, 0, 3, 2]));
}
