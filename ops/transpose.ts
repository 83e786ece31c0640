/** The axes of a tensor in another order. */
import type { Op } from "../lib/op.ts";
import { normalizeAxes, normalizeAxis, showShape } from "../lib/shape.ts";
import { bindOne, type Tensor } from "../lib/tensor.ts";

const transposeOp: Op = {
  name: "transpose",
  infer: ([x], { axes }) => [{
    shape: (axes as number[]).map((axis) => x!.shape[axis]!),
    dtype: x!.dtype,
  }],
  vjp: ({ cotangents: [g], attributes: { axes } }) => [transpose(g!, inverse(axes))],
  run: {
    kind: "expression",
    lower: (index, input, { attributes: { axes } }) =>
      input(0, inverse(axes).map((place) => index[place]!)),
    view: (view, { axes }, { shape }) => ({
      ...view,
      shape,
      strides: (axes as number[]).map((axis) => view.strides[axis]!),
    }),
  },
};

function inverse(axes: readonly number[]): number[] {
  return axes.map((_, axis) => axes.indexOf(axis));
}

/**
 * A tensor with its axes in another order. Nothing is copied until a kernel needs it.
 *
 * @param x A tensor.
 * @param axes Axis `i` of the result is axis `axes[i]` of `x` (default: all reversed).
 * @returns The tensor.
 * @throws {RangeError} If `axes` does not name every axis once.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { transpose } from "./transpose.ts";
 * assertEquals(await transpose(tensor([[1, 2], [3, 4]])).toArray(), [[1, 3], [2, 4]]);
 * ```
 */
export function transpose(x: Tensor, axes?: readonly number[]): Tensor {
  const order = axes
    ? axes.map((axis) => normalizeAxis("transpose", axis, x.rank))
    : x.shape.map((_, axis) => x.rank - 1 - axis);
  if (normalizeAxes("transpose", order, x.rank).length !== x.rank) {
    throw new RangeError(
      `transpose: expected axes to name all ${x.rank} axes of x but found ${showShape(order)}`,
    );
  }
  return order.every((axis, place) => axis === place)
    ? x
    : bindOne(transposeOp, [x], { axes: order });
}

/**
 * A tensor with two of its axes exchanged.
 *
 * @param x A tensor.
 * @param a One axis.
 * @param b The other axis.
 * @returns The tensor.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { zeros } from "./create.ts";
 * import { swapAxes } from "./transpose.ts";
 * assertEquals(swapAxes(zeros([2, 3, 4]), -1, -2).shape, [2, 4, 3]);
 * ```
 */
export function swapAxes(x: Tensor, a: number, b: number): Tensor {
  const order = x.shape.map((_, axis) => axis);
  const i = normalizeAxis("swapAxes", a, x.rank);
  const j = normalizeAxis("swapAxes", b, x.rank);
  [order[i], order[j]] = [j, i];
  return transpose(x, order);
}

/**
 * A tensor with one axis moved to another place; the others keep their order.
 *
 * @param x A tensor.
 * @param from The axis.
 * @param to Its place in the result.
 * @returns The tensor.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { zeros } from "./create.ts";
 * import { moveAxis } from "./transpose.ts";
 * assertEquals(moveAxis(zeros([2, 3, 4]), 2, 0).shape, [4, 2, 3]);
 * ```
 */
export function moveAxis(x: Tensor, from: number, to: number): Tensor {
  const moved = normalizeAxis("moveAxis", from, x.rank);
  const order = x.shape.map((_, axis) => axis).filter((axis) => axis !== moved);
  order.splice(normalizeAxis("moveAxis", to, x.rank), 0, moved);
  return transpose(x, order);
}
