/** The product of matrices, in batches. */
import type { KernelOperand, Op } from "../../lib/op.ts";
import { broadcastShapes, sameShape, type Shape, showShape, sizeOf } from "../../lib/shape.ts";
import { bindOne, type Tensor } from "../../lib/tensor.ts";
import { checkDType } from "../arguments.ts";
import { asTensors, broadcastTo } from "../broadcast.ts";
import { reshape } from "../reshape.ts";
import { swapAxes } from "../transpose.ts";
import { matmulWasm } from "./wasm.ts";
import { matmulScratch, matmulWgsl } from "./wgsl.ts";

/** On operands of equal batch shape: a [...batch, M, K], b [...batch, K, N] → [...batch, M, N]. */
const matmulOp: Op = {
  name: "matmul",
  infer([a, b]) {
    checkDType("matmul", "a", a!, "float");
    checkDType("matmul", "b", b!, "float");
    const batch = a!.shape.slice(0, -2);
    if (!sameShape(batch, b!.shape.slice(0, -2)) || a!.shape.at(-1) !== b!.shape.at(-2)) {
      throw new TypeError(
        `matmul: expected b to have shape ${
          showShape([...batch, a!.shape.at(-1)!, b!.shape.at(-1)!])
        } but found ${showShape(b!.shape)}`,
      );
    }
    return [{ shape: [...batch, a!.shape.at(-2)!, b!.shape.at(-1)!], dtype: a!.dtype }];
  },
  vjp: ({ inputs: [a, b], cotangents: [g] }) => [
    bindOne(matmulOp, [g!, swapAxes(b!, -1, -2)]),
    bindOne(matmulOp, [swapAxes(a!, -1, -2), g!]),
  ],
  run: {
    kind: "kernel",
    acceptsViews: true,
    epilogue: { wasm: "row", webgpu: 4 },
    cpu,
    wasm: matmulWasm,
    wgsl: matmulWgsl,
    flops: ({ inputs: [a, b] }) => 2 * sizeOf(a!.shape) * b!.shape.at(-1)!,
    scratch: (spec, backend) => backend === "webgpu" ? matmulScratch(spec) : [],
  },
};

function cpu([a, b]: readonly KernelOperand[], [out]: readonly KernelOperand[]): void {
  const [rows, inner] = a!.shape.slice(-2) as [number, number];
  const columns = b!.shape.at(-1)!;
  const batch = sizeOf(a!.shape.slice(0, -2));
  const sums = new Float64Array(columns);
  for (let row = 0; row < batch * rows; row++) {
    const matrix = Math.floor(row / rows) * inner * columns;
    sums.fill(0);
    for (let k = 0; k < inner; k++) {
      const factor = a!.data[row * inner + k]!;
      const start = matrix + k * columns;
      for (let column = 0; column < columns; column++) {
        sums[column]! += factor * b!.data[start + column]!;
      }
    }
    out!.data.set(sums, row * columns);
  }
}

/**
 * The matrix product of two tensors. Axes before the last two are batches and broadcast; a tensor of
 * one axis is a row on the left and a column on the right, and that axis is not in the result.
 *
 * @param a A tensor [..., M, K] or [K].
 * @param b A tensor [..., K, N] or [K].
 * @returns The product [..., M, N].
 * @throws {TypeError} If the inner lengths differ, the batches do not broadcast, an operand is a
 * scalar, or not of floats.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../../lib/tensor.ts";
 * import { matmul } from "./matmul.ts";
 * const a = tensor([[1, 2], [3, 4]]);
 * assertEquals(await matmul(a, a).toArray(), [[7, 10], [15, 22]]);
 * assertEquals(await matmul(a, tensor([1, 1])).toArray(), [3, 7]);
 * ```
 */
export function matmul(a: Tensor, b: Tensor): Tensor {
  const [left, right] = asTensors("matmul", a, b) as [Tensor, Tensor];
  if (left.rank === 0 || right.rank === 0) {
    throw new TypeError(
      `matmul: expected tensors of at least one axis but found shapes ${showShape(a.shape)} and ${
        showShape(b.shape)
      }`,
    );
  }
  if (left.rank === 1) {
    const product = matmul(reshape(left, [1, left.size]), right);
    return reshape(product, product.shape.toSpliced(right.rank === 1 ? 0 : -2, 1));
  }
  if (right.rank === 1) {
    return reshape(matmul(left, reshape(right, [right.size, 1])), left.shape.slice(0, -1));
  }
  const [rows, inner] = left.shape.slice(-2) as [number, number];
  const columns = right.shape.at(-1)!;
  if (right.shape.at(-2) !== inner) {
    throw new TypeError(
      `matmul: expected b to have ${inner} rows, as a ${
        showShape(a.shape)
      } has columns, but found shape ${showShape(b.shape)}`,
    );
  }
  if (right.rank === 2 && left.rank > 2) {
    // One matrix for all batches: one product of many rows.
    const flat = bindOne(matmulOp, [
      reshape(left, [sizeOf(left.shape.slice(0, -1)), inner]),
      right,
    ]);
    return reshape(flat, [...left.shape.slice(0, -1), columns]);
  }
  const batch = broadcastShapes("matmul", left.shape.slice(0, -2), right.shape.slice(0, -2));
  const stretch = (x: Tensor, matrix: Shape) => broadcastTo(x, [...batch, ...matrix]);
  return bindOne(matmulOp, [stretch(left, [rows, inner]), stretch(right, [inner, columns])]);
}
