/** Ops that only move elements, against index arithmetic. */
import fc from "npm:fast-check@4.10.2";
import type { HostArray } from "../../lib/dtype.ts";
import { type Shape, sizeOf } from "../../lib/shape.ts";
import * as ops from "../../ops/mod.ts";
import { at, emptyableShapes, indices, shapes, testOp, type Use } from "../ops_harness.ts";

/** The elements of `x` at the index that `from` gives for every index of the result. */
function gathered(
  result: Shape,
  shape: Shape,
  x: HostArray,
  from: (index: number[]) => number[] | undefined,
): number[] {
  return Array.from(indices(result), (index) => {
    const place = from(index);
    return place ? x[at(shape, place)]! : 0;
  });
}

const withAxis = (min: number, max: number) =>
  shapes(min, max).chain((shape) =>
    fc.record({ shape: fc.constant(shape), axis: fc.nat(shape.length - 1) })
  );

testOp(
  "reshape",
  emptyableShapes(0, 4).chain((shape) =>
    fc.constantFrom([-1], [sizeOf(shape)], [1, sizeOf(shape), 1], shape.toReversed()).map(
      (wanted): Use => ({
        operands: [{ shape }],
        apply: (x) => ops.reshape(x, sizeOf(shape) === 0 ? shape.toReversed() : wanted),
        expected: (x) => x,
      }),
    )
  ),
);

testOp(
  "transpose",
  emptyableShapes(0, 4).chain((shape) =>
    fc.shuffledSubarray(shape.map((_, axis) => axis), { minLength: shape.length }).map(
      (axes): Use => ({
        operands: [{ shape }],
        apply: (x) => ops.transpose(x, axes),
        expected: (x) =>
          gathered(
            axes.map((axis) => shape[axis]!),
            shape,
            x,
            (index) => shape.map((_, axis) => index[axes.indexOf(axis)]!),
          ),
      }),
    )
  ),
);

testOp(
  "broadcastTo",
  shapes(0, 3).chain((shape) =>
    fc.record({
      added: fc.array(fc.nat(3), { maxLength: 2 }),
      stretched: fc.integer({ min: 0, max: 4 }),
    }).map(({ added, stretched }): Use => {
      const wanted = [...added, ...shape.map((length) => length === 1 ? stretched : length)];
      return {
        operands: [{ shape }],
        apply: (x) => ops.broadcastTo(x, wanted),
        expected: (x) => gathered(wanted, shape, x, (index) => index.slice(added.length)),
      };
    })
  ),
);

testOp(
  "slice",
  shapes(1, 3).chain((shape) =>
    fc.tuple(...shape.map((length) =>
      fc.record({
        start: fc.option(fc.integer({ min: -length - 1, max: length + 1 })),
        stop: fc.option(fc.integer({ min: -length - 1, max: length + 1 })),
        step: fc.constantFrom(1, 1, 2, 3, -1, -2),
      })
    )).map((ranges): Use => {
      const taken = ranges.map(({ start, stop, step }, axis) => {
        const places = Array.from({ length: shape[axis]! }, (_, i) => i);
        const wrap = (place: number) => place < 0 ? place + shape[axis]! : place;
        const inside = places.filter((place) =>
          step > 0
            ? place >= wrap(start ?? 0) && place < wrap(stop ?? shape[axis]!)
            : (start === null || place <= wrap(start)) && (stop === null || place > wrap(stop))
        );
        if (step < 0) inside.reverse();
        return inside.filter((_, i) => i % Math.abs(step) === 0);
      });
      return {
        operands: [{ shape }],
        apply: (x) => ops.slice(x, ranges.map(({ start, stop, step }) => [start, stop, step])),
        expected: (x) =>
          gathered(
            taken.map((places) => places.length),
            shape,
            x,
            (index) => index.map((i, axis) => taken[axis]![i]!),
          ),
      };
    })
  ),
);

testOp(
  "flip",
  withAxis(1, 3).map(({ shape, axis }): Use => ({
    operands: [{ shape }],
    apply: (x) => ops.flip(x, axis),
    expected: (x) =>
      gathered(shape, shape, x, (index) => index.with(axis, shape[axis]! - 1 - index[axis]!)),
  })),
);

testOp(
  "pad",
  emptyableShapes(1, 3).chain((shape) =>
    fc.array(fc.tuple(fc.nat(2), fc.nat(2)), { minLength: shape.length, maxLength: shape.length })
      .map((widths): Use => ({
        operands: [{ shape }],
        apply: (x) => ops.pad(x, widths),
        expected: (x) =>
          gathered(
            shape.map((length, axis) => length + widths[axis]![0] + widths[axis]![1]),
            shape,
            x,
            (index) => {
              const place = index.map((i, axis) => i - widths[axis]![0]);
              return place.every((i, axis) => i >= 0 && i < shape[axis]!) ? place : undefined;
            },
          ),
      }))
  ),
);

