/** Tensors joined along an axis, and tensors joined with themselves. */
import { promote } from "../lib/dtype.ts";
import type { Op } from "../lib/op.ts";
import { normalizeAxis, showShape } from "../lib/shape.ts";
import { bindOne, type Tensor } from "../lib/tensor.ts";
import { checkWhole } from "./arguments.ts";
import { broadcastTo } from "./broadcast.ts";
import { cast } from "./cast.ts";
import { expandDims, reshape } from "./reshape.ts";
import { slice, split } from "./slice.ts";

const concatOp: Op = {
  name: "concat",
  infer(inputs, { axis }) {
    const [first] = inputs;
    for (const { shape } of inputs) {
      const fits = shape.length === first!.shape.length &&
        shape.every((length, i) => i === axis || length === first!.shape[i]);
      if (!fits) {
        throw new TypeError(
          `concat: expected tensors that differ along axis ${axis} only but found shapes ${
            showShape(first!.shape)
          } and ${showShape(shape)}`,
        );
      }
    }
    const length = inputs.reduce((sum, { shape }) => sum + shape[axis]!, 0);
    return [{ shape: first!.shape.with(axis, length), dtype: first!.dtype }];
  },
  vjp: ({ inputs, cotangents: [g], attributes: { axis } }) =>
    split(g!, inputs.map(({ shape }) => shape[axis]!), { axis }),
  run: {
    kind: "expression",
    lower(index, input, { e, inputs, output, attributes: { axis } }) {
      const at = index[axis]!;
      let result = e.constant(output.dtype, 0);
      let start = output.shape[axis]!;
      for (let which = inputs.length - 1; which >= 0; which--) {
        const length = inputs[which]!.shape[axis]!;
        const end = start;
        start -= length;
        if (length === 0) continue;
        const moved = e.apply("sub", at, e.int(start));
        const held = e.apply("minimum", e.apply("maximum", moved, e.int(0)), e.int(length - 1));
        const element = input(which, index.with(axis, held));
        result = e.apply("where", e.apply("less", at, e.int(end)), element, result);
      }
      return result;
    },
  },
};

/**
 * Tensors joined one after another along an axis.
 *
 * @param tensors At least one tensor; their shapes differ along that axis only.
 * @param options `axis`: the axis (default 0).
 * @returns The joined tensor, of the common type.
 * @throws {TypeError} If there is no tensor or the shapes do not fit.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { concat } from "./concat.ts";
 * assertEquals(await concat([tensor([1, 2]), tensor([3])]).toArray(), [1, 2, 3]);
 * ```
 */
export function concat(tensors: readonly Tensor[], options: { axis?: number } = {}): Tensor {
  if (tensors.length === 0) {
    throw new TypeError("concat: expected at least one tensor but found none");
  }
  const axis = normalizeAxis("concat", options.axis ?? 0, tensors[0]!.rank);
  if (tensors.length === 1) return tensors[0]!;
  const dtype = tensors.map((x) => x.dtype).reduce(promote);
  return bindOne(concatOp, tensors.map((x) => cast(x, dtype)), { axis });
}

/**
 * Tensors of one shape joined along a new axis.
 *
 * @param tensors At least one tensor.
 * @param options `axis`: the place of the new axis in the result (default 0).
 * @returns The joined tensor.
 * @throws {TypeError} If the shapes differ.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { stack } from "./concat.ts";
 * assertEquals(await stack([tensor([1, 2]), tensor([3, 4])]).toArray(), [[1, 2], [3, 4]]);
 * ```
 */
export function stack(tensors: readonly Tensor[], options: { axis?: number } = {}): Tensor {
  if (tensors.length === 0) {
    throw new TypeError("stack: expected at least one tensor but found none");
  }
  const axis = normalizeAxis("stack", options.axis ?? 0, tensors[0]!.rank + 1);
  return concat(tensors.map((x) => expandDims(x, axis)), { axis });
}

/**
 * Every element several times in a row along an axis.
 *
 * @param x A tensor.
 * @param count How many times.
 * @param options `axis`: the axis (default the last).
 * @returns The longer tensor.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { repeat } from "./concat.ts";
 * assertEquals(await repeat(tensor([1, 2]), 2).toArray(), [1, 1, 2, 2]);
 * ```
 */
export function repeat(x: Tensor, count: number, options: { axis?: number } = {}): Tensor {
  checkWhole("repeat", "count", count, 0);
  const axis = normalizeAxis("repeat", options.axis ?? -1, x.rank);
  const spread = broadcastTo(expandDims(x, axis + 1), x.shape.toSpliced(axis + 1, 0, count));
  return reshape(spread, x.shape.with(axis, x.shape[axis]! * count));
}

/**
 * A tensor laid out several times along each axis.
 *
 * @param x A tensor.
 * @param counts How many times along each axis.
 * @returns The larger tensor.
 * @throws {RangeError} If there is not one count per axis.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { tile } from "./concat.ts";
 * assertEquals(await tile(tensor([1, 2]), [2]).toArray(), [1, 2, 1, 2]);
 * ```
 */
export function tile(x: Tensor, counts: readonly number[]): Tensor {
  if (counts.length !== x.rank) {
    throw new RangeError(
      `tile: expected one count for each axis of x ${
        showShape(x.shape)
      } but found ${counts.length}`,
    );
  }
  counts.forEach((count) => checkWhole("tile", "a count", count, 0));
  const spaced = reshape(x, x.shape.flatMap((length) => [1, length]));
  const spread = broadcastTo(spaced, x.shape.flatMap((length, axis) => [counts[axis]!, length]));
  return reshape(spread, x.shape.map((length, axis) => length * counts[axis]!));
}

/**
 * A tensor shifted along an axis; what leaves at one end enters at the other.
 *
 * @param x A tensor.
 * @param shift How far towards higher places (negative: lower).
 * @param options `axis`: the axis (default the last).
 * @returns A tensor of the same shape.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { roll } from "./concat.ts";
 * assertEquals(await roll(tensor([1, 2, 3]), 1).toArray(), [3, 1, 2]);
 * ```
 */
export function roll(x: Tensor, shift: number, options: { axis?: number } = {}): Tensor {
  const axis = normalizeAxis("roll", options.axis ?? -1, x.rank);
  const length = x.shape[axis]!;
  if (length === 0) return x;
  const cut = ((-shift % length) + length) % length;
  const before = x.shape.slice(0, axis).map(() => null);
  const [head, tail] = [
    slice(x, [...before, [0, cut]]),
    slice(x, [...before, [cut, length]]),
  ];
  return concat([tail, head], { axis });
}
