/** The ops with kernels of their own, against plain loops. */
import fc from "npm:fast-check@4.10.2";
import type { HostArray } from "../../lib/dtype.ts";
import { sizeOf } from "../../lib/shape.ts";
import * as ops from "../../ops/mod.ts";
import { at, indices, shapes, testOp, type Use } from "../ops_harness.ts";

const size = fc.integer({ min: 1, max: 6 });

/** The product of matrices in batches that broadcast. */
function product(
  a: ArrayLike<number>,
  sa: number[],
  b: ArrayLike<number>,
  sb: number[],
  result: number[],
): number[] {
  const inner = sa.at(-1)!;
  return Array.from(indices(result), (index) => {
    const [row, column] = index.slice(-2) as [number, number];
    const batch = index.slice(0, -2);
    let sum = 0;
    for (let k = 0; k < inner; k++) {
      sum += a[at(sa, [...batch, row, k])]! * b[at(sb, [...batch, k, column])]!;
    }
    return sum;
  });
}

testOp(
  "matmul",
  fc.record({ batch: shapes(0, 2), m: size, k: fc.integer({ min: 0, max: 6 }), n: size }).chain((
    { batch, m, k, n },
  ) =>
    fc.constantFrom([batch, batch], [batch, []], [[], batch], [batch.map(() => 1), batch]).map(
      ([left, right]): Use => {
        const sa = [...left!, m, k], sb = [...right!, k, n];
        return {
          operands: [{ shape: sa }, { shape: sb }],
          apply: ops.matmul,
          expected: (a, b) => product(a, sa, b, sb, [...batch, m, n]),
        };
      },
    )
  ),
);

testOp(
  "matmul with vectors",
  fc.record({ rows: size, inner: size, left: fc.boolean(), both: fc.boolean() }).map(
    ({ rows, inner, left, both }): Use => {
      const vector = [inner];
      const matrix = both ? vector : left ? [inner, rows] : [rows, inner];
      const operands = (left ? [vector, matrix] : [matrix, vector]).map((shape) => ({ shape }));
      return {
        operands,
        apply: ops.matmul,
        expected: (a, b) => {
          const sa = operands[0]!.shape, sb = operands[1]!.shape;
          return product(
            a,
            sa.length === 1 ? [1, inner] : sa,
            b,
            sb.length === 1 ? [inner, 1] : sb,
            both ? [1, 1] : left ? [1, rows] : [rows, 1],
          );
        },
      };
    },
  ),
);

testOp(
  "attention",
  fc.record({
    batch: fc.integer({ min: 1, max: 2 }),
    heads: fc.integer({ min: 1, max: 2 }),
    rows: size,
    columns: size,
    width: fc.constantFrom(1, 4, 6),
    shared: fc.boolean(),
  }).map(({ batch, heads, rows, columns, width, shared }): Use => {
    const query = [batch, heads, rows, width], key = [batch, heads, columns, width];
    const limits = shared ? [rows] : [batch, rows];
    return {
      operands: [
        { shape: query },
        { shape: key },
        { shape: key },
        { shape: limits, dtype: "i32", low: 0, high: columns + 1 },
      ],
      apply: (q, k, v, visible) => ops.attention(q!, k!, v!, { visible: visible! }),
      expected: (q, k, v, visible) =>
        Array.from(indices(query), ([b, h, i, d]) => {
          const seen = visible[at(limits, [b!, i!])]!;
          const weights = Array.from({ length: seen }, (_, j) => {
            let score = 0;
            for (let c = 0; c < width; c++) {
              score += q[at(query, [b!, h!, i!, c])]! * k[at(key, [b!, h!, j, c])]!;
            }
            return Math.exp(score / Math.sqrt(width));
          });
          const total = weights.reduce((x, y) => x + y, 0);
          return weights.reduce((sum, p, j) => sum + p / total * v[at(key, [b!, h!, j, d!])]!, 0);
        }),
    };
  }),
);

