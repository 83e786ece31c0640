/** A tensor placed into a larger one that holds a constant elsewhere. */
import type { Op } from "../lib/op.ts";
import { type Shape, showShape } from "../lib/shape.ts";
import { bindOne, type Tensor } from "../lib/tensor.ts";
import { checkWhole } from "./arguments.ts";
import { sliceBy } from "./slice.ts";

const padOp: Op = {
  name: "pad",
  infer: ([x], { shape }) => [{ shape, dtype: x!.dtype }],
  vjp: ({ inputs: [x], cotangents: [g], attributes: { low, steps } }) => [
    sliceBy(g!, low, steps, x!.shape),
  ],
  run: {
    kind: "expression",
    lower(index, input, { e, inputs: [x], output, attributes: { low, steps, value } }) {
      const fill = e.constant(output.dtype, value);
      if (x!.shape.includes(0)) return fill;
      let inside = e.constant("bool", 1);
      const source = index.map((i, axis) => {
        const last = x!.shape[axis]! - 1, step = steps[axis] as number;
        const moved = e.apply("sub", i, e.int(low[axis]));
        const above = e.apply("lessEqual", e.int(0), moved);
        const below = e.apply("lessEqual", moved, e.int(last * step));
        inside = e.apply("and", inside, e.apply("and", above, below));
        const held = e.apply("minimum", e.apply("maximum", moved, e.int(0)), e.int(last * step));
        if (step === 1) return held;
        const rest = e.apply("modulo", held, e.int(step));
        inside = e.apply("and", inside, e.apply("equal", rest, e.int(0)));
        return e.apply("divide", held, e.int(step));
      });
      return e.apply("where", inside, input(0, source), fill);
    },
  },
};

/** @ignore `x` placed into a tensor of `value`s, from `low` on, its elements `steps` apart. */
export function place(
  x: Tensor,
  shape: Shape,
  low: readonly number[],
  steps: readonly number[],
  value: number,
): Tensor {
  if (shape.every((length, axis) => length === x.shape[axis])) return x;
  return bindOne(padOp, [x], { shape: [...shape], low, steps, value });
}

/**
 * A tensor with a border of a constant.
 *
 * @param x A tensor.
 * @param widths How many elements to add before and after each axis, `[before, after]`.
 * @param options `value`: the constant, finite (default 0).
 * @returns The larger tensor.
 * @throws {RangeError} If there is not one pair of whole numbers per axis.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { pad } from "./pad.ts";
 * assertEquals(await pad(tensor([1, 2]), [[1, 2]]).toArray(), [0, 1, 2, 0, 0]);
 * ```
 */
export function pad(
  x: Tensor,
  widths: readonly (readonly [before: number, after: number])[],
  options: { value?: number } = {},
): Tensor {
  if (widths.length !== x.rank) {
    throw new RangeError(
      `pad: expected one pair of widths for each axis of x ${
        showShape(x.shape)
      } but found ${widths.length}`,
    );
  }
  for (const pair of widths) {
    checkWhole("pad", "a width before an axis", pair[0], 0);
    checkWhole("pad", "a width after an axis", pair[1], 0);
  }
  const shape = x.shape.map((length, axis) => length + widths[axis]![0] + widths[axis]![1]);
  const low = widths.map(([before]) => before);
  return place(x, shape, low, x.shape.map(() => 1), options.value ?? 0);
}
