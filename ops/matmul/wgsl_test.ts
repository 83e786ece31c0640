import type { DType } from "../../lib/dtype.ts";
import { rowMajorStrides } from "../../lib/shape.ts";
import {
  assertClose,
  noise,
  runKernel,
  tensorOf,
  type ViewedTensor,
  webgpuTest,
} from "../../lib/backends/webgpu/testing.ts";
import { matmulWgsl } from "./wgsl.ts";

/** A tensor whose buffer is row-major in `shape` permuted by `order`, viewed as `shape`. */
function stored(dtype: DType, shape: number[], order: number[], seed: number): ViewedTensor {
  const strides = new Array<number>(shape.length);
  const inner = rowMajorStrides(order.map((axis) => shape[axis]!));
  order.forEach((axis, i) => strides[axis] = inner[i]!);
  const draw = noise(seed);
  return { ...tensorOf(dtype, shape, draw), view: { shape, dtype, strides, offset: 0 } };
}

function at({ data, view }: ViewedTensor, index: readonly number[]): number {
  return data[index.reduce((sum, i, axis) => sum + i * view!.strides[axis]!, view!.offset)]!;
}

function product(a: ViewedTensor, b: ViewedTensor): Float64Array {
  const [batch, rows, depth] = a.shape as [number, number, number], columns = b.shape[2]!;
  const result = new Float64Array(batch * rows * columns);
  for (let z = 0, at_ = 0; z < batch; z++) {
    for (let m = 0; m < rows; m++) {
      for (let n = 0; n < columns; n++, at_++) {
        for (let k = 0; k < depth; k++) result[at_]! += at(a, [z, m, k]) * at(b, [z, k, n]);
      }
    }
  }
  return result;
}

webgpuTest("matmul multiplies matrices of any size, order in memory and batch", async (backend) => {
  const cases = [
    { shape: [1, 33, 20, 45], a: [0, 1, 2], b: [0, 1, 2] },
    { shape: [3, 64, 16, 64], a: [0, 2, 1], b: [2, 1, 0] },
    { shape: [2, 1, 70, 130], a: [1, 0, 2], b: [0, 2, 1] },
    { shape: [2, 5, 0, 3], a: [0, 1, 2], b: [0, 1, 2] },
    { shape: [1, 40, 9, 1], a: [0, 1, 2], b: [0, 1, 2] },
  ];
  for (
    const { shape: [z, m, k, n], ...order } of cases as {
      shape: [number, number, number, number];
      a: number[];
      b: number[];
    }[]
  ) {
    const a = stored("f32", [z, m, k], order.a, 1), b = stored("f32", [z, k, n], order.b, 2);
    const output = { shape: [z, m, n], dtype: "f32" as const };
    const [found] = await runKernel(backend, { wgsl: matmulWgsl }, [a, b], [output]);
    assertClose(found!, product(a, b), 1e-5, `matmul ${[z, m, k, n]}`);
  }
});

webgpuTest(
  "matmul repeats an operand whose batch stride is 0, and starts at an offset",
  async (backend) => {
    const a = stored("f32", [3, 4, 6], [0, 1, 2], 1);
    const data = tensorOf("f32", [1, 7, 5], noise(2));
    const b = {
      ...data,
      shape: [3, 6, 5],
      view: { ...data, shape: [3, 6, 5], strides: [0, 5, 1], offset: 5 },
    };
    const [found] = await runKernel(
      backend,
      { wgsl: matmulWgsl },
      [a, { ...b, shape: data.shape }],
      [
        { shape: [3, 4, 5], dtype: "f32" },
      ],
    );
    assertClose(found!, product(a, b), 1e-5);
  },
);

webgpuTest("matmul of f16 gathers sums in f32", async (backend) => {
  if (!backend.features.f16) return;
  const a = stored("f16", [1, 9, 300], [0, 1, 2], 1), b = stored("f16", [1, 300, 11], [0, 1, 2], 2);
  const output = { shape: [1, 9, 11], dtype: "f16" as const };
  const [found] = await runKernel(backend, { wgsl: matmulWgsl }, [a, b], [output]);
  assertClose(found!, product(a, b), 1e-3);
});

webgpuTest("the shaders for hardware adapters give the same products", async (backend) => {
  const sizes = [[128, 66, 8, 66], [1, 5, 40, 300]] as const;
  for (const [z, m, k, n] of sizes) {
    const a = stored("f32", [z, m, k], [0, 1, 2], 1), b = stored("f32", [z, k, n], [0, 2, 1], 2);
    const [found] = await runKernel(
      backend,
      { wgsl: (spec, target) => matmulWgsl(spec, { ...target, software: false }) },
      [a, b],
      [{ shape: [z, m, n], dtype: "f32" }],
    );
    assertClose(found!, product(a, b), 1e-5, `matmul ${[m, k, n]}`);
  }
});
