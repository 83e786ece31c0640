/** Writing at places known at run time, in WebAssembly. */
import type { KernelSpec } from "../../lib/op.ts";
import {
  f32,
  f32x4,
  i32,
  i32x4,
  memoryCopy,
  select,
  v128,
} from "../../lib/backends/wasm/assembler.ts";
import { at } from "../../lib/backends/wasm/gemm_kernels.ts";
import type { WasmCall, WasmProgram } from "../../lib/backends/wasm/program.ts";
import { sizeOf } from "../../lib/shape.ts";

/** Elements of a row that one chunk adds up, at least. */
const columnsPerChunk = 64;
/** Bytes that one chunk copies, at least. */
const bytesPerChunk = 2 ** 17;

/**
 * base (in place), indices [R], updates [R, ...rest]. Every chunk goes over all rows in order for
 * some of the columns, so that sums do not depend on the threads.
 */
export function scatterAddWasm({ inputs, outputs }: KernelSpec, program: WasmProgram): WasmCall[] {
  const [output] = outputs;
  const rows = output!.shape[0]!, count = inputs[1]!.shape[0]!;
  const length = sizeOf(output!.shape.slice(1));
  if (length * count === 0) return [];
  const isFloat = output!.dtype === "f32";
  const parts = Math.min(4 * program.threads, Math.ceil(length / columnsPerChunk));
  const width = 4 * Math.ceil(length / parts / 4);
  const name = isFloat ? "scatterAddFloats" : "scatterAddIntegers";
  const kernel = program.once(name, (m) => {
    const addLanes = isFloat ? f32x4.add : i32x4.add;
    m.func({ params: ["i32", "i32", "i32"], export: name }, (f, args, chunk) => {
      const arg = (word: number) => f.let(i32.load(args, 4 * word));
      const [out, indices, updates] = [arg(0), arg(1), arg(2)];
      const [rows, count, length, width] = [arg(3), arg(4), arg(5), arg(6)];
      const line = f.let(i32.shl(length, 2));
      const first = f.let(i32.mul(chunk, width));
      const own = f.let(i32.minU(i32.sub(length, first), width));
      const start = f.let(i32.shl(first, 2));
      f.for(0, count, 1, (row) => {
        const place = f.let(i32.load(at(indices, row, 4)));
        f.if(i32.ltU(place, rows), () => {
          const to = f.let(i32.add(at(out, place, line), start));
          const from = f.let(i32.add(at(updates, row, line), start));
          const wholeEnd = f.let(i32.add(to, i32.shl(i32.and(own, -4), 2)));
          const end = f.let(at(to, own, 4));
          f.while(i32.ltU(to, wholeEnd), () => {
            f.store.v128(to, addLanes(v128.load(to), v128.load(from)));
            f.set(to, i32.add(to, 16));
            f.set(from, i32.add(from, 16));
          });
          f.while(i32.ltU(to, end), () => {
            if (isFloat) f.store.f32(to, f32.add(f32.load(to), f32.load(from)));
            else f.store.i32(to, i32.add(i32.load(to), i32.load(from)));
            f.set(to, i32.add(to, 4));
            f.set(from, i32.add(from, 4));
          });
        });
      });
    });
    return name;
  });
  return [{
    name: "scatterAdd",
    kernel,
    args: [
      { operand: "output", index: 0 },
      { operand: "input", index: 1 },
      { operand: "input", index: 2 },
      ...[rows, count, length, width],
    ],
    chunks: Math.ceil(length / width),
  }];
}

/** base (in place), update, start. */
export function updateSliceWasm(
  { attributes, inputs, outputs }: KernelSpec,
  program: WasmProgram,
): WasmCall[] {
  const axis: number = attributes.axis;
  const { shape } = outputs[0]!;
  const length = shape[axis]!, count = inputs[1]!.shape[axis]!;
  const inner = sizeOf(shape.slice(axis + 1)), outer = sizeOf(shape.slice(0, axis));
  if (outer * count * inner === 0) return [];
  const perChunk = Math.ceil(bytesPerChunk / (4 * count * inner));
  const kernel = program.once("updateSlice", (m) => {
    m.func({ params: ["i32", "i32", "i32"], export: "updateSlice" }, (f, args, chunk) => {
      const arg = (word: number) => f.let(i32.load(args, 4 * word));
      const [out, update, last, line, part, outer, perChunk] = [
        ...[arg(0), arg(1), arg(3), arg(4), arg(5), arg(6), arg(7)] as const,
      ];
      const wanted = f.let(i32.load(arg(2)));
      const start = f.let(select(i32.ltS(wanted, 0), i32.const(0), wanted));
      f.set(start, i32.minU(start, last));
      const inner = f.let(i32.mul(start, arg(8)));
      const row = f.let(i32.mul(chunk, perChunk));
      const end = f.let(i32.minU(i32.add(row, perChunk), outer));
      f.while(i32.ltU(row, end), () => {
        f.do(memoryCopy(i32.add(at(out, row, line), inner), at(update, row, part), part));
        f.set(row, i32.add(row, 1));
      });
    });
    return "updateSlice";
  });
  return [{
    name: "updateSlice",
    kernel,
    args: [
      { operand: "output", index: 0 },
      { operand: "input", index: 1 },
      { operand: "input", index: 2 },
      ...[length - count, 4 * length * inner, 4 * count * inner, outer, perChunk, 4 * inner],
    ],
    chunks: Math.ceil(outer / perChunk),
  }];
}
