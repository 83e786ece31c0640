/** Changes of the element type: conversion of the value, and other readings of the same bits. */
import { type DType, dtypes, isFloat } from "../lib/dtype.ts";
import type { Op } from "../lib/op.ts";
import { bindOne, type Tensor } from "../lib/tensor.ts";
import { checkDType } from "./arguments.ts";

const castOp: Op = {
  name: "cast",
  infer: ([x], { dtype }) => {
    if (!dtypes.includes(dtype)) {
      throw new TypeError(
        `cast: expected dtype to be one of ${dtypes.join(", ")} but found ${dtype}`,
      );
    }
    return [{ shape: x!.shape, dtype }];
  },
  vjp: ({ inputs: [x], cotangents: [g] }) => [isFloat(x!.dtype) ? cast(g!, x!.dtype) : undefined],
  run: {
    kind: "expression",
    lower: (index, input, { e, output }) => e.cast(output.dtype, input(0, index)),
  },
};

/**
 * The same values as another element type. Floats become integers by dropping the fraction
 * (clamped to the range of the type); anything but 0 becomes `true`.
 *
 * @param x A tensor.
 * @param dtype The type wanted.
 * @returns A tensor of the same shape.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { cast } from "./cast.ts";
 * assertEquals(await cast(tensor([-1.7, 0, 2.5]), "i32").toArray(), [-1, 0, 2]);
 * ```
 */
export function cast(x: Tensor, dtype: DType): Tensor {
  return x.dtype === dtype ? x : bindOne(castOp, [x], { dtype });
}

const bitcastOp: Op = {
  name: "bitcast",
  infer: ([x], { dtype }) => {
    checkDType("bitcast", "x", x!, "word");
    checkDType("bitcast", "dtype", { shape: [], dtype }, "word");
    return [{ shape: x!.shape, dtype }];
  },
  vjp: null,
  run: {
    kind: "expression",
    lower: (index, input, { e, output }) => e.bitcast(output.dtype, input(0, index)),
  },
};

/**
 * The same 32 bits read as another type. It has no gradient.
 *
 * @param x A tensor of f32, i32 or u32.
 * @param dtype One of these types.
 * @returns A tensor of the same shape.
 * @throws {TypeError} If either type does not have 32 bits.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { bitcast } from "./cast.ts";
 * assertEquals(await bitcast(tensor([1]), "u32").toArray(), [0x3f800000]);
 * ```
 */
export function bitcast(x: Tensor, dtype: DType): Tensor {
  return bindOne(bitcastOp, [x], { dtype });
}
