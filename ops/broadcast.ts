/** Broadcasting and type promotion: how operands of different shapes and types meet. */
import { type DType, isFloat, promote } from "../lib/dtype.ts";
import type { Op } from "../lib/op.ts";
import { broadcastShapes, checkShape, sameShape, type Shape, showShape } from "../lib/shape.ts";
import { bindOne, Tensor, type TensorLike } from "../lib/tensor.ts";
import { cast } from "./cast.ts";
import { full } from "./create.ts";
import { sum } from "./reduce.ts";
import { reshape } from "./reshape.ts";

const broadcastToOp: Op = {
  name: "broadcastTo",
  infer: ([x], { shape }) => [{ shape, dtype: x!.dtype }],
  vjp: ({ inputs: [x], cotangents: [g] }) => [sumTo(g!, x!.shape)],
  run: {
    kind: "expression",
    lower: (index, input, { e, inputs: [x] }) => {
      const own = index.slice(index.length - x!.shape.length);
      return input(0, own.map((i, axis) => x!.shape[axis] === 1 ? e.int(0) : i));
    },
    view: (view, _attributes, { shape }) => {
      const missing = shape.length - view.shape.length;
      const strides = shape.map((_, axis) =>
        axis < missing || view.shape[axis - missing] === 1 ? 0 : view.strides[axis - missing]!
      );
      return { ...view, shape, strides };
    },
  },
};

/**
 * A tensor stretched to a shape: axes of length 1 repeat, and missing outer axes are added.
 *
 * @param x A tensor.
 * @param shape The shape wanted.
 * @returns A tensor of that shape; nothing is copied until a kernel needs it.
 * @throws {TypeError} If the shape of `x` does not broadcast to it.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { broadcastTo } from "./broadcast.ts";
 * assertEquals(await broadcastTo(tensor([1, 2]), [2, 2]).toArray(), [[1, 2], [1, 2]]);
 * ```
 */
export function broadcastTo(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x;
  checkShape("broadcastTo", shape);
  const missing = shape.length - x.rank;
  if (x.shape.some((length, axis) => length !== 1 && length !== shape[axis + missing])) {
    throw new TypeError(
      `broadcastTo: expected x to broadcast to ${showShape(shape)} but found shape ${
        showShape(x.shape)
      }`,
    );
  }
  return bindOne(broadcastToOp, [x], { shape: [...shape] });
}

/**
 * The sum of a tensor over the axes along which `shape` would have to stretch to give its shape:
 * the gradient of broadcasting.
 *
 * @param x A tensor.
 * @param shape A shape that broadcasts to that of `x`.
 * @returns A tensor of that shape.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { sumTo } from "./broadcast.ts";
 * assertEquals(await sumTo(tensor([[1, 2], [3, 4]]), [1, 2]).toArray(), [[4, 6]]);
 * ```
 */
export function sumTo(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x;
  const missing = x.rank - shape.length;
  const axes = x.shape.map((_, axis) => axis).filter((axis) =>
    axis < missing || (shape[axis - missing] === 1 && x.shape[axis] !== 1)
  );
  return reshape(sum(x, { axes }), shape);
}

/** The common type of operands; JavaScript numbers are weak and give way to tensors. */
function commonType(op: string, values: readonly TensorLike[]): DType {
  let strong: DType | undefined;
  for (const [position, value] of values.entries()) {
    if (value instanceof Tensor) strong = strong ? promote(strong, value.dtype) : value.dtype;
    else if (typeof value !== "number" && typeof value !== "boolean") {
      throw new TypeError(
        `${op}: expected argument ${position + 1} to be a tensor, a number or a boolean but found ${
          value === null ? "null" : Array.isArray(value) ? "an array" : typeof value
        }`,
      );
    }
  }
  const numbers = values.filter((value) => typeof value === "number");
  if (strong === undefined) return numbers.length > 0 ? "f32" : "bool";
  if (isFloat(strong) || numbers.length === 0) return strong;
  if (!numbers.every(Number.isInteger)) return "f32";
  return strong === "bool" ? "i32" : strong;
}

/**
 * Operands as tensors of their common type. JavaScript numbers become scalars of the type of the
 * tensors beside them; a number with a fraction beside integers makes all of them f32.
 *
 * @param op The name of the op, for messages.
 * @param values Tensors, numbers and booleans.
 * @returns One tensor per value, of unchanged shape.
 * @throws {TypeError} If a value is none of these.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { asTensors } from "./broadcast.ts";
 * const [x, two] = asTensors("add", tensor([1], { dtype: "i32" }), 2);
 * assertEquals([x!.dtype, two!.dtype, two!.shape], ["i32", "i32", []]);
 * ```
 */
export function asTensors(op: string, ...values: readonly TensorLike[]): Tensor[] {
  const dtype = commonType(op, values);
  return values.map((value) =>
    value instanceof Tensor ? cast(value, dtype) : full([], value, { dtype })
  );
}

/**
 * Operands as tensors of their common type and shape.
 *
 * @param op The name of the op, for messages.
 * @param values Tensors, numbers and booleans.
 * @returns One tensor per value.
 * @throws {TypeError} If the shapes do not broadcast together.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { broadcast } from "./broadcast.ts";
 * const [, two] = broadcast("add", tensor([1, 2, 3]), 2);
 * assertEquals(await two!.toArray(), [2, 2, 2]);
 * ```
 */
export function broadcast(op: string, ...values: readonly TensorLike[]): Tensor[] {
  const dtype = commonType(op, values);
  const shape = broadcastShapes(
    op,
    ...values.map((value) => value instanceof Tensor ? value.shape : []),
  );
  return values.map((value) =>
    value instanceof Tensor ? broadcastTo(cast(value, dtype), shape) : full(shape, value, { dtype })
  );
}
