/** Ops on f16, which devices store in two bytes, within its eleven bits. */
import fc from "npm:fast-check@4.10.2";
import { type Tensor, tensor } from "../../lib/tensor.ts";
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
testHalf(
  "attention to some columns",
  [[1, 2, 3, 4], [1, 2, 5, 4], [1, 2, 5, 4]],
  (q, k, v) => ops.attention(q, k, v, { visible: tensor([[1, 3, 5]], { dtype: "i32" }) }),
);
testHalf("rmsNorm", [[3, 6], [6]], (x, weight) => ops.rmsNorm(x, weight, 0.1));
testHalf(
  "rmsNorm of numbers whose squares overflow",
  [[3, 6]],
  (x) => ops.rmsNorm(ops.mul(x, 1000)),
);
testHalf(
  "embedding",
  [[5, 3]],
  (table) => ops.embedding(table, tensor([[4, 1, 1], [0, 4, 4]], { dtype: "i32" })),
);
testHalf(
  "linearCrossEntropy",
  [[6, 4], [70, 4]],
  (x, w) => ops.linearCrossEntropy(x, w, tensor([3, 69, 64, 0, 0, 1], { dtype: "i32" })),
);
testHalf("silu", [[3, 5]], (x) => ops.silu(x));
testHalf(
  "rotary2d",
  [[2, 3, 4]],
  (x) => ops.rotary2d(x, tensor([[1, 0.5]]), tensor([[0, 0.75]])),
);
testHalf("conv2d", [[1, 2, 4, 4], [3, 2, 3, 3]], (x, w) => ops.conv2d(x, w, { padding: 1 }));
testHalf("cumulativeSum", [[3, 5]], (x) => ops.cumulativeSum(x));
testHalf("sort", [[3, 7]], (x) => ops.sort(x));
testHalf("a mix with f32", [[2, 3]], (x) => ops.mul(x, ops.full([3], 0.5)));
