/**
 * The operations of WebAssembly as functions from expressions to expressions, by value type and
 * vector shape.
 *
 * @module
 */

/** The type of a value on the stack. */
export type ValueType = "i32" | "i64" | "f32" | "f64" | "v128";

/**
 * The 16 bytes of a vector constant. Hosts make them anew from integers each time, which can cost
 * more than the operation that wants it, so a function keeps each in a local.
 */
export interface VectorConstant {
  readonly lanes: readonly number[];
}

/** Bytes of code, nested so that expressions are put together without copying. */
export type Code = readonly (number | VectorConstant | Code)[];

/** Code that leaves one value of a type (or, if void, nothing) on the stack. */
export interface Expr<T extends ValueType | "void" = ValueType> {
  readonly type: T;
  readonly code: Code;
}

/** An expression, or a number that stands for a constant (in a vector: in every lane). */
export type Operand<T extends ValueType> = Expr<T> | number;

type Lanes = "i8x16" | "i16x8" | "i32x4" | "f32x4" | "f64x2";
type Unary<A extends ValueType, R extends ValueType> = (a: Operand<A>) => Expr<R>;
type Binary<A extends ValueType, R extends ValueType> = (a: Operand<A>, b: Operand<A>) => Expr<R>;
type Load<R extends ValueType> = (address: Operand<"i32">, offset?: number) => Expr<R>;
type Shift = (a: Operand<"v128">, count: Operand<"i32">) => Expr<"v128">;

/** Encodes an unsigned number in the variable-length form of the format. */
export function unsignedLeb(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 128)) bytes.push(rest % 128 | 0x80);
  bytes.push(Math.floor(value / 128 ** bytes.length));
  return bytes;
}

/** Encodes a signed integer in the variable-length form of the format. */
export function signedLeb(value: bigint): number[] {
  const bytes: number[] = [];
  for (let rest = value;; rest >>= 7n) {
    const low = Number(rest & 127n);
    if (rest >> 6n === 0n || rest >> 6n === -1n) return [...bytes, low];
    bytes.push(low | 0x80);
  }
}

/** The bytes of nested code in order; `constant` makes those of vector constants. */
export function flatten(
  code: Code,
  constant: (lanes: readonly number[]) => readonly number[],
  into: number[] = [],
): number[] {
  for (const part of code) {
    if (typeof part === "number") into.push(part);
    else if ("lanes" in part) into.push(...constant(part.lanes));
    else flatten(part, constant, into);
  }
  return into;
}

/** The expression of an operand: itself, or the constant that a number stands for. */
export function operand<T extends ValueType>(type: T, value: Operand<T>): Expr<T>;
export function operand(type: ValueType, value: Operand<ValueType>): Expr {
  if (typeof value !== "number") {
    if (value.type === type) return value;
    throw new TypeError(
      `assembler: expected an expression of type ${type} but found ${value.type}`,
    );
  }
  switch (type) {
    case "i32":
      return { type, code: [0x41, ...signedLeb(BigInt(value | 0))] };
    case "i64":
      return { type, code: [0x42, ...signedLeb(BigInt.asIntN(64, BigInt(value)))] };
    case "f32":
      return { type, code: [0x43, ...bytesOf(new Float32Array([value]))] };
    case "f64":
      return { type, code: [0x44, ...bytesOf(new Float64Array([value]))] };
    case "v128":
      throw new TypeError(`assembler: the number ${value} needs a vector shape`);
  }
}

function bytesOf(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer);
}

/** A vector constant from 16 bytes, as a typed array of any kind. */
function vectorConstant(array: ArrayBufferView): Expr<"v128"> {
  const lanes = [...bytesOf(array)];
  const isCheap = lanes.every((byte) => byte === 0) || lanes.every((byte) => byte === 255);
  return { type: "v128", code: isCheap ? [0xfd, 0x0c, ...lanes] : [{ lanes }] };
}

function splatConstant(shape: Lanes, value: number): Expr<"v128"> {
  switch (shape) {
    case "i8x16":
      return vectorConstant(new Int8Array(16).fill(value));
    case "i16x8":
      return vectorConstant(new Int16Array(8).fill(value));
    case "i32x4":
      return vectorConstant(new Int32Array(4).fill(value));
    case "f32x4":
      return vectorConstant(new Float32Array(4).fill(value));
    case "f64x2":
      return vectorConstant(new Float64Array(2).fill(value));
  }
}

