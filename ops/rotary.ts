/** Two-dimensional rotary position embedding. */
import type { Op } from "../lib/op.ts";
import { sameShape, showShape } from "../lib/shape.ts";
import { bindOne, type Tensor, tensor } from "../lib/tensor.ts";
import { add, mul, neg, sub } from "./arithmetic.ts";
import { checkDType } from "./arguments.ts";
import { broadcastTo } from "./broadcast.ts";
import { cast } from "./cast.ts";
import { slice } from "./slice.ts";

/** x [..., N, D], cos and sin [..., N, D/2] → like x. */
const rotaryOp: Op = {
  name: "rotary",
  infer: ([x]) => [x!],
  vjp({ inputs: [x, cos, sin], cotangents: [g] }) {
    const odd = (y: Tensor) => slice(y, [...leading(y), [1, null, 2]]);
    const even = (y: Tensor) => slice(y, [...leading(y), [0, null, 2]]);
    return [
      bindOne(rotaryOp, [g!, cos!, neg(sin!)]),
      add(mul(even(g!), even(x!)), mul(odd(g!), odd(x!))),
      sub(mul(odd(g!), even(x!)), mul(even(g!), odd(x!))),
    ];
  },
  run: {
    kind: "expression",
    lower(index, input, { e }) {
      // (a, b) → (a cos - b sin, b cos + a sin) for neighbors a at 2i and b at 2i + 1.
      const at = index.at(-1)!;
      const half = e.apply("divide", at, e.int(2)), pair = index.with(-1, half);
      const side = e.apply("modulo", at, e.int(2)); // 0 for a, 1 for b
      const other = e.apply("sub", e.int(1), side);
      const beside = e.apply("add", e.apply("mul", half, e.int(2)), other);
      const partner = input(0, index.with(-1, beside));
      const crossed = e.apply("mul", partner, input(2, pair));
      const isFirst = e.apply("equal", side, e.int(0));
      return e.apply(
        "add",
        e.apply("mul", input(0, index), input(1, pair)),
        e.apply("where", isFirst, e.apply("neg", crossed), crossed),
      );
    },
  },
};

function leading(x: Tensor): null[] {
  return new Array<null>(x.rank - 1).fill(null);
}

/**
 * Vectors turned by the angles of their positions: the neighbors (2i, 2i+1) form pair i, and
 * `(a, b)` becomes `(a cos - b sin, b cos + a sin)`.
 *
 * Source: Su et al., "RoFormer" (2021), section 3.4; in two dimensions as in LlamaGen.
 *
 * @param x Queries or keys [..., N, D], D even.
 * @param cos The cosines, of a shape that broadcasts to [..., N, D/2] (see `rotaryTable`).
 * @param sin The sines, likewise.
 * @returns A tensor of the shape of `x`.
 * @throws {TypeError} If D is odd or the tables do not broadcast.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { rotary2d } from "./rotary.ts";
 * const quarter = rotary2d(tensor([[1, 2]]), tensor([[0]]), tensor([[1]]));
 * assertEquals(await quarter.toArray(), [[-2, 1]]);
 * ```
 */
export function rotary2d(x: Tensor, cos: Tensor, sin: Tensor): Tensor {
  checkDType("rotary2d", "x", x, "float");
  const width = x.shape.at(-1) ?? 1;
  if (width % 2 !== 0) {
    throw new TypeError(
      `rotary2d: expected x to have an even last axis but found shape ${showShape(x.shape)}`,
    );
  }
  if (!sameShape(cos.shape, sin.shape)) {
    throw new TypeError(
      `rotary2d: expected cos and sin of one shape but found ${showShape(cos.shape)} and ${
        showShape(sin.shape)
      }`,
    );
  }
  const angles = [...x.shape.slice(0, -1), width / 2];
  const spread = (table: Tensor) => broadcastTo(cast(table, x.dtype), angles);
  return bindOne(rotaryOp, [x, spread(cos), spread(sin)]);
}

/**
 * The cosines and sines of a grid's positions, row by row; see `rotaryTableAt`.
 *
 * @param height The rows of the grid.
 * @param width The columns of the grid.
 * @param headWidth The width D of a head, a multiple of 4.
 * @param base The base of the frequencies (default 10000).
 * @returns `cos` and `sin`, each [height · width, D/2].
 * @throws {RangeError} If D is not a multiple of 4.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { rotaryTable } from "./rotary.ts";
 * const { cos } = rotaryTable(1, 2, 4);
 * assertEquals(await cos.toArray(), [[1, 1], [1, Math.fround(Math.cos(1))]]);
 * ```
 */
export function rotaryTable(
  height: number,
  width: number,
  headWidth: number,
  base = 10000,
): { cos: Tensor; sin: Tensor } {
  const cells = Array.from(
    { length: height * width },
    (_, cell) => ({ row: Math.floor(cell / width), column: cell % width }),
  );
  return rotaryTableAt(cells, headWidth, base);
}

/**
 * The cosines and sines of places: pairs `0..D/4-1` turn by `row · base^(-2j/(D/2))`, pairs
 * `D/4..D/2-1` by `column · base^(-2j/(D/2))`, with j counted from 0 in each half.
 *
 * @param places Rows and columns, which may be fractions.
 * @param headWidth The width D of a head, a multiple of 4.
 * @param base The base of the frequencies (default 10000).
 * @returns `cos` and `sin`, each [places, D/2].
 * @throws {RangeError} If D is not a multiple of 4.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { rotaryTableAt } from "./rotary.ts";
 * const { sin } = rotaryTableAt([{ row: 0.5, column: 2 }], 4);
 * assertEquals(await sin.toArray(), [[Math.fround(Math.sin(0.5)), Math.fround(Math.sin(2))]]);
 * ```
 */
export function rotaryTableAt(
  places: readonly { readonly row: number; readonly column: number }[],
  headWidth: number,
  base = 10000,
): { cos: Tensor; sin: Tensor } {
  if (!Number.isInteger(headWidth) || headWidth <= 0 || headWidth % 4 !== 0) {
    throw new RangeError(
      `rotaryTable: expected headWidth to be a multiple of 4 but found ${headWidth}`,
    );
  }
  const half = headWidth / 2, quarter = headWidth / 4;
  const shape = [places.length, half];
  const table = (of: (angle: number) => number) =>
    tensor(
      Float32Array.from({ length: places.length * half }, (_, i) => {
        const { row, column } = places[Math.floor(i / half)]!, pair = i % half;
        return of((pair < quarter ? row : column) * base ** (-2 * (pair % quarter) / half));
      }),
      { shape },
    );
  return { cos: table(Math.cos), sin: table(Math.sin) };
}