testOp(
  "concat",
  withAxis(1, 3).chain(({ shape, axis }) =>
    fc.array(fc.nat(3), { minLength: 1, maxLength: 3 }).map((lengths): Use => {
      const total = lengths.reduce((sum, length) => sum + length, 0);
      return {
        operands: lengths.map((length) => ({ shape: shape.with(axis, length) })),
        apply: (...x) => ops.concat(x, { axis }),
        expected: (...x) =>
          Array.from(indices(shape.with(axis, total)), (index) => {
            let place = index[axis]!;
            const which = lengths.findIndex((length) => {
              if (place < length) return true;
              place -= length;
              return false;
            });
            return x[which]![at(shape.with(axis, lengths[which]!), index.with(axis, place))]!;
          }),
      };
    })
  ),
);

testOp(
  "stack",
  shapes(0, 2).chain((shape) =>
    fc.nat(shape.length).map((axis): Use => ({
      operands: [{ shape }, { shape }],
      apply: (...x) => ops.stack(x, { axis }),
      expected: (...x) =>
        Array.from(
          indices(shape.toSpliced(axis, 0, 2)),
          (index) => x[index[axis]!]![at(shape, index.toSpliced(axis, 1))]!,
        ),
    }))
  ),
);

testOp(
  "split",
  withAxis(1, 3).map(({ shape, axis }): Use => {
    const length = shape[axis]!;
    return {
      operands: [{ shape }],
      apply: (x) => ops.concat(ops.split(x, [1, length - 1], { axis }).reverse(), { axis }),
      expected: (x) =>
        gathered(shape, shape, x, (index) => index.with(axis, (index[axis]! + 1) % length)),
    };
  }),
);

testOp(
  "repeat",
  withAxis(1, 3).map(({ shape, axis }): Use => ({
    operands: [{ shape }],
    apply: (x) => ops.repeat(x, 3, { axis }),
    expected: (x) =>
      gathered(
        shape.with(axis, shape[axis]! * 3),
        shape,
        x,
        (index) => index.with(axis, Math.floor(index[axis]! / 3)),
      ),
  })),
);

testOp(
  "tile",
  withAxis(1, 3).map(({ shape, axis }): Use => ({
    operands: [{ shape }],
    apply: (x) => ops.tile(x, shape.map((_, i) => i === axis ? 2 : 1)),
    expected: (x) =>
      gathered(
        shape.with(axis, shape[axis]! * 2),
        shape,
        x,
        (index) => index.with(axis, index[axis]! % shape[axis]!),
      ),
  })),
);

testOp(
  "roll",
  withAxis(1, 3).chain(({ shape, axis }) =>
    fc.integer({ min: -7, max: 7 }).map((shift): Use => {
      const length = shape[axis]!;
      return {
        operands: [{ shape }],
        apply: (x) => ops.roll(x, shift, { axis }),
        expected: (x) =>
          gathered(shape, shape, x, (index) =>
            index.with(axis, (((index[axis]! - shift) % length) + length) % length)),
      };
    })
  ),
);

testOp(
  "rearrange",
  fc.tuple(fc.nat(3), fc.nat(3), fc.nat(3), fc.nat(2)).map(([h, w, c, b]): Use => {
    const shape = [b, h * w, c];
    return {
      operands: [{ shape }],
      apply: (x) => ops.rearrange(x, "... (h w) c -> (c h) 1 ... w", { h, w }),
      expected: (x) =>
        gathered([c, h, b, w], shape, x, ([ci, hi, bi, wi]) => [bi!, hi! * w + wi!, ci!]),
    };
  }),
);

testOp(
  "expandDims and squeeze",
  shapes(0, 3).map((shape): Use => ({
    operands: [{ shape }],
    apply: (x) => ops.squeeze(ops.expandDims(ops.squeeze(x), [0, -1])),
    expected: (x) => x,
  })),
);

testOp(
  "upsampleNearest",
  shapes(4, 4).chain((shape) =>
    fc.integer({ min: 1, max: 3 }).map((factor): Use => ({
      operands: [{ shape }],
      apply: (x) => ops.upsampleNearest(x, factor),
      expected: (x) =>
        gathered(
          shape.map((length, axis) => axis < 2 ? length : length * factor),
          shape,
          x,
          ([b, c, i, j]) => [b!, c!, Math.floor(i! / factor), Math.floor(j! / factor)],
        ),
    }))
  ),
);