/** An operation with the given opcode on operands of the given types or shapes. */
function operation<R extends ValueType | "void">(
  type: R,
  opcode: readonly number[],
  kinds: readonly (ValueType | Lanes)[],
) {
  return (...operands: readonly Operand<ValueType>[]): Expr<R> => ({
    type,
    code: [
      ...operands.map((value, i) => {
        const kind = kinds[i];
        const isVector = kind.includes("x");
        if (isVector && typeof value === "number") return splatConstant(kind as Lanes, value).code;
        return operand(isVector ? "v128" : kind as ValueType, value).code;
      }),
      ...opcode,
    ],
  });
}

/** Makes one operation for every name in a table of opcodes. */
function operations<N extends string, F>(
  prefix: readonly number[],
  result: ValueType,
  kinds: readonly (ValueType | Lanes)[],
  opcodes: Record<N, number>,
): Record<N, F> {
  const entries = Object.entries<number>(opcodes).map(([name, opcode]) => {
    const code = prefix.length ? [...prefix, ...unsignedLeb(opcode)] : [opcode];
    return [name, operation(result, code, kinds)];
  });
  return Object.fromEntries(entries);
}

const scalar = <N extends string, A extends ValueType, R extends ValueType>(
  type: A,
  result: R,
  opcodes: Record<N, number>,
) => operations<N, Binary<A, R>>([], result, [type, type], opcodes);

const scalarUnary = <N extends string, A extends ValueType, R extends ValueType>(
  type: A,
  result: R,
  opcodes: Record<N, number>,
) => operations<N, Unary<A, R>>([], result, [type], opcodes);

const vector = <N extends string>(shape: Lanes, opcodes: Record<N, number>) =>
  operations<N, Binary<"v128", "v128">>([0xfd], "v128", [shape, shape], opcodes);

const vectorUnary = <N extends string>(shape: Lanes, opcodes: Record<N, number>) =>
  operations<N, Unary<"v128", "v128">>([0xfd], "v128", [shape], opcodes);

const shifts = <N extends string>(shape: Lanes, opcodes: Record<N, number>) =>
  operations<N, Shift>([0xfd], "v128", [shape, "i32"], opcodes);

const vectorTest = <N extends string>(shape: Lanes, opcodes: Record<N, number>) =>
  operations<N, Unary<"v128", "i32">>([0xfd], "i32", [shape], opcodes);

/** A load; the alignment is the exponent of the hint. */
function load<R extends ValueType>(type: R, opcode: readonly number[], alignment: number): Load<R> {
  return (address, offset = 0) => ({
    type,
    code: [operand("i32", address).code, ...opcode, alignment, ...unsignedLeb(offset)],
  });
}

/** Chooses the first value where the condition is not zero, else the second. */
export function select<T extends ValueType>(
  condition: Operand<"i32">,
  whenTrue: Expr<T>,
  whenFalse: Expr<T>,
): Expr<T> {
  const parts = [whenTrue.code, whenFalse.code, operand("i32", condition).code];
  return whenTrue.type === "v128"
    ? { type: whenTrue.type, code: [...parts, 0x1c, 1, 0x7b] }
    : { type: whenTrue.type, code: [...parts, 0x1b] };
}

/** 32-bit integers; addresses are unsigned. */
export const i32 = {
  const: (value: number) => operand("i32", value),
  load: load("i32", [0x28], 2),
  load8U: load("i32", [0x2d], 0),
  load16U: load("i32", [0x2f], 1),
  ...scalarUnary("i32", "i32", { eqz: 0x45, clz: 0x67, ctz: 0x68, popcnt: 0x69 }),
  ...scalar("i32", "i32", { eq: 0x46, ne: 0x47, ltS: 0x48, ltU: 0x49, gtS: 0x4a, gtU: 0x4b }),
  ...scalar("i32", "i32", { leS: 0x4c, leU: 0x4d, geS: 0x4e, geU: 0x4f }),
  ...scalar("i32", "i32", { add: 0x6a, sub: 0x6b, mul: 0x6c }),
  ...scalar("i32", "i32", { divS: 0x6d, divU: 0x6e, remS: 0x6f, remU: 0x70 }),
  ...scalar("i32", "i32", { and: 0x71, or: 0x72, xor: 0x73 }),
  ...scalar("i32", "i32", { shl: 0x74, shrS: 0x75, shrU: 0x76, rotl: 0x77, rotr: 0x78 }),
  ...scalarUnary("i64", "i32", { wrap: 0xa7 }),
  ...scalarUnary("f32", "i32", { reinterpret: 0xbc }),
  truncF32S: operation("i32", [0xfc, 0], ["f32"]) as Unary<"f32", "i32">,
  truncF32U: operation("i32", [0xfc, 1], ["f32"]) as Unary<"f32", "i32">,
  truncF64S: operation("i32", [0xfc, 2], ["f64"]) as Unary<"f64", "i32">,
  /** The smaller of two unsigned numbers. */
  minU(a: Expr<"i32">, b: Operand<"i32">): Expr<"i32"> {
    return select(i32.ltU(a, b), a, operand("i32", b));
  },
};

