/** Parts of a tensor at fixed places: slices, flips, splits. */
import type { Op } from "../lib/op.ts";
import { normalizeAxes, normalizeAxis, type Shape, showShape } from "../lib/shape.ts";
import { bindOne, type Tensor } from "../lib/tensor.ts";
import { customVjp } from "../lib/transforms/vjp.ts";
import { concat } from "./concat.ts";
import { place } from "./pad.ts";
import { reshape } from "./reshape.ts";

const sliceOp: Op = {
  name: "slice",
  infer: ([x], { shape }) => [{ shape, dtype: x!.dtype }],
  vjp({ inputs: [x], cotangents: [g], attributes: { starts, steps } }) {
    const backward = (steps as number[]).map((_, axis) => axis).filter((axis) => steps[axis] < 0);
    const low = (starts as number[]).map((start, axis) =>
      steps[axis] < 0 ? start + (g!.shape[axis]! - 1) * steps[axis] : start
    );
    return [place(flip(g!, backward), x!.shape, low, (steps as number[]).map(Math.abs), 0)];
  },
  run: {
    kind: "expression",
    lower: (index, input, { e, attributes: { starts, steps } }) =>
      input(
        0,
        index.map((i, axis) =>
          e.apply("add", e.apply("mul", i, e.int(steps[axis])), e.int(starts[axis]))
        ),
      ),
    view: (view, { starts, steps }, { shape }) => ({
      ...view,
      shape,
      strides: view.strides.map((stride, axis) => stride * steps[axis]),
      offset: view.strides.reduce(
        (offset, stride, axis) => offset + stride * starts[axis],
        view.offset,
      ),
    }),
  },
};

/** @ignore A slice given by first element, step and length of every axis. */
export function sliceBy(
  x: Tensor,
  starts: readonly number[],
  steps: readonly number[],
  shape: Shape,
): Tensor {
  const whole = shape.every((length, axis) =>
    length === x.shape[axis] && (steps[axis] === 1 || length === 1) && starts[axis] === 0
  );
  return whole ? x : bindOne(sliceOp, [x], { starts, steps, shape: [...shape] });
}

/**
 * What `slice` takes of one axis: `null` all of it; a number that element alone, without the axis;
 * `[start, stop]` or `[start, stop, step]` the elements from `start` to before `stop`, where `null`
 * is an open end.
 */
export type Range =
  | null
  | number
  | readonly [start: number | null, stop: number | null, step?: number];

/**
 * A part of a tensor. As in Python, negative places count from the end, and places beyond the ends
 * are moved to them. Nothing is copied until a kernel needs it.
 *
 * @param x A tensor.
 * @param ranges What to take of each axis, from the first; further axes are taken whole.
 * @returns The part.
 * @throws {RangeError} If there are more ranges than axes, a number is outside its axis, or a step
 * is 0.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { slice } from "./slice.ts";
 * const x = tensor([[1, 2, 3], [4, 5, 6]]);
 * assertEquals(await slice(x, [1]).toArray(), [4, 5, 6]);
 * assertEquals(await slice(x, [null, [1, null]]).toArray(), [[2, 3], [5, 6]]);
 * assertEquals(await slice(x, [0, [null, null, -1]]).toArray(), [3, 2, 1]);
 * ```
 */
export function slice(x: Tensor, ranges: readonly Range[]): Tensor {
  if (ranges.length > x.rank) {
    throw new RangeError(
      `slice: expected at most ${x.rank} ranges for shape ${
        showShape(x.shape)
      } but found ${ranges.length}`,
    );
  }
  const starts: number[] = [], steps: number[] = [], shape: number[] = [], kept: number[] = [];
  for (const [axis, length] of x.shape.entries()) {
    const range = ranges[axis] ?? null;
    if (typeof range === "number") {
      starts.push(normalizePlace(range, axis, length));
      steps.push(1);
      shape.push(1);
      continue;
    }
    const [first, stop, step = 1] = range ?? [null, null];
    if (!Number.isSafeInteger(step) || step === 0) {
      throw new RangeError(
        `slice: expected the step of axis ${axis} not to be 0 but found ${step}`,
      );
    }
    const [lowest, highest] = step > 0 ? [0, length] : [-1, length - 1];
    const within = (place: number) =>
      Math.min(highest, Math.max(lowest, place < 0 ? place + length : place));
    const start = first === null ? (step > 0 ? 0 : length - 1) : within(first);
    const end = stop === null ? (step > 0 ? length : -1) : within(stop);
    const count = Math.max(0, Math.ceil((end - start) / step));
    starts.push(count === 0 ? 0 : start);
    steps.push(step);
    shape.push(count);
    kept.push(count);
  }
  return reshape(sliceBy(x, starts, steps, shape), kept);
}

function normalizePlace(place: number, axis: number, length: number): number {
  if (!Number.isInteger(place) || place < -length || place >= length) {
    throw new RangeError(
      `slice: expected the place on axis ${axis} to be in ${-length}..${
        length - 1
      } but found ${place}`,
    );
  }
  return place < 0 ? place + length : place;
}

/**
 * A tensor with the order of the elements along some axes reversed.
 *
 * @param x A tensor.
 * @param axes The axes (default: all).
 * @returns A tensor of the same shape.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { flip } from "./slice.ts";
 * assertEquals(await flip(tensor([1, 2, 3])).toArray(), [3, 2, 1]);
 * ```
 */
export function flip(x: Tensor, axes?: number | readonly number[]): Tensor {
  const flipped = normalizeAxes("flip", axes, x.rank)
    .filter((axis) => x.shape[axis]! > 1);
  const starts = x.shape.map((length, axis) => flipped.includes(axis) ? length - 1 : 0);
  const steps = x.shape.map((_, axis) => flipped.includes(axis) ? -1 : 1);
  return sliceBy(x, starts, steps, x.shape);
}

/**
 * A tensor cut into parts along one axis.
 *
 * @param x A tensor.
 * @param parts The number of equal parts, or the length of each part.
 * @param options `axis`: the axis that is cut (default the last).
 * @returns The parts.
 * @throws {RangeError} If the axis cannot be cut so.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { split } from "./slice.ts";
 * const [a, b] = split(tensor([1, 2, 3]), [2, 1]);
 * assertEquals([await a!.toArray(), await b!.toArray()], [[1, 2], [3]]);
 * ```
 */
export function split(
  x: Tensor,
  parts: number | readonly number[],
  options: { axis?: number } = {},
): Tensor[] {
  const axis = normalizeAxis("split", options.axis ?? -1, x.rank);
  const length = x.shape[axis]!;
  const lengths = typeof parts === "number"
    ? new Array<number>(parts).fill(length / parts)
    : [...parts];
  const fits = lengths.every((part) => Number.isInteger(part) && part >= 0) &&
    lengths.reduce((sum, part) => sum + part, 0) === length;
  if (!fits) {
    throw new RangeError(
      `split: expected parts to fill the length ${length} of axis ${axis} but found ${
        typeof parts === "number" ? parts : showShape(parts)
      }`,
    );
  }
  const ones = x.shape.map(() => 1);
  const cut = (x: Tensor) => {
    let start = 0;
    return lengths.map((part) => {
      const starts = x.shape.map((_, i) => i === axis ? start : 0);
      start += part;
      return sliceBy(x, starts, ones, x.shape.with(axis, part));
    });
  };
  // The parts' cotangents side by side, instead of a sum of each in a tensor of zeros.
  return customVjp(cut, (_, __, cotangents) => [concat(cotangents, { axis })])(x);
}
