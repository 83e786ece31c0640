/** Tensors made from nothing but a shape: constants, ranges, the identity. */
import { type DType, dtypes } from "../lib/dtype.ts";
import type { Op } from "../lib/op.ts";
import { checkShape, normalizeAxis, type Shape } from "../lib/shape.ts";
import { bindOne, type Tensor } from "../lib/tensor.ts";
import { add, mul } from "./arithmetic.ts";
import { checkWhole } from "./arguments.ts";
import { cast } from "./cast.ts";
import { equal } from "./compare.ts";

const fullOp: Op = {
  name: "full",
  infer: (_, { shape, dtype }) => [{ shape, dtype }],
  vjp: null,
  run: {
    kind: "expression",
    lower: (_index, _input, { e, attributes, output }) =>
      e.constant(output.dtype, Number(attributes.value)),
  },
};

/**
 * A tensor whose elements are all one number.
 *
 * @param shape The shape.
 * @param value The number.
 * @param options `dtype`: the element type (default f32, or bool for a boolean).
 * @returns The tensor.
 * @throws {RangeError} If the shape does not hold whole numbers.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { full } from "./create.ts";
 * assertEquals(await full([2, 2], 7).toArray(), [[7, 7], [7, 7]]);
 * ```
 */
export function full(
  shape: Shape,
  value: number | boolean,
  options: { dtype?: DType } = {},
): Tensor {
  checkShape("full", shape);
  const dtype = options.dtype ?? (typeof value === "boolean" ? "bool" : "f32");
  if (!dtypes.includes(dtype)) {
    throw new TypeError(
      `full: expected dtype to be one of ${dtypes.join(", ")} but found ${dtype}`,
    );
  }
  // JSON has no infinities, NaN or -0: those travel as text.
  const number = Number(value);
  const exact = Number.isFinite(number) && !Object.is(number, -0);
  const shown = Object.is(number, -0) ? "-0" : String(number);
  return bindOne(fullOp, [], { shape: [...shape], dtype, value: exact ? number : shown });
}

/**
 * A tensor of zeros.
 *
 * @param shape The shape.
 * @param options `dtype`: the element type (default f32).
 * @returns The tensor.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { zeros } from "./create.ts";
 * assertEquals(await zeros([3], { dtype: "i32" }).toArray(), [0, 0, 0]);
 * ```
 */
export function zeros(shape: Shape, options: { dtype?: DType } = {}): Tensor {
  return full(shape, 0, options);
}

/**
 * A tensor of ones.
 *
 * @param shape The shape.
 * @param options `dtype`: the element type (default f32).
 * @returns The tensor.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { ones } from "./create.ts";
 * assertEquals(await ones([2]).toArray(), [1, 1]);
 * ```
 */
export function ones(shape: Shape, options: { dtype?: DType } = {}): Tensor {
  return full(shape, 1, options);
}

/**
 * Zeros of the shape and type of another tensor.
 *
 * @param x Gives shape and type; its elements are not read.
 * @returns The tensor.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { ones, zerosLike } from "./create.ts";
 * assertEquals(await zerosLike(ones([2])).toArray(), [0, 0]);
 * ```
 */
export function zerosLike(x: Tensor): Tensor {
  return full(x.shape, 0, { dtype: x.dtype });
}

/**
 * Ones of the shape and type of another tensor.
 *
 * @param x Gives shape and type; its elements are not read.
 * @returns The tensor.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { onesLike, zeros } from "./create.ts";
 * assertEquals(await onesLike(zeros([2])).toArray(), [1, 1]);
 * ```
 */
export function onesLike(x: Tensor): Tensor {
  return full(x.shape, 1, { dtype: x.dtype });
}

const iotaOp: Op = {
  name: "iota",
  infer: (_, { shape, dtype }) => [{ shape, dtype }],
  vjp: null,
  run: {
    kind: "expression",
    lower: (index, _input, { e, attributes, output }) =>
      e.cast(output.dtype, index[attributes.axis]!),
  },
};

/**
 * A tensor whose elements are their own index along one axis.
 *
 * @param shape The shape.
 * @param options `axis`: the axis counted along (default the last); `dtype` (default i32).
 * @returns The tensor.
 * @throws {RangeError} If the axis is outside the shape.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { iota } from "./create.ts";
 * assertEquals(await iota([2, 3]).toArray(), [[0, 1, 2], [0, 1, 2]]);
 * ```
 */
export function iota(shape: Shape, options: { axis?: number; dtype?: DType } = {}): Tensor {
  checkShape("iota", shape);
  const axis = normalizeAxis("iota", options.axis ?? -1, shape.length);
  return bindOne(iotaOp, [], { shape: [...shape], dtype: options.dtype ?? "i32", axis });
}

/**
 * The numbers `start, start + step, …` before `stop`.
 *
 * @param start The first number; with one argument alone, the stop of a range from 0.
 * @param stop The end, not included.
 * @param step The difference of neighbors (default 1; may be negative).
 * @param options `dtype`: the element type (default i32 if all numbers are whole, else f32).
 * @returns A tensor of one axis.
 * @throws {RangeError} If the step is 0.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { arange } from "./create.ts";
 * assertEquals(await arange(3).toArray(), [0, 1, 2]);
 * assertEquals(await arange(5, 0, -2).toArray(), [5, 3, 1]);
 * ```
 */
export function arange(
  start: number,
  stop?: number,
  step = 1,
  options: { dtype?: DType } = {},
): Tensor {
  if (stop === undefined) [start, stop] = [0, start];
  if (step === 0 || !Number.isFinite((stop - start) / step)) {
    throw new RangeError(
      `arange: expected finite numbers and a step that is not 0 but found ${start}, ${stop}, ${step}`,
    );
  }
  const length = Math.max(0, Math.ceil((stop - start) / step));
  const dtype = options.dtype ??
    (Number.isInteger(start) && Number.isInteger(step) ? "i32" : "f32");
  return add(mul(iota([length], { dtype }), step), start);
}

/**
 * Evenly spaced numbers from `start` to `stop`, both included.
 *
 * @param start The first number.
 * @param stop The last number.
 * @param count How many numbers, at least 2.
 * @returns A tensor of shape [count], f32.
 * @throws {RangeError} If the count is below 2.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { linspace } from "./create.ts";
 * assertEquals(await linspace(0, 1, 5).toArray(), [0, 0.25, 0.5, 0.75, 1]);
 * ```
 */
export function linspace(start: number, stop: number, count: number): Tensor {
  checkWhole("linspace", "count", count, 2);
  return add(mul(iota([count], { dtype: "f32" }), (stop - start) / (count - 1)), start);
}

/**
 * The identity matrix, or a matrix with ones on its main diagonal.
 *
 * @param rows The number of rows.
 * @param columns The number of columns (default: as many as rows).
 * @param options `dtype`: the element type (default f32).
 * @returns A tensor of shape [rows, columns].
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { eye } from "./create.ts";
 * assertEquals(await eye(2).toArray(), [[1, 0], [0, 1]]);
 * ```
 */
export function eye(rows: number, columns = rows, options: { dtype?: DType } = {}): Tensor {
  const shape = [rows, columns];
  return cast(equal(iota(shape, { axis: 0 }), iota(shape, { axis: 1 })), options.dtype ?? "f32");
}