/** 64-bit integers. */
export const i64 = {
  const: (value: number) => operand("i64", value),
  load: load("i64", [0x29], 3),
  ...scalarUnary("i64", "i32", { eqz: 0x50 }),
  ...scalar("i64", "i32", { eq: 0x51, ne: 0x52 }),
  ...scalar("i64", "i64", { add: 0x7c, sub: 0x7d, mul: 0x7e, and: 0x83, or: 0x84 }),
  ...scalar("i64", "i64", { shl: 0x86, shrS: 0x87, shrU: 0x88 }),
  ...scalarUnary("i32", "i64", { extendS: 0xac, extendU: 0xad }),
};

/** 32-bit floats. */
export const f32 = {
  const: (value: number) => operand("f32", value),
  load: load("f32", [0x2a], 2),
  ...scalar("f32", "i32", { eq: 0x5b, ne: 0x5c, lt: 0x5d, gt: 0x5e, le: 0x5f, ge: 0x60 }),
  ...scalarUnary("f32", "f32", { abs: 0x8b, neg: 0x8c, ceil: 0x8d, floor: 0x8e, trunc: 0x8f }),
  ...scalarUnary("f32", "f32", { nearest: 0x90, sqrt: 0x91 }),
  ...scalar("f32", "f32", { add: 0x92, sub: 0x93, mul: 0x94, div: 0x95, min: 0x96, max: 0x97 }),
  ...scalar("f32", "f32", { copysign: 0x98 }),
  ...scalarUnary("i32", "f32", { convertS: 0xb2, convertU: 0xb3, reinterpret: 0xbe }),
  ...scalarUnary("f64", "f32", { demote: 0xb6 }),
};

/** 64-bit floats. */
export const f64 = {
  const: (value: number) => operand("f64", value),
  load: load("f64", [0x2b], 3),
  ...scalar("f64", "i32", { eq: 0x61, ne: 0x62, lt: 0x63, gt: 0x64, le: 0x65, ge: 0x66 }),
  ...scalar("f64", "f64", { add: 0xa0, sub: 0xa1, mul: 0xa2, div: 0xa3, min: 0xa4, max: 0xa5 }),
  ...scalarUnary("f32", "f64", { promote: 0xbb }),
  ...scalarUnary("i32", "f64", { convertS: 0xb7, convertU: 0xb8 }),
};

/** Vectors of 128 bits, whatever their lanes. */
export const v128 = {
  load: load("v128", [0xfd, 0x00], 4),
  load8Splat: load("v128", [0xfd, 0x07], 0),
  load32Splat: load("v128", [0xfd, 0x09], 2),
  load64Splat: load("v128", [0xfd, 0x0a], 3),
  /** Loads 32 bits into the first lane; the others are zero. */
  load32Zero: load("v128", [0xfd, 0x5c], 2),
  load64Zero: load("v128", [0xfd, 0x5d], 3),
  /** `into` with one 32-bit lane loaded from memory. */
  loadLane: (
    address: Operand<"i32">,
    into: Expr<"v128">,
    lane: number,
    offset = 0,
  ): Expr<"v128"> => ({
    type: "v128",
    code: [
      ...[operand("i32", address).code, into.code],
      ...[0xfd, 0x56, 2, ...unsignedLeb(offset), lane],
    ],
  }),
  ...vectorUnary("i32x4", { not: 0x4d }),
  /** `andnot(a, b)` is a & ~b. */
  ...vector("i32x4", { and: 0x4e, andnot: 0x4f, or: 0x50, xor: 0x51 }),
  ...vectorTest("i32x4", { anyTrue: 0x53 }),
  /** The bits of `a` where `mask` is set and of `b` where it is not. */
  bitselect: operation("v128", [0xfd, 0x52], ["i32x4", "i32x4", "i32x4"]) as (
    a: Expr<"v128">,
    b: Expr<"v128">,
    mask: Expr<"v128">,
  ) => Expr<"v128">,
};

