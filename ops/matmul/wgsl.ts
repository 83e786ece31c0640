/** Matrix products on WebGPU. */
import type { KernelSpec, View, WgslDispatch, WgslTarget } from "../../lib/op.ts";
import { gemmWgsl } from "../../lib/backends/webgpu/gemm_wgsl.ts";
import { elementAt, unflatten } from "../../lib/backends/webgpu/kernel_wgsl.ts";
import { sizeOf } from "../../lib/shape.ts";

/** `a [...batch, M, K] · b [...batch, K, N]`; both may be strided views. */
export function matmulWgsl({ inputs, outputs }: KernelSpec, target: WgslTarget): WgslDispatch[] {
  const [a, b] = inputs as [View, View];
  const [output] = outputs as [View];
  const rank = output.shape.length;
  const batchShape = output.shape.slice(0, -2);
  const [rows, columns] = output.shape.slice(-2) as [number, number];
  const depth = a.shape[rank - 1]!;
  const start = ({ shape, strides, offset }: View) =>
    elementAt({ shape, strides: strides.slice(0, -2), offset }, unflatten("z", batchShape));
  const matrix = (view: View) => ({
    shape: view.shape.slice(-2),
    strides: view.strides.slice(-2),
    offset: 0,
  });
  const element = (name: string, view: View, i: string, j: string) =>
    asF32(view, `${name}[${name}_start + ${elementAt(matrix(view), [i, j])}]`);
  const stored = (value: string) => output.dtype === "f16" ? `f16(${value})` : value;

  return [gemmWgsl({
    name: "matmul",
    batch: sizeOf(batchShape),
    rows,
    columns,
    depth,
    bindings: [
      { name: "a", operand: "input", index: 0, access: "read", dtype: a.dtype },
      { name: "b", operand: "input", index: 1, access: "read", dtype: b.dtype },
      { name: "c", operand: "output", index: 0, access: "read_write", dtype: output.dtype },
    ],
    prologue: `  let a_start = ${start(a)};\n  let b_start = ${start(b)};`,
    left: (m, k) => element("a", a, m, k),
    right: (k, n) => element("b", b, k, n),
    store: (m, n, value) => `c[(z * ${rows} + ${m}) * ${columns} + ${n}] = ${stored(value)};`,
    leftAlong: a.strides[rank - 1] === 1 ? "depth" : "rows",
    rightAlong: b.strides[rank - 1] === 1 ? "columns" : "depth",
  }, target)];
}

function asF32(view: View, text: string): string {
  return view.dtype === "f32" ? text : `f32(${text})`;
}
