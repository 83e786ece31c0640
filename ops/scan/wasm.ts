/** The cumulative sum in WebAssembly. */
import type { KernelSpec } from "../../lib/op.ts";
import { f32, f64, i32 } from "../../lib/backends/wasm/assembler.ts";
import { at } from "../../lib/backends/wasm/gemm_kernels.ts";
import type { WasmCall, WasmProgram } from "../../lib/backends/wasm/program.ts";
import { sizeOf } from "../../lib/shape.ts";

/** Elements that one chunk adds up, at least. */
const perChunk = 8192;

/** x → its sums along an axis; floats are added in double precision. */
export function cumulativeSumWasm(
  { attributes, inputs }: KernelSpec,
  program: WasmProgram,
): WasmCall[] {
  const { shape, dtype } = inputs[0]!;
  const length = shape[attributes.axis]!;
  const inner = sizeOf(shape.slice(attributes.axis + 1));
  const lines = sizeOf(shape) / Math.max(1, length);
  if (lines * length === 0) return [];
  const isFloat = dtype === "f32";
  const linesPerChunk = Math.ceil(perChunk / length);
  const name = isFloat ? "cumulativeSumFloats" : "cumulativeSumIntegers";
  const kernel = program.once(name, (m) => {
    m.func({ params: ["i32", "i32", "i32"], export: name }, (f, args, chunk) => {
      const arg = (word: number) => f.let(i32.load(args, 4 * word));
      const [x, out, length, inner, lines, linesPerChunk] = [
        ...[arg(0), arg(1), arg(2), arg(3), arg(4), arg(5)] as const,
      ];
      const step = f.let(i32.shl(inner, 2));
      const line = f.let(i32.mul(chunk, linesPerChunk));
      const end = f.let(i32.minU(i32.add(line, linesPerChunk), lines));
      const total = f.local("f64"), count = f.local("i32");
      f.while(i32.ltU(line, end), () => {
        const block = i32.mul(i32.divU(line, inner), i32.mul(length, inner));
        const first = f.let(i32.shl(i32.add(block, i32.remU(line, inner)), 2));
        const from = f.let(i32.add(x, first)), to = f.let(i32.add(out, first));
        const last = f.let(at(from, length, step));
        f.set(total, 0);
        f.set(count, 0);
        f.while(i32.ltU(from, last), () => {
          if (isFloat) {
            f.set(total, f64.add(total, f64.promote(f32.load(from))));
            f.store.f32(to, f32.demote(total));
          } else {
            f.set(count, i32.add(count, i32.load(from)));
            f.store.i32(to, count);
          }
          f.set(from, i32.add(from, step));
          f.set(to, i32.add(to, step));
        });
        f.set(line, i32.add(line, 1));
      });
    });
    return name;
  });
  return [{
    name: "cumulativeSum",
    kernel,
    args: [
      { operand: "input", index: 0 },
      { operand: "output", index: 0 },
      ...[length, inner, lines, linesPerChunk],
    ],
    chunks: Math.ceil(lines / linesPerChunk),
  }];
}
