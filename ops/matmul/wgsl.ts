/** Matrix products on WebGPU. */
import type { KernelSpec, View, WgslDispatch, WgslTarget } from "../../lib/op.ts";
import { type GemmFactor, gemmScratch, gemmWgsl } from "../../lib/backends/webgpu/gemm_wgsl.ts";
import {
  elementAt,
  isVectors,
  type NamedBinding,
  unflatten,
} from "../../lib/backends/webgpu/kernel_wgsl.ts";
import { epilogueWgsl } from "../../lib/backends/webgpu/epilogue_wgsl.ts";
import { sizeOf } from "../../lib/shape.ts";

function sizesOf({ inputs: [a], outputs: [output] }: KernelSpec) {
  const [rows, columns] = output!.shape.slice(-2) as [number, number];
  return { batch: sizeOf(output!.shape.slice(0, -2)), rows, columns, depth: a!.shape.at(-1)! };
}

/** Room for the sums of parts of the depth. */
export function matmulScratch(spec: KernelSpec): number[] {
  return gemmScratch(sizesOf(spec));
}

/** `a [...batch, M, K] · b [...batch, K, N]`; both may be strided views. */
export function matmulWgsl(spec: KernelSpec, target: WgslTarget): WgslDispatch[] {
  const [a, b] = spec.inputs as [View, View];
  const [output] = spec.outputs as [View];
  const { batch, rows, columns, depth } = sizesOf(spec);
  const left = factorOf("a", a, -2), right = factorOf("b", b, -1);
  const start = ({ shape, strides, offset }: View) =>
    elementAt(
      { shape, strides: strides.slice(0, -2), offset },
      unflatten("z", shape.slice(0, -2)),
    );
  const epilogue = epilogueWgsl(spec);
  const keeps = epilogue?.keeps ?? true;
  const c: NamedBinding = {
    ...{ name: "c", operand: "output", index: 0, access: "read_write", dtype: output.dtype },
  };
  /** Stores a value of the output's type, and ends it. */
  const store = (m: string, n: string, value: string, vector: boolean) => {
    const row = `(z * ${rows} + ${m})`, at = `${row} * ${columns} + ${n}`;
    const stored = `${vector ? `vec4<${output.dtype}>` : output.dtype}(${value})`;
    return (keeps ? `c[${vector ? `(${at}) / 4` : at}] = ${stored}; ` : "") +
      (epilogue?.store(row, n, stored, vector) ?? "");
  };
  const scratch = gemmScratch({ batch, rows, columns, depth });

  return gemmWgsl({
    name: "matmul",
    ...{ batch, rows, columns, depth },
    bindings: [
      { ...binding("a", 0, a), vectors: left.vector !== undefined },
      { ...binding("b", 1, b), vectors: right.vector !== undefined },
    ],
    results: [...keeps ? [c] : [], ...epilogue?.bindings ?? []],
    resultFunctions: epilogue?.functions ?? "",
    prologue: `  let a_start = ${start(a)};\n  let b_start = ${start(b)};`,
    left,
    right,
    store: (m, n, value) => store(m, n, value, false),
    ...(columns % 4 === 0 && {
      vectorStore: {
        binding: "c",
        always: epilogue?.inVectors ?? false,
        store: (m, n, value) => store(m, n, value, true),
      },
    }),
    ...(scratch.length > 0 && {
      parts: { name: "parts", operand: "scratch", index: 0, access: "read_write", dtype: "f32" },
    }),
  }, target);
}

const binding = (name: string, index: number, { dtype }: View): NamedBinding => ({
  name,
  operand: "input",
  index,
  access: "read",
  dtype,
});

/** A factor whose elements are `name[name_start + …]`; `side` is its axis that is not the depth. */
function factorOf(name: string, view: View, side: -1 | -2): GemmFactor {
  const rank = view.shape.length, axis = rank + side, deep = rank - 3 - side;
  const inDepth = view.strides[axis] !== 1 || view.shape[axis] === 1;
  const along = inDepth ? deep : axis;
  const strided = (index: string, of: number) =>
    view.shape[of] === 1 || view.strides[of] === 0 ? "0" : `(${index}) * ${view.strides[of]}`;
  const at = (x: string, k: string) => `${name}_start + ${strided(x, axis)} + ${strided(k, deep)}`;
  const vectors = isVectors(view, along);
  const element = vectors
    ? (x: string, k: string) => `${name}[(${at(x, k)}) / 4][(${inDepth ? k : x}) % 4]`
    : (x: string, k: string) => `${name}[${at(x, k)}]`;
  return {
    along: inDepth ? "depth" : "side",
    element: (x, k) => view.dtype === "f32" ? element(x, k) : `f32(${element(x, k)})`,
    ...(vectors && { vector: (x, k) => `vec4<f32>(${name}[(${at(x, k)}) / 4])` }),
  };
}