/** Vectors of 16 bytes. */
export const i8x16 = {
  const: (...lanes: number[]) => vectorConstant(new Int8Array(lanes)),
  splat: operation("v128", [0xfd, 0x0f], ["i32"]) as Unary<"i32", "v128">,
  ...vector("i8x16", { eq: 0x23, ne: 0x24, swizzle: 0x0e }),
  ...vectorTest("i8x16", { allTrue: 0x63, bitmask: 0x64 }),
};

/** Vectors of 8 half words. */
export const i16x8 = {
  splat: operation("v128", [0xfd, 0x10], ["i32"]) as Unary<"i32", "v128">,
  ...vector("i16x8", { narrowS: 0x85, narrowU: 0x86 }),
};

/** Vectors of 4 32-bit integers. */
export const i32x4 = {
  const: (...lanes: number[]) => vectorConstant(new Int32Array(lanes)),
  splat: operation("v128", [0xfd, 0x11], ["i32"]) as Unary<"i32", "v128">,
  lane: (a: Expr<"v128">, lane: number): Expr<"i32"> => ({
    type: "i32",
    code: [a.code, 0xfd, 0x1b, lane],
  }),
  replaceLane: (a: Expr<"v128">, lane: number, value: Operand<"i32">): Expr<"v128"> => ({
    type: "v128",
    code: [a.code, operand("i32", value).code, 0xfd, 0x1c, lane],
  }),
  ...vector("i32x4", { eq: 0x37, ne: 0x38, ltS: 0x39, ltU: 0x3a, gtS: 0x3b, gtU: 0x3c }),
  ...vector("i32x4", { leS: 0x3d, leU: 0x3e, geS: 0x3f, geU: 0x40 }),
  ...vectorUnary("i32x4", { abs: 0xa0, neg: 0xa1 }),
  ...vectorTest("i32x4", { allTrue: 0xa3, bitmask: 0xa4 }),
  ...shifts("i32x4", { shl: 0xab, shrS: 0xac, shrU: 0xad }),
  ...vector("i32x4", { add: 0xae, sub: 0xb1, mul: 0xb5 }),
  ...vector("i32x4", { minS: 0xb6, minU: 0xb7, maxS: 0xb8, maxU: 0xb9 }),
  ...vectorUnary("f32x4", { truncF32x4S: 0xf8, truncF32x4U: 0xf9 }),
  /** The integers of two doubles (saturated), then two zeros. */
  ...vectorUnary("f64x2", { truncF64x2SZero: 0xfc }),
  ...vectorUnary("i16x8", { extendLow16U: 0xa9, extendHigh16U: 0xaa }),
};

/** Vectors of 4 floats. */
export const f32x4 = {
  const: (...lanes: number[]) => vectorConstant(new Float32Array(lanes)),
  splat: operation("v128", [0xfd, 0x13], ["f32"]) as Unary<"f32", "v128">,
  lane: (a: Expr<"v128">, lane: number): Expr<"f32"> => ({
    type: "f32",
    code: [a.code, 0xfd, 0x1f, lane],
  }),
  ...vector("f32x4", { eq: 0x41, ne: 0x42, lt: 0x43, gt: 0x44, le: 0x45, ge: 0x46 }),
  ...vectorUnary("f32x4", { ceil: 0x67, floor: 0x68, trunc: 0x69, nearest: 0x6a }),
  ...vectorUnary("f32x4", { abs: 0xe0, neg: 0xe1, sqrt: 0xe3 }),
  ...vector("f32x4", { add: 0xe4, sub: 0xe5, mul: 0xe6, div: 0xe7, min: 0xe8, max: 0xe9 }),
  /** `pmin(a, b)` is b < a ? b : a, `pmax(a, b)` is a < b ? b : a: one machine instruction each. */
  ...vector("f32x4", { pmin: 0xea, pmax: 0xeb }),
  ...vectorUnary("i32x4", { convertS: 0xfa, convertU: 0xfb }),
  ...vectorUnary("f64x2", { demoteZero: 0x5e }),
  /** a * b + c, rounded once or twice as the host likes; exists where `hasRelaxedSimd`. */
  relaxedMadd: operation("v128", [0xfd, 0x85, 0x02], ["f32x4", "f32x4", "f32x4"]) as (
    a: Operand<"v128">,
    b: Operand<"v128">,
    c: Operand<"v128">,
  ) => Expr<"v128">,
};

