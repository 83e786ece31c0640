/** Shapes, strides and axes: the arithmetic that every op's shape rule shares. */

/** The lengths of a tensor's axes, outermost first; `[]` is a scalar. */
export type Shape = readonly number[];

/** The number of elements of a shape. */
export function sizeOf(shape: Shape): number {
  return shape.reduce((product, length) => product * length, 1);
}

/** Row-major strides, in elements. */
export function rowMajorStrides(shape: Shape): number[] {
  const strides = new Array<number>(shape.length);
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides[axis] = stride;
    stride *= shape[axis]!;
  }
  return strides;
}

/** Whether two shapes are the same. */
export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((length, axis) => length === b[axis]);
}

/** A shape as it is written in messages: `[2, 3]`. */
export function showShape(shape: Shape): string {
  return `[${shape.join(", ")}]`;
}

/** A shape and type as they are written in messages: `f32[2, 3]`. */
export function showType({ dtype, shape }: { dtype: string; shape: Shape }): string {
  return `${dtype}${showShape(shape)}`;
}

/**
 * The axis counted from 0 of an axis that may be counted from the end.
 *
 * @throws {RangeError} If the axis is outside the rank.
 */
export function normalizeAxis(op: string, axis: number, rank: number): number {
  if (!Number.isInteger(axis) || axis < -rank || axis >= rank) {
    throw new RangeError(
      rank === 0
        ? `${op}: expected a tensor with at least one axis but found a scalar (axis ${axis})`
        : `${op}: expected axis to be in ${-rank}..${rank - 1} but found ${axis}`,
    );
  }
  return axis < 0 ? axis + rank : axis;
}

/** Several axes, counted from 0, sorted and without repeats; `undefined` means all axes. */
export function normalizeAxes(
  op: string,
  axes: number | readonly number[] | undefined,
  rank: number,
): number[] {
  if (axes === undefined) return Array.from({ length: rank }, (_, axis) => axis);
  const list = (typeof axes === "number" ? [axes] : [...axes])
    .map((axis) => normalizeAxis(op, axis, rank)).sort((a, b) => a - b);
  for (let i = 1; i < list.length; i++) {
    if (list[i] === list[i - 1]) {
      throw new RangeError(`${op}: expected distinct axes but found axis ${list[i]} twice`);
    }
  }
  return list;
}

/**
 * The shape to which two or more shapes broadcast: axes are matched from the last, and an axis of
 * length 1 stretches.
 *
 * @throws {TypeError} If two lengths differ and neither is 1.
 */
export function broadcastShapes(op: string, ...shapes: Shape[]): number[] {
  const rank = Math.max(0, ...shapes.map((shape) => shape.length));
  const result = new Array<number>(rank).fill(1);
  for (const shape of shapes) {
    for (let i = 0; i < shape.length; i++) {
      const axis = rank - shape.length + i;
      const length = shape[i]!;
      if (length === 1 || length === result[axis]) continue;
      if (result[axis] !== 1) {
        throw new TypeError(
          `${op}: expected shapes that broadcast together but found ${
            shapes.map(showShape).join(" and ")
          }`,
        );
      }
      result[axis] = length;
    }
  }
  return result;
}

/** @throws {RangeError} If an entry is not a whole number of at least 0. */
export function checkShape(op: string, shape: Shape): void {
  for (const length of shape) {
    if (!Number.isSafeInteger(length) || length < 0) {
      throw new RangeError(
        `${op}: expected shape to hold whole numbers of at least 0 but found ${showShape(shape)}`,
      );
    }
  }
}
