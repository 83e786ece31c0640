/** Functions on rows of floats in memory that kernels of ops share. */
import {
  type Expr,
  f32,
  f32x4,
  type FunctionBuilder,
  i32,
  i32x4,
  type Local,
  madd,
  type ModuleBuilder,
  type Operand,
  v128,
} from "./assembler.ts";
import { at } from "./gemm_kernels.ts";
import { acrossLanes } from "./lane_operations.ts";
import { exp } from "./math.ts";

type V = Expr<"v128">;
type I = Operand<"i32">;

/** Runs `body` on every whole group of four floats, then once on the lanes that are left. */
export function eachVector(
  f: FunctionBuilder,
  count: I,
  body: (offset: Local<"i32">) => void,
  rest: (offset: Local<"i32">, mask: Local<"v128">) => void,
): void {
  const offset = f.local("i32");
  f.set(offset, 0);
  const end = f.let(i32.shl(i32.and(count, -4), 2));
  f.while(i32.ltU(offset, end), () => {
    body(offset);
    f.set(offset, i32.add(offset, 16));
  });
  const left = f.let(i32.and(count, 3));
  f.if(left, () => {
    rest(offset, f.let(i32x4.gtS(i32x4.splat(left), i32x4.const(0, 1, 2, 3))));
  });
}

/** Fills `count` floats (rounded up to a multiple of 4) with zeros. */
export function fillZero(f: FunctionBuilder, address: Expr<"i32">, count: I): void {
  const at = f.let(address);
  const end = f.let(i32.add(at, i32.shl(i32.and(i32.add(count, 3), -4), 2)));
  f.while(i32.ltU(at, end), () => {
    f.store.v128(at, i32x4.const(0, 0, 0, 0));
    f.set(at, i32.add(at, 16));
  });
}

/** Stores the lanes of a mask that stand at the front, one by one. */
export function storeMasked(f: FunctionBuilder, address: Expr<"i32">, value: V, mask: V): void {
  const lanes = f.let(value);
  for (let lane = 0; lane < 3; lane++) {
    f.if(i32x4.lane(mask, lane), () => f.storeLane(address, lanes, lane, 4 * lane));
  }
}

/** Multiplies `count` floats in memory by a factor. */
export function scaleRow(f: FunctionBuilder, address: Expr<"i32">, count: I, factor: V): void {
  const scaled = (offset: Expr<"i32">) => {
    return f32x4.mul(v128.load(i32.add(address, offset)), factor);
  };
  eachVector(
    f,
    count,
    (offset) => f.store.v128(i32.add(address, offset), scaled(offset)),
    (offset, mask) => storeMasked(f, f.let(i32.add(address, offset)), scaled(offset), mask),
  );
}

/** Emits the dot product of two rows of `count` floats whose steps are in bytes. */
export function emitDot(m: ModuleBuilder) {
  return m.func(
    { params: ["i32", "i32", "i32", "i32", "i32"], result: "f32" },
    (f, a, aStep, b, bStep, count) => {
      const sums = f.let(f32x4.const(0, 0, 0, 0));
      f.if(i32.and(i32.eq(aStep, 4), i32.eq(bStep, 4)), () => {
        const end = f.let(i32.add(a, i32.shl(i32.and(count, -4), 2)));
        f.while(i32.ltU(a, end), () => {
          f.set(sums, madd(v128.load(a), v128.load(b), sums));
          f.set(a, i32.add(a, 16));
          f.set(b, i32.add(b, 16));
        });
        f.set(count, i32.and(count, 3));
      });
      const sum = f.let(f32x4.lane(acrossLanes(f, sums, f32x4.add), 0));
      f.while(count, () => {
        f.set(sum, f32.add(sum, f32.mul(f32.load(a), f32.load(b))));
        f.set(a, i32.add(a, aStep));
        f.set(b, i32.add(b, bStep));
        f.set(count, i32.sub(count, 1));
      });
      return sum;
    },
  );
}

/**
 * Emits the softmax of one row, continued over blocks: `scores` become `exp(scale · score - max)`
 * (zero beyond `seen`), and the row's state, its maximum and sum, is brought up to date.
 *
 * @returns A function of scores, columns, seen, state that gives the factor for what was summed up
 * to now.
 */
export function emitOnlineSoftmax(m: ModuleBuilder, scale: number) {
  return m.func(
    { params: ["i32", "i32", "i32", "i32"], result: "f32" },
    (f, scores, columns, seen, state) => {
      const factor = f32x4.const(scale, scale, scale, scale);
      const scaled = (offset: Expr<"i32">) => f32x4.mul(v128.load(i32.add(scores, offset)), factor);
      const lowest = f32x4.const(-Infinity, -Infinity, -Infinity, -Infinity);
      const highest = f.let(lowest);
      // One instruction where `max` is eight; it passes over NaN, which then comes into the sum.
      eachVector(
        f,
        seen,
        (offset) => f.set(highest, f32x4.pmax(highest, scaled(offset))),
        (offset, mask) =>
          f.set(highest, f32x4.pmax(highest, v128.bitselect(scaled(offset), lowest, mask))),
      );
      const before = f.let(v128.load32Splat(state));
      const now = f.let(f32x4.max(before, acrossLanes(f, highest, f32x4.max)));
      const total = f.let(f32x4.const(0, 0, 0, 0));
      const put = (offset: Expr<"i32">, value: Expr<"v128">) => {
        const p = f.let(value);
        f.store.v128(i32.add(scores, offset), p);
        f.set(total, f32x4.add(total, p));
      };
      const power = (offset: Expr<"i32">) => exp(f, f32x4.sub(scaled(offset), now));
      eachVector(
        f,
        seen,
        (offset) => put(offset, power(offset)),
        (offset, mask) => put(offset, v128.and(power(offset), mask)),
      );
      const end = f.let(i32.and(i32.add(seen, 3), -4));
      f.if(i32.ltU(end, columns), () => {
        fillZero(f, at(scores, end, 4), i32.sub(columns, end));
      });
      const isFirst = f32x4.eq(before, now); // also where both are -infinity
      const keep = f.let(
        v128.bitselect(f32x4.const(1, 1, 1, 1), exp(f, f32x4.sub(before, now)), isFirst),
      );
      const sum = f32x4.add(
        f32x4.mul(v128.load32Splat(state, 4), keep),
        acrossLanes(f, total, f32x4.add),
      );
      f.store.f32(state, f32x4.lane(now, 0));
      f.store.f32(state, f32x4.lane(sum, 0), 4);
      return f32x4.lane(keep, 0);
    },
  );
}
