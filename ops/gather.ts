/** Reading from a tensor at places that are known only when it runs. */
import type { Expr, ExprBuilder } from "../lib/compiler/expr.ts";
import type { DType } from "../lib/dtype.ts";
import type { Op } from "../lib/op.ts";
import { normalizeAxis, sameShape, showShape } from "../lib/shape.ts";
import { bindOne, type Tensor } from "../lib/tensor.ts";
import { add } from "./arithmetic.ts";
import { checkDType, checkRank } from "./arguments.ts";
import { cast } from "./cast.ts";
import { equal } from "./compare.ts";
import { full, iota, zerosLike } from "./create.ts";
import { clamp } from "./extremes.ts";
import { expandDims, reshape } from "./reshape.ts";
import { scatterAdd, scatterAlong } from "./scatter/scatter.ts";
import { moveAxis } from "./transpose.ts";

/** The element at a place that may be outside, where it is 0. */
function guarded(
  e: ExprBuilder,
  place: Expr,
  length: number,
  dtype: DType,
  element: (place: Expr) => Expr,
): Expr {
  const zero = e.constant(dtype, 0);
  if (length === 0) return zero;
  const held = e.apply("minimum", e.apply("maximum", place, e.int(0)), e.int(length - 1));
  return e.apply("where", e.apply("equal", held, place), element(held), zero);
}

/** x, indices i32 → the axis of x replaced by the axes of indices. */
const takeOp: Op = {
  name: "take",
  infer([x, indices], { axis }) {
    checkDType("take", "indices", indices!, "integer");
    return [{ shape: x!.shape.toSpliced(axis, 1, ...indices!.shape), dtype: x!.dtype }];
  },
  vjp({ inputs: [x, indices], cotangents: [g], attributes: { axis } }) {
    const rest = x!.shape.toSpliced(axis, 1);
    // The axes of the indices, as one, to the front: one row of updates per index.
    const merged = reshape(g!, rest.toSpliced(axis, 0, indices!.size));
    const rows = moveAxis(merged, axis, 0);
    const base = moveAxis(zerosLike(x!), axis, 0);
    return [moveAxis(scatterAdd(base, reshape(indices!, [indices!.size]), rows), 0, axis)];
  },
  run: {
    kind: "expression",
    lower(index, input, { e, inputs: [x, indices], output, attributes: { axis } }) {
      const end = axis + indices!.shape.length;
      const place = input(1, index.slice(axis, end));
      return guarded(
        e,
        place,
        x!.shape[axis]!,
        output.dtype,
        (held) => input(0, [...index.slice(0, axis), held, ...index.slice(end)]),
      );
    },
  },
};

/**
 * The parts of a tensor at some places along one axis. Places outside the axis give 0.
 *
 * @param x A tensor.
 * @param indices An integer tensor of any shape.
 * @param options `axis`: the axis (default 0).
 * @returns A tensor of the shape of `x` with the axis replaced by the axes of `indices`.
 * @throws {TypeError} If the indices are not integers.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { take } from "./gather.ts";
 * const x = tensor([[1, 2], [3, 4], [5, 6]]);
 * assertEquals(await take(x, tensor([2, 0], { dtype: "i32" })).toArray(), [[5, 6], [1, 2]]);
 * ```
 */
export function take(x: Tensor, indices: Tensor, options: { axis?: number } = {}): Tensor {
  const axis = normalizeAxis("take", options.axis ?? 0, x.rank);
  checkDType("take", "indices", indices, "integer");
  return bindOne(takeOp, [x, cast(indices, "i32")], { axis });
}

/** x [..., n, ...], indices i32 [..., m, ...] → like indices. */
const takeAlongOp: Op = {
  name: "takeAlong",
  infer([x, indices], { axis }) {
    checkDType("takeAlong", "indices", indices!, "integer");
    const fits = x!.shape.length === indices!.shape.length &&
      sameShape(x!.shape.toSpliced(axis, 1), indices!.shape.toSpliced(axis, 1));
    if (!fits) {
      throw new TypeError(
        `takeAlong: expected indices to be as long as x ${
          showShape(x!.shape)
        } but for axis ${axis} but found shape ${showShape(indices!.shape)}`,
      );
    }
    return [{ shape: indices!.shape, dtype: x!.dtype }];
  },
  vjp: ({ inputs: [x, indices], cotangents: [g], attributes: { axis } }) => [
    scatterAlong(zerosLike(x!), indices!, g!, { axis }),
  ],
  run: {
    kind: "expression",
    lower: (index, input, { e, inputs: [x], output, attributes: { axis } }) =>
      guarded(
        e,
        input(1, index),
        x!.shape[axis]!,
        output.dtype,
        (held) => input(0, index.with(axis, held)),
      ),
  },
};

