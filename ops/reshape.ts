/** The same elements, in row-major order, under another shape. */
import type { Op, View } from "../lib/op.ts";
import {
  checkShape,
  normalizeAxes,
  sameShape,
  type Shape,
  showShape,
  sizeOf,
} from "../lib/shape.ts";
import { delinearize, linearIndex } from "../lib/compiler/lower.ts";
import { bindOne, type Tensor } from "../lib/tensor.ts";

const reshapeOp: Op = {
  name: "reshape",
  infer: ([x], { shape }) => [{ shape, dtype: x!.dtype }],
  vjp: ({ inputs: [x], cotangents: [g] }) => [reshape(g!, x!.shape)],
  run: {
    kind: "expression",
    lower: (index, input, { e, inputs: [x], output }) =>
      input(0, delinearize(e, linearIndex(e, index, output.shape), x!.shape)),
    view: (view, _attributes, { shape }) => {
      const strides = stridesOf(view, shape);
      return strides && { ...view, shape, strides };
    },
  },
};

/**
 * The strides under which a view has another shape, or undefined where there are none: groups of
 * axes with equal products are matched, and the axes of a group must lie evenly in memory.
 */
function stridesOf(view: View, shape: Shape): number[] | undefined {
  if (sizeOf(shape) === 0) return shape.map(() => 0);
  const axes = view.shape.map((_, axis) => axis).filter((axis) => view.shape[axis] !== 1);
  const strides = shape.map(() => 0);
  let from = 0, to = 0;
  while (from < axes.length) {
    const first = to;
    let have = view.shape[axes[from++]!]!, want = shape[to++]!;
    while (have !== want) {
      if (have > want) {
        want *= shape[to++]!;
        continue;
      }
      const before = axes[from - 1]!, axis = axes[from++]!;
      if (view.strides[before] !== view.strides[axis]! * view.shape[axis]!) return undefined;
      have *= view.shape[axis]!;
    }
    let stride = view.strides[axes[from - 1]!]!;
    for (let axis = to - 1; axis >= first; axis--) {
      strides[axis] = stride;
      stride *= shape[axis]!;
    }
  }
  return strides;
}

/**
 * The elements of a tensor, in row-major order, under another shape.
 *
 * @param x A tensor.
 * @param shape The shape wanted; one entry may be -1, which stands for what is left.
 * @returns A tensor of that shape.
 * @throws {TypeError} If the shape holds another number of elements.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { reshape } from "./reshape.ts";
 * assertEquals(await reshape(tensor([1, 2, 3, 4]), [2, -1]).toArray(), [[1, 2], [3, 4]]);
 * ```
 */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const wanted = [...shape];
  const open = wanted.indexOf(-1);
  if (open >= 0) {
    wanted[open] = 1;
    wanted[open] = x.size / sizeOf(wanted);
  }
  const whole = wanted.every((length) => Number.isSafeInteger(length) && length >= 0);
  if (open < 0) checkShape("reshape", wanted);
  if (!whole || sizeOf(wanted) !== x.size) {
    throw new TypeError(
      `reshape: expected shape to hold the ${x.size} elements of x ${
        showShape(x.shape)
      } but found ${showShape(shape)}`,
    );
  }
  return sameShape(wanted, x.shape) ? x : bindOne(reshapeOp, [x], { shape: wanted });
}

/**
 * A tensor without its axes of length 1.
 *
 * @param x A tensor.
 * @param axes The axes to drop (default: all of length 1).
 * @returns The tensor with fewer axes.
 * @throws {TypeError} If one of the axes has another length.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { zeros } from "./create.ts";
 * import { squeeze } from "./reshape.ts";
 * assertEquals(squeeze(zeros([1, 2, 1])).shape, [2]);
 * assertEquals(squeeze(zeros([1, 2, 1]), 0).shape, [2, 1]);
 * ```
 */
export function squeeze(x: Tensor, axes?: number | readonly number[]): Tensor {
  const dropped = axes === undefined
    ? x.shape.map((_, axis) => axis).filter((axis) => x.shape[axis] === 1)
    : normalizeAxes("squeeze", axes, x.rank);
  for (const axis of dropped) {
    if (x.shape[axis] !== 1) {
      throw new TypeError(
        `squeeze: expected axis ${axis} of x to have length 1 but found shape ${
          showShape(x.shape)
        }`,
      );
    }
  }
  return reshape(x, x.shape.filter((_, axis) => !dropped.includes(axis)));
}

/**
 * A tensor with new axes of length 1.
 *
 * @param x A tensor.
 * @param axes Where the new axes stand in the result; may be counted from its end.
 * @returns The tensor with more axes.
 * @throws {RangeError} If a place is outside the result.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { zeros } from "./create.ts";
 * import { expandDims } from "./reshape.ts";
 * assertEquals(expandDims(zeros([2, 3]), [0, -1]).shape, [1, 2, 3, 1]);
 * ```
 */
export function expandDims(x: Tensor, axes: number | readonly number[]): Tensor {
  const count = typeof axes === "number" ? 1 : axes.length;
  const rank = x.rank + count;
  const added = normalizeAxes("expandDims", axes, rank);
  const old = x.shape.values();
  const shape = Array.from(
    { length: rank },
    (_, axis) => added.includes(axis) ? 1 : old.next().value!,
  );
  return reshape(x, shape);
}
