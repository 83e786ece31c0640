/** Matrix products in WebAssembly. */
import type { KernelSpec, View } from "../../lib/op.ts";
import { wasmEpilogue } from "../../lib/backends/wasm/epilogue.ts";
import { gemmCalls } from "../../lib/backends/wasm/gemm_calls.ts";
import type { WasmCall, WasmProgram } from "../../lib/backends/wasm/program.ts";

/** One axis of the batch: its length, and its strides in a, b and the product. */
interface BatchAxis {
  readonly length: number;
  readonly strides: readonly [number, number, number];
}

/** The batch in as few axes as its strides allow. */
function batchAxes(a: View, b: View, output: View): BatchAxis[] {
  const axes: BatchAxis[] = [];
  for (let axis = 0; axis < output.shape.length - 2; axis++) {
    const length = output.shape[axis]!;
    if (length === 1) continue;
    const strides = [a, b, output].map((view) => view.strides[axis]!) as [number, number, number];
    const before = axes.at(-1);
    if (before?.strides.every((stride, i) => stride === length * strides[i]!)) {
      axes[axes.length - 1] = { length: before.length * length, strides };
    } else axes.push({ length, strides });
  }
  return axes;
}

/** `a [...batch, M, K] · b [...batch, K, N]`; both may be strided views. */
export function matmulWasm(spec: KernelSpec, program: WasmProgram): WasmCall[] {
  const { inputs, outputs } = spec;
  const [a, b] = inputs as [View, View];
  const [output] = outputs as [View];
  const [m, n] = output.shape.slice(-2) as [number, number];
  const k = a.shape.at(-1)!;
  const axes = batchAxes(a, b, output);
  const none: BatchAxis = { length: 1, strides: [0, 0, 0] };
  const [inner = none, outer = none, ...loops] = axes.toReversed();
  const matrix = ({ strides }: View, which: 0 | 1 | 2) => ({
    row: strides.at(-2)!,
    column: strides.at(-1)!,
    batch: [outer.strides[which], inner.strides[which]] as const,
  });
  const epilogue = wasmEpilogue(spec, program);
  const calls: WasmCall[] = [];
  const visit = (rest: readonly BatchAxis[], offsets: readonly number[]): void => {
    const [axis, ...others] = rest;
    if (axis) {
      for (let i = 0; i < axis.length; i++) {
        visit(others, offsets.map((offset, which) => offset + i * axis.strides[which]!));
      }
      return;
    }
    const [fromA, fromB, to] = offsets.map((offset) => 4 * offset) as [number, number, number];
    calls.push(...gemmCalls(
      program,
      "matmul",
      {
        ...{ m, n, k, batch: [outer.length, inner.length], accumulate: false },
        a: matrix(a, 0),
        b: matrix(b, 1),
        c: matrix(output, 2),
      },
      {
        a: { operand: "input", index: 0, offset: fromA },
        b: { operand: "input", index: 1, offset: fromB },
        c: { operand: "output", index: 0, offset: to },
      },
      epilogue && {
        epilogue,
        firstRow: to / 4 / n,
        batchRows: [outer.strides[2] / n, inner.strides[2] / n],
      },
    ));
  };
  visit(loops.reverse(), [a.offset, b.offset, output.offset]);
  return calls;
}