testOp(
  "conv2d",
  fc.record({
    batch: fc.integer({ min: 1, max: 2 }),
    channels: fc.integer({ min: 1, max: 3 }),
    outputs: fc.integer({ min: 1, max: 3 }),
    image: fc.tuple(size, size),
    kernel: fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 })),
    stride: fc.tuple(fc.integer({ min: 1, max: 2 }), fc.integer({ min: 1, max: 2 })),
    padding: fc.tuple(fc.nat(2), fc.nat(2), fc.nat(2), fc.nat(2)),
  }).filter(({ image, kernel, padding: [top, bottom, left, right] }) =>
    image[0] + top + bottom >= kernel[0] && image[1] + left + right >= kernel[1]
  ).map(({ batch, channels, outputs, image, kernel, stride, padding }): Use => {
    const [top, bottom, left, right] = padding;
    const x = [batch, channels, ...image], w = [outputs, channels, ...kernel];
    const rows = Math.floor((image[0] + top + bottom - kernel[0]) / stride[0]) + 1;
    const columns = Math.floor((image[1] + left + right - kernel[1]) / stride[1]) + 1;
    return {
      operands: [{ shape: x }, { shape: w }, { shape: [outputs] }],
      apply: (image, weight, bias) => ops.conv2d(image!, weight!, { stride, padding, bias: bias! }),
      expected: (image, weight, bias) =>
        Array.from(indices([batch, outputs, rows, columns]), ([b, o, i, j]) => {
          let sum = bias[o!]!;
          for (const [, c, p, q] of indices(w.with(0, 1)) as Iterable<number[]>) {
            const row = i! * stride[0] + p! - top, column = j! * stride[1] + q! - left;
            if (row < 0 || row >= x[2]! || column < 0 || column >= x[3]!) continue;
            sum += image[at(x, [b!, c!, row, column])]! * weight[at(w, [o!, c!, p!, q!])]!;
          }
          return sum;
        }),
    };
  }),
);

/** Cross entropies of rows of logits, by the definition. */
function losses(logits: ArrayLike<number>, classes: number, targets: HostArray): number[] {
  return Array.from(targets, (target, i) => {
    const row = Array.from({ length: classes }, (_, j) => logits[i * classes + j]!);
    return Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0)) - row[target]!;
  });
}

testOp(
  "linearCrossEntropy",
  fc.record({ rows: size, width: size, classes: size }).map(({ rows, width, classes }): Use => ({
    operands: [
      { shape: [rows, width] },
      { shape: [classes, width] },
      { shape: [rows], dtype: "i32", high: classes },
    ],
    apply: (x, w, targets) => ops.linearCrossEntropy(x!, w!, targets!),
    expected(x, w, targets) {
      const transposed = Array.from(
        indices([width, classes]),
        ([k, v]) => w[at([classes, width], [v!, k!])]!,
      );
      const logits = product(
        x,
        [rows, width],
        Float64Array.from(transposed),
        [width, classes],
        [rows, classes],
      );
      return losses(logits, classes, targets);
    },
  })),
);

testOp(
  "crossEntropy",
  fc.record({ rows: size, classes: size }).map(({ rows, classes }): Use => ({
    operands: [{ shape: [rows, classes] }, { shape: [rows], dtype: "i32", high: classes }],
    apply: (logits, targets) => ops.crossEntropy(logits!, targets!),
    expected: (logits, targets) => losses(logits, classes, targets),
  })),
);

testOp(
  "scatterAdd",
  fc.record({ rows: size, rest: shapes(0, 2), count: fc.nat(8) }).map(
    ({ rows, rest, count }): Use => ({
      operands: [
        { shape: [rows, ...rest] },
        { shape: [count], dtype: "i32", low: -1, high: rows + 1 },
        { shape: [count, ...rest] },
      ],
      apply: ops.scatterAdd,
      expected(base, places, updates) {
        const result = Float64Array.from(base), width = sizeOf(rest);
        for (const [from, to] of places.entries()) {
          if (to < 0 || to >= rows) continue;
          for (let i = 0; i < width; i++) {
            result[to * width + i]! += updates[from * width + i]!;
          }
        }
        return result;
      },
    }),
  ),
);

