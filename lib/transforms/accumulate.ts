/** The two ops that differentiation itself needs: adding cotangents, and filling in ones or zeros. */
import type { Op } from "../op.ts";
import { bindOne, type Tensor } from "../tensor.ts";

const accumulateOp: Op = {
  name: "accumulate",
  infer: ([x]) => [x!],
  vjp: ({ cotangents: [dy] }) => [dy, dy],
  run: {
    kind: "expression",
    lower: (index, input, { e }) => e.apply("add", input(0, index), input(1, index)),
  },
};

const fillOp: Op = {
  name: "fill",
  infer: (_, { shape, dtype }) => [{ shape, dtype }],
  vjp: null,
  run: {
    kind: "expression",
    lower: (_, __, { e, output, attributes }) => e.constant(output.dtype, attributes.value),
  },
};

/** The sum of two cotangents of one value. */
export function accumulate(a: Tensor, b: Tensor): Tensor {
  return bindOne(accumulateOp, [a, b]);
}

/** A constant of the shape and type of a tensor. */
export function filledLike({ shape, dtype }: Tensor, value: number): Tensor {
  return bindOne(fillOp, [], { shape: [...shape], dtype, value });
}
