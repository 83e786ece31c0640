/** Reductions, searches, scans and sorts, against plain loops. */
import fc from "npm:fast-check@4.10.2";
import type { Tensor } from "../../lib/tensor.ts";
import * as ops from "../../ops/mod.ts";
import {
  at,
  emptyableShapes,
  indices,
  type Operand,
  type OpTestOptions,
  shapes,
  testOp,
  type Use,
} from "../ops_harness.ts";

const withAxes = (drawn: fc.Arbitrary<number[]>) =>
  drawn.chain((shape) =>
    fc.record({
      shape: fc.constant(shape),
      axes: fc.subarray(shape.map((_, axis) => axis)),
      keepDims: fc.boolean(),
    })
  );

type Reduce = (x: Tensor, options: { axes: number[]; keepDims: boolean }) => Tensor;

function testReduction(
  name: string,
  reduce: Reduce,
  formula: (list: number[]) => number,
  { empty = true, ...operand }: Omit<Operand, "shape"> & { empty?: boolean } = {},
  options: OpTestOptions = {},
): void {
  const drawn = withAxes(empty ? emptyableShapes(0, 4) : shapes(0, 4));
  const uses = drawn.map(({ shape, axes, keepDims }): Use => ({
    operands: [{ ...operand, shape }],
    apply: (x) => reduce(x, { axes, keepDims }),
    expected(x) {
      const kept = shape.map((length, axis) => axes.includes(axis) ? 1 : length);
      const lists = Array.from(indices(kept), () => [] as number[]);
      for (const index of indices(shape)) lists[at(kept, index)]!.push(x[at(shape, index)]!);
      return lists.map(formula);
    },
  }));
  testOp(name, uses, options);
}

const total = (list: number[]) => list.reduce((a, b) => a + b, 0);
const average = (list: number[]) => total(list) / list.length;
const spread = (list: number[]) => average(list.map((x) => (x - average(list)) ** 2));
const full = { empty: false };
const whole = { dtype: "i32", low: -9, high: 9 } as const;
const bool = { dtype: "bool", low: 0, high: 2 } as const;

testReduction("sum", ops.sum, total);
testReduction("sum of integers", ops.sum, total, whole);
testReduction("sum of bools", ops.sum, total, bool);
testReduction("mean", ops.mean, average, full);
testReduction("max", ops.max, (list) => Math.max(...list), full);
testReduction("max of integers", ops.max, (list) => Math.max(...list), { ...whole, ...full });
testReduction("min", ops.min, (list) => Math.min(...list), full);
testReduction("product", ops.product, (list) => list.reduce((a, b) => a * b, 1));
testReduction("any", ops.any, (list) => +list.some(Boolean), bool);
testReduction("all", ops.all, (list) => +list.every(Boolean), bool);
testReduction(
  "logsumexp",
  ops.logsumexp,
  (list) => Math.log(total(list.map(Math.exp))),
  { ...full, low: -9, high: 9 },
);
testReduction("variance", ops.variance, spread, full);
testReduction("norm", ops.norm, (list) => Math.hypot(...list), { ...full, low: 0.5 });

/** Ops that give, for every list along an axis, a list of some length. */
function testAlong(
  name: string,
  apply: (x: Tensor, options: { axis: number }) => Tensor,
  formula: (list: number[]) => number[],
  operand: Omit<Operand, "shape"> = {},
): void {
  const uses = shapes(1, 3).chain((shape) =>
    fc.nat(shape.length - 1).map((axis): Use => ({
      operands: [{ ...operand, shape }],
      apply: (x) => apply(x, { axis }),
      expected(x) {
        const count = shape[axis]!;
        const list = (index: number[]) =>
          formula(Array.from({ length: count }, (_, i) => x[at(shape, index.with(axis, i))]!));
        const length = formula(new Array(count).fill(0)).length;
        return Array.from(indices(shape.with(axis, length)), (index) => list(index)[index[axis]!]!);
      },
    }))
  );
  testOp(name, uses);
}

const softmax = (list: number[]) => {
  const exponentials = list.map((x) => Math.exp(x - Math.max(...list)));
  return exponentials.map((x) => x / total(exponentials));
};
const order = (list: number[], direction: number) =>
  list.map((_, i) => i).sort((i, j) => direction * (list[i]! - list[j]!));
const few = { dtype: "i32", low: 0, high: 3 } as const; // many ties

testAlong("argmax", ops.argmax, (list) => [list.indexOf(Math.max(...list))]);
testAlong("argmax with ties", ops.argmax, (list) => [list.indexOf(Math.max(...list))], few);
testAlong("argmin", ops.argmin, (list) => [list.indexOf(Math.min(...list))]);
testAlong("argmin with ties", ops.argmin, (list) => [list.indexOf(Math.min(...list))], few);
testAlong("softmax", ops.softmax, softmax, { low: -30, high: 30 });
testAlong("logSoftmax", ops.logSoftmax, (list) => softmax(list).map(Math.log));
testAlong("l2Normalize", ops.l2Normalize, (list) => list.map((x) => x / Math.hypot(...list)), {
  low: 0.5,
});
testAlong(
  "cumulativeSum",
  ops.cumulativeSum,
  (list) => list.map((_, i) => total(list.slice(0, i + 1))),
);
testAlong(
  "cumulativeSum of integers",
  ops.cumulativeSum,
  (list) => list.map((_, i) => total(list.slice(0, i + 1))),
  whole,
);
testAlong("sort", ops.sort, (list) => list.toSorted((a, b) => a - b));
testAlong(
  "sort, greatest first",
  (x, options) => ops.sort(x, { ...options, descending: true }),
  (list) => list.toSorted((a, b) => b - a),
);
testAlong("argsort", ops.argsort, (list) => order(list, 1), few);
testAlong(
  "argsort, greatest first",
  (x, options) => ops.argsort(x, { ...options, descending: true }),
  (list) => order(list, -1),
  few,
);