/** Vectors of 2 doubles. */
export const f64x2 = {
  const: (...lanes: number[]) => vectorConstant(new Float64Array(lanes)),
  splat: operation("v128", [0xfd, 0x14], ["f64"]) as Unary<"f64", "v128">,
  ...vector("f64x2", { eq: 0x47, ne: 0x48, lt: 0x49, gt: 0x4a, le: 0x4b, ge: 0x4c }),
  ...vectorUnary("f64x2", { ceil: 0x74, floor: 0x75, trunc: 0x7a, nearest: 0x94 }),
  ...vectorUnary("f64x2", { abs: 0xec, neg: 0xed, sqrt: 0xef }),
  ...vector("f64x2", { add: 0xf0, sub: 0xf1, mul: 0xf2, div: 0xf3, pmin: 0xf6, pmax: 0xf7 }),
  ...vectorUnary("f32x4", { promoteLow: 0x5f }),
  ...vectorUnary("i32x4", { convertLowS: 0xfe, convertLowU: 0xff }),
};

/** Vectors of 2 64-bit integers, as far as doubles are taken apart by their bits. */
export const i64x2 = vector("f64x2", { add: 0xce, sub: 0xd1 });

/** Atomic access to the shared memory. */
export const atomic = {
  load32: load("i32", [0xfe, 0x10], 2),
  load64: load("i64", [0xfe, 0x11], 3),
  store64: (address: Operand<"i32">, value: Operand<"i64">): Expr<"void"> => ({
    type: "void",
    code: [operand("i32", address).code, operand("i64", value).code, 0xfe, 0x18, 3, 0],
  }),
  /** Adds to a word and returns what it was. */
  add32: (address: Operand<"i32">, value: Operand<"i32">): Expr<"i32"> => ({
    type: "i32",
    code: [operand("i32", address).code, operand("i32", value).code, 0xfe, 0x1e, 2, 0],
  }),
  /** Replaces a double word if it is the expected one, and returns what it was. */
  exchange64: (
    address: Operand<"i32">,
    expected: Operand<"i64">,
    replacement: Operand<"i64">,
  ): Expr<"i64"> => ({
    type: "i64",
    code: [
      ...[operand("i32", address).code, operand("i64", expected).code],
      ...[operand("i64", replacement).code, 0xfe, 0x49, 3, 0],
    ],
  }),
};

/** Copies bytes; the ranges may overlap. */
export function memoryCopy(
  to: Operand<"i32">,
  from: Operand<"i32">,
  bytes: Operand<"i32">,
): Expr<"void"> {
  const operands = [to, from, bytes].map((value) => operand("i32", value).code);
  return { type: "void", code: [...operands, 0xfc, 10, 0, 0] };
}

/** Fills bytes with zeros. */
export function memoryClear(to: Operand<"i32">, bytes: Operand<"i32">): Expr<"void"> {
  const operands = [to, 0, bytes].map((value) => operand("i32", value).code);
  return { type: "void", code: [...operands, 0xfc, 11, 0] };
}

/** Whether the host has the relaxed vector instructions. */
export const hasRelaxedSimd: boolean = WebAssembly.validate(
  new Uint8Array([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 6, 1, 0x60, 1, 0x7b, 1, 0x7b, 3, 2, 1, 0],
    ...[10, 13, 1, 11, 0, 0x20, 0, 0x20, 0, 0x20, 0, 0xfd, 0x85, 0x02, 0x0b],
  ]),
);

/** a * b + c over 4 floats, fused where the host can. */
export function madd(
  a: Operand<"v128">,
  b: Operand<"v128">,
  c: Operand<"v128">,
): Expr<"v128"> {
  return hasRelaxedSimd ? f32x4.relaxedMadd(a, b, c) : f32x4.add(f32x4.mul(a, b), c);
}

/** Four 32-bit lanes out of the eight of `a` (0-3) and `b` (4-7). */
export function shuffle(
  a: Expr<"v128">,
  b: Expr<"v128">,
  lanes: readonly [number, number, number, number],
): Expr<"v128"> {
  const bytes = lanes.flatMap((lane) => [4 * lane, 4 * lane + 1, 4 * lane + 2, 4 * lane + 3]);
  return { type: "v128", code: [a.code, b.code, 0xfd, 0x0d, ...bytes] };
}