testOp(
  "scatterAlong",
  shapes(1, 3).chain((shape) =>
    fc.record({ axis: fc.nat(shape.length - 1), count: size }).map(({ axis, count }): Use => {
      const updated = shape.with(axis, count);
      return {
        operands: [
          { shape },
          { shape: updated, dtype: "i32", low: -1, high: shape[axis]! + 1 },
          { shape: updated },
        ],
        apply: (base, places, updates) => ops.scatterAlong(base!, places!, updates!, { axis }),
        expected(base, places, updates) {
          const result = Float64Array.from(base);
          for (const index of indices(updated)) {
            const from = at(updated, index), to = places[from]!;
            if (to < 0 || to >= shape[axis]!) continue;
            result[at(shape, index.with(axis, to))]! += updates[from]!;
          }
          return result;
        },
      };
    })
  ),
);

testOp(
  "updateSlice",
  shapes(1, 3).chain((shape) =>
    fc.nat(shape.length - 1).chain((axis) =>
      fc.integer({ min: 0, max: shape[axis]! }).map((count): Use => {
        const room = shape[axis]! - count, part = shape.with(axis, count);
        return {
          operands: [
            { shape },
            { shape: part },
            { shape: [], dtype: "i32", low: -1, high: shape[axis]! + 1 },
          ],
          apply: (base, update, start) => ops.updateSlice(base!, update!, start!, { axis }),
          expected(base, update, start) {
            const first = Math.min(room, Math.max(0, start[0]!));
            return Array.from(indices(shape), (index) => {
              const place = index[axis]! - first;
              return place >= 0 && place < count
                ? update[at(part, index.with(axis, place))]!
                : base[at(shape, index)]!;
            });
          },
        };
      })
    )
  ),
);

testOp(
  "take",
  shapes(1, 3).chain((shape) =>
    fc.record({ axis: fc.nat(shape.length - 1), places: shapes(0, 2) }).map(
      ({ axis, places }): Use => {
        const length = shape[axis]!;
        return {
          operands: [{ shape }, { shape: places, dtype: "i32", low: -1, high: length + 1 }],
          apply: (x, indices) => ops.take(x!, indices!, { axis }),
          expected: (x, chosen) =>
            Array.from(indices(shape.toSpliced(axis, 1, ...places)), (index) => {
              const place = chosen[at(places, index.slice(axis, axis + places.length))]!;
              if (place < 0 || place >= length) return 0;
              return x[at(shape, index.toSpliced(axis, places.length, place))]!;
            }),
        };
      },
    )
  ),
);

testOp(
  "takeAlong",
  shapes(1, 3).chain((shape) =>
    fc.record({ axis: fc.nat(shape.length - 1), count: size }).map(({ axis, count }): Use => {
      const places = shape.with(axis, count);
      return {
        operands: [
          { shape },
          { shape: places, dtype: "i32", low: -1, high: shape[axis]! + 1 },
        ],
        apply: (x, indices) => ops.takeAlong(x!, indices!, { axis }),
        expected: (x, chosen) =>
          Array.from(indices(places), (index) => {
            const place = chosen[at(places, index)]!;
            return place < 0 || place >= shape[axis]! ? 0 : x[at(shape, index.with(axis, place))]!;
          }),
      };
    })
  ),
);

testOp(
  "dynamicSlice",
  shapes(1, 3).chain((shape) =>
    fc.nat(shape[0]!).map((count): Use => ({
      operands: [{ shape }, { shape: [], dtype: "i32", low: -1, high: shape[0]! + 1 }],
      apply: (x, start) => ops.dynamicSlice(x!, start!, count),
      expected(x, start) {
        const first = Math.min(shape[0]! - count, Math.max(0, start[0]!));
        const width = sizeOf(shape.slice(1));
        return x.slice(first * width, (first + count) * width);
      },
    }))
  ),
);
