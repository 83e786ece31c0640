/** Ops on f16, which devices store in two bytes, within its eleven bits. */
import fc from "npm:fast-check@4.10.2";
import type { Tensor } from "../../lib/tensor.ts";
import * as ops from "../../ops/mod.ts";
import { type Operand, shapes, testOp } from "../ops_harness.ts";

const options = { half: true, twice: false, tolerance: 4e-3 };

function testHalf(name: string, shapeList: number[][], apply: (...x: Tensor[]) => Tensor): void {
  const operands = shapeList.map((shape): Operand => ({ shape, dtype: "f16", low: -1, high: 1 }));
  testOp(`${name} of f16`, fc.constant({ operands, apply }), options);
}

testOp(
  "arithmetic of f16",
  shapes(0, 3).map((shape) => ({
    operands: [{ shape, dtype: "f16" }, { shape, dtype: "f16" }],
    apply: (x: Tensor, y: Tensor) => ops.add(ops.mul(x, 2), ops.tanh(y)),
  })),
  options,
);
testHalf("sum", [[3, 5]], (x) => ops.sum(x, { axes: 1 }));
testHalf("softmax", [[3, 5]], (x) => ops.softmax(x));
testHalf("layerNorm", [[3, 6], [6]], (x, weight) => ops.layerNorm(x, weight, undefined, 0.1));
testHalf("concat", [[2, 3], [2, 2]], (x, y) => ops.concat([x, y], { axis: 1 }));
testHalf("where", [[2, 3], [2, 3]], (x, y) => ops.where(ops.less(x, y), x, y));
testHalf("matmul", [[2, 5, 3], [3, 4]], (a, b) => ops.matmul(a, b));
testHalf(
  "attention",
  [[1, 2, 5, 4], [1, 2, 5, 4], [1, 2, 5, 4]],
  (q, k, v) => ops.attention(q, k, v),
);
testHalf("conv2d", [[1, 2, 4, 4], [3, 2, 3, 3]], (x, w) => ops.conv2d(x, w, { padding: 1 }));
testHalf("cumulativeSum", [[3, 5]], (x) => ops.cumulativeSum(x));
testHalf("sort", [[3, 7]], (x) => ops.sort(x));
testHalf("a mix with f32", [[2, 3]], (x) => ops.mul(x, ops.full([3], 0.5)));