/**
 * One element of a tensor for each place along one axis, the other axes going in step. Places
 * outside the axis give 0.
 *
 * @param x A tensor.
 * @param indices An integer tensor of as many axes, of any length along the axis and as long as `x`
 * along the others.
 * @param options `axis`: the axis (default the last).
 * @returns A tensor of the shape of `indices`.
 * @throws {TypeError} If the shapes do not fit.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { takeAlong } from "./gather.ts";
 * const places = tensor([[1], [0]], { dtype: "i32" });
 * assertEquals(await takeAlong(tensor([[1, 2], [3, 4]]), places).toArray(), [[2], [3]]);
 * ```
 */
export function takeAlong(x: Tensor, indices: Tensor, options: { axis?: number } = {}): Tensor {
  const axis = normalizeAxis("takeAlong", options.axis ?? -1, x.rank);
  checkDType("takeAlong", "indices", indices, "integer");
  return bindOne(takeAlongOp, [x, cast(indices, "i32")], { axis });
}

/**
 * The rows of a table for some ids.
 *
 * @param table A tensor [V, D].
 * @param ids An integer tensor of any shape; ids outside 0..V-1 give rows of 0.
 * @returns A tensor [...ids, D].
 * @throws {TypeError} If the table does not have two axes.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { embedding } from "./gather.ts";
 * const rows = embedding(tensor([[1, 2], [3, 4]]), tensor([1], { dtype: "i32" }));
 * assertEquals(await rows.toArray(), [[3, 4]]);
 * ```
 */
export function embedding(table: Tensor, ids: Tensor): Tensor {
  checkRank("embedding", "table", table, 2);
  return take(table, ids, { axis: 0 });
}

/**
 * A part of a tensor, from a place on that is known only when it runs.
 *
 * @param x A tensor.
 * @param start An integer scalar: the first place along the axis; moved so that the part fits.
 * @param length The length of the part along the axis.
 * @param options `axis`: the axis (default 0).
 * @returns The part.
 * @throws {RangeError} If the part is longer than the axis.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { dynamicSlice } from "./gather.ts";
 * const start = tensor(1, { dtype: "i32" });
 * assertEquals(await dynamicSlice(tensor([1, 2, 3, 4]), start, 2).toArray(), [2, 3]);
 * ```
 */
export function dynamicSlice(
  x: Tensor,
  start: Tensor | number,
  length: number,
  options: { axis?: number } = {},
): Tensor {
  const axis = normalizeAxis("dynamicSlice", options.axis ?? 0, x.rank);
  const room = x.shape[axis]! - length;
  if (!Number.isSafeInteger(length) || length < 0 || room < 0) {
    throw new RangeError(
      `dynamicSlice: expected length to be in 0..${x.shape[axis]} but found ${length}`,
    );
  }
  const first = typeof start === "number" ? full([], start, { dtype: "i32" }) : cast(start, "i32");
  return take(x, add(iota([length]), clamp(first, 0, room)), { axis });
}

/**
 * Vectors that are 1 at one place and 0 elsewhere.
 *
 * @param ids An integer tensor of any shape: the places; those outside 0..count-1 give zeros.
 * @param count The length of the vectors.
 * @param options `dtype`: the element type (default f32).
 * @returns A tensor [...ids, count].
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { oneHot } from "./gather.ts";
 * assertEquals(await oneHot(tensor([1], { dtype: "i32" }), 3).toArray(), [[0, 1, 0]]);
 * ```
 */
export function oneHot(ids: Tensor, count: number, options: { dtype?: DType } = {}): Tensor {
  checkDType("oneHot", "ids", ids, "integer");
  const places = iota([count], { dtype: ids.dtype });
  return cast(equal(expandDims(ids, -1), places), options.dtype ?? "f32");
}
