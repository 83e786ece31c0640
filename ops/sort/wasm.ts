/** Sorting in WebAssembly: by the digits of keys, from the lowest on. */
import type { KernelSpec } from "../../lib/op.ts";
import {
  type Expr,
  f32,
  type FunctionBuilder,
  i32,
  i64,
  memoryClear,
  select,
} from "../../lib/backends/wasm/assembler.ts";
import { at } from "../../lib/backends/wasm/gemm_kernels.ts";
import type { WasmCall, WasmProgram } from "../../lib/backends/wasm/program.ts";
import type { DType } from "../../lib/dtype.ts";
import { sizeOf } from "../../lib/shape.ts";

const digits = 4;
const buckets = 256;
const signBit = 0x80000000 | 0;

/** Along the last axis: x → values, indices; one row per chunk. */
export function sortWasm({ attributes, inputs }: KernelSpec, program: WasmProgram): WasmCall[] {
  const { shape, dtype } = inputs[0]!;
  const length = shape.at(-1)!;
  if (sizeOf(shape) === 0) return [];
  const rows = sizeOf(shape) / length;
  const perRow = 2 * 8 * length;
  const descending: boolean = attributes.descending;
  const name = `sort${descending ? "Down" : "Up"}_${dtype}`;
  const kernel = program.once(name, (m) => {
    m.func({ params: ["i32", "i32", "i32"], export: name }, (f, args, row, scratch) => {
      const arg = (word: number) => f.let(i32.load(args, 4 * word));
      const [length, perRow] = [arg(4), arg(5)];
      const place = (word: number) => f.let(at(arg(word), row, i32.shl(length, 2)));
      const [x, values, indices] = [place(0), place(1), place(2)];
      // Pairs of key and index; every digit moves them from one half to the other.
      const from = f.let(at(arg(3), row, perRow));
      const to = f.let(i32.add(from, i32.shrU(perRow, 1)));
      const bytes = f.let(i32.shl(length, 2));
      f.for(0, bytes, 4, (offset) => {
        const pair = f.let(at(from, offset, 2));
        f.store.i32(pair, keyOf(f, dtype, descending, i32.add(x, offset)));
        f.store.i32(pair, i32.shrU(offset, 2), 4);
      });
      for (let digit = 0; digit < digits; digit++) {
        const counterOf = (pair: Expr<"i32">) =>
          at(scratch, i32.and(i32.shrU(i32.load(pair), 8 * digit), buckets - 1), 4);
        const end = f.let(at(from, length, 8));
        f.do(memoryClear(scratch, 4 * buckets));
        f.for(from, end, 8, (pair) => {
          const counter = f.let(counterOf(pair));
          f.store.i32(counter, i32.add(i32.load(counter), 8));
        });
        const next = f.let(to);
        f.for(scratch, i32.add(scratch, 4 * buckets), 4, (counter) => {
          const size = f.let(i32.load(counter));
          f.store.i32(counter, next);
          f.set(next, i32.add(next, size));
        });
        f.for(from, end, 8, (pair) => {
          const counter = f.let(counterOf(pair));
          const target = f.let(i32.load(counter));
          f.store.i64(target, i64.load(pair));
          f.store.i32(counter, i32.add(target, 8));
        });
        const swapped = f.let(from);
        f.set(from, to);
        f.set(to, swapped);
      }
      f.for(0, bytes, 4, (offset) => {
        const index = f.let(i32.load(at(from, offset, 2), 4));
        f.store.i32(i32.add(indices, offset), index);
        f.store.i32(i32.add(values, offset), i32.load(at(x, index, 4)));
      });
    });
    return name;
  });
  return [{
    name: "sort",
    kernel,
    args: [
      { operand: "input", index: 0 },
      { operand: "output", index: 0 },
      { operand: "output", index: 1 },
      program.reserve(rows * perRow),
      ...[length, perRow],
    ],
    chunks: rows,
  }];
}

/** An unsigned key in the order of the elements: equal for equal ones, the largest for NaN. */
function keyOf(
  f: FunctionBuilder,
  dtype: DType,
  descending: boolean,
  address: Expr<"i32">,
): Expr<"i32"> {
  const place = f.let(address);
  const word = f.let(i32.load(place));
  const flip = (key: Expr<"i32">) => descending ? i32.xor(key, -1) : key;
  if (dtype === "u32") return flip(word);
  if (dtype === "i32") return flip(i32.xor(word, signBit));
  const value = f.let(f32.load(place));
  const positive = select(f32.eq(value, 0), i32.const(0), word); // -0 is 0
  const bits = f.let(positive);
  const key = select(i32.ltS(bits, 0), i32.xor(bits, -1), i32.xor(bits, signBit));
  return select(f32.ne(value, value), i32.const(-1), flip(key));
}
