/**
 * Sequence orders: permutations of the cells of an H×W grid, by name, by a user's list or by a function.
 *
 * A cell is its grid index `row * width + column`; `order[i]` is the cell that stands at place `i` of the
 * rearranged sequence.
 */
import { type Key, keyFromSeed, permutation } from "../../lib/random/threefry.ts";

/** Height and width of a grid of tokens. */
export interface Grid {
  readonly height: number;
  readonly width: number;
}

/** The orders that have a name. */
export const ORDER_NAMES = [
  "raster",
  "column",
  "snake",
  "spiral-in",
  "spiral-out",
  "z-curve",
  "hilbert",
  "subsample",
  "halton",
  "next-scale",
  "random",
  "fixed-random",
] as const;

/** Name of an order. */
export type OrderName = (typeof ORDER_NAMES)[number];

/** An order: a name, a permutation of the cells, or a function that makes one for a grid. */
export type Order = OrderName | ArrayLike<number> | ((grid: Grid) => ArrayLike<number>);

/**
 * Makes a sequence order for a grid of any size.
 *
 * - `raster`, `column`: row by row, column by column. `snake`: row by row, every other row backwards.
 * - `spiral-in`: clockwise from the top left corner to the middle; `spiral-out`: the same backwards.
 * - `z-curve` (Morton), `hilbert`: space-filling curves from the top left corner. `subsample`: the z-curve
 *   with the bits of both coordinates reversed, so that each quarter of the sequence is a grid of every other row
 *   and column. These three run over the smallest enclosing square with a power-of-two side and keep the
 *   cells that lie inside the grid; consecutive cells may then be apart where the curve leaves the grid.
 * - `halton`: cells as the Halton points of bases 2 (rows) and 3 (columns) first hit them.
 * - `next-scale`: the coarse-to-fine order of `nextScale`.
 * - `random`, `fixed-random`: a uniform random permutation of the seed. They differ in use: `random` is
 *   meant to be drawn afresh for each sample and so has no default seed; `fixed-random` has seed 0.
 *
 * @param order name, permutation of 0..H·W-1, or function from the grid to a permutation
 * @param grid height and width
 * @param seed a number or a random key, for `random` and `fixed-random`
 * @returns the permutation [H·W]; `order[i]` is the grid index at place `i`
 * @throws TypeError if the name is unknown, `random` has no seed, or the list has the wrong length
 * @throws RangeError if the grid is not positive or the list is not a permutation
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { makeOrder } from "./order.ts";
 *
 * assertEquals(makeOrder("snake", { height: 2, width: 3 }), Int32Array.of(0, 1, 2, 5, 4, 3));
 * ```
 */
export function makeOrder(order: Order, grid: Grid, seed?: number | Key): Int32Array {
  checkGrid("makeOrder", grid);
  const count = grid.height * grid.width;
  if (typeof order !== "string") {
    return checkOrder(typeof order === "function" ? order(grid) : order, count);
  }
  switch (order) {
    case "raster":
      return rankCells(grid, (row, column) => row * grid.width + column);
    case "column":
      return rankCells(grid, (row, column) => column * grid.height + row);
    case "snake":
      return rankCells(
        grid,
        (row, column) => row * grid.width + (row % 2 === 0 ? column : grid.width - 1 - column),
      );
    case "spiral-in":
      return spiralIn(grid);
    case "spiral-out":
      return spiralIn(grid).reverse();
    case "z-curve":
    case "subsample":
    case "hilbert":
      return rankCells(grid, (row, column) => CURVES[order](row, column, enclosingSide(grid)));
    case "halton":
      return halton(grid);
    case "next-scale":
      return nextScale(grid).order;
    case "random":
      if (seed === undefined) {
        throw new TypeError("makeOrder: expected a seed or key for the order random");
      }
      return randomOrder(seed, count);
    case "fixed-random":
      return randomOrder(seed ?? 0, count);
    default:
      throw new TypeError(
        `makeOrder: expected order to be one of ${ORDER_NAMES.join(", ")} but found ${order}`,
      );
  }
}

/**
 * Checks that a list is a permutation of 0..count-1.
 *
 * @param order the list
 * @param count number of cells
 * @returns the list as Int32Array [count]
 * @throws TypeError if its length is not `count`
 * @throws RangeError if an entry is not a cell, or occurs twice
 *
 * @example
 * ```ts
 * import { assertThrows } from "@std/assert";
 * import { checkOrder } from "./order.ts";
 *
 * assertThrows(() => checkOrder([0, 2, 2], 3), RangeError, "cell 2 twice");
 * ```
 */
export function checkOrder(order: ArrayLike<number>, count: number): Int32Array {
  if (order.length !== count) {
    throw new TypeError(
      `checkOrder: expected order to have ${count} entries but found ${order.length}`,
    );
  }
  const seen = new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    const cell = order[i];
    if (!Number.isInteger(cell) || cell < 0 || cell >= count) {
      throw new RangeError(
        `checkOrder: expected entries in 0..${count - 1} but found ${cell} at ${i}`,
      );
    }
    if (seen[cell]++) {
      throw new RangeError(`checkOrder: expected every cell once but found cell ${cell} twice`);
    }
  }
  return Int32Array.from(order);
}

/**
 * The inverse permutation: at which place of the sequence each cell stands.
 *
 * @param order a permutation of 0..N-1
 * @returns `inverse` [N] with `inverse[order[i]] = i`
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { invertOrder } from "./order.ts";
 *
 * assertEquals(invertOrder([2, 0, 1]), Int32Array.of(1, 2, 0));
 * ```
 */
export function invertOrder(order: ArrayLike<number>): Int32Array {
  const inverse = new Int32Array(order.length);
  for (let i = 0; i < order.length; i++) inverse[order[i]] = i;
  return inverse;
}

/**
 * The coarse-to-fine order and its sets: for s = 1, 2, 4, … the cells (⌊(i+½)·H/s⌋, ⌊(j+½)·W/s⌋), i, j < s,
 * that are not taken yet; the last set is all that remain, in raster order.
 *
 * @param grid height and width
 * @returns `order`, the permutation [H·W], and `intervals`, the set sizes (1, 4, 16, 43 for 8×8)
 * @throws RangeError if the grid is not positive
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { nextScale } from "./order.ts";
 *
 * assertEquals(nextScale({ height: 16, width: 16 }).intervals, Int32Array.of(1, 4, 16, 64, 171));
 * ```
 */
export function nextScale(grid: Grid): { order: Int32Array; intervals: Int32Array } {
  checkGrid("nextScale", grid);
  const { height, width } = grid;
  const taken = new Set<number>();
  const intervals: number[] = [];
  const closeSet = (before: number) => {
    if (taken.size > before) intervals.push(taken.size - before);
  };
  for (let scale = 1; scale < Math.max(height, width); scale *= 2) {
    const before = taken.size;
    for (let i = 0; i < scale; i++) {
      const row = Math.floor((2 * i + 1) * height / (2 * scale));
      for (let j = 0; j < scale; j++) {
        taken.add(row * width + Math.floor((2 * j + 1) * width / (2 * scale)));
      }
    }
    closeSet(before);
  }
  const before = taken.size;
  for (let cell = 0; cell < height * width; cell++) taken.add(cell);
  closeSet(before);
  return { order: Int32Array.from(taken), intervals: Int32Array.from(intervals) };
}

function checkGrid(caller: string, { height, width }: Grid): void {
  if (!Number.isInteger(height) || !Number.isInteger(width) || height < 1 || width < 1) {
    throw new RangeError(
      `${caller}: expected grid to have positive whole sides but found ${height}×${width}`,
    );
  }
}

function randomOrder(seed: number | Key, count: number): Int32Array {
  return permutation(typeof seed === "number" ? keyFromSeed(seed) : seed, count);
}

/** The cells, sorted by a rank that tells any two apart. */
function rankCells(grid: Grid, rank: (row: number, column: number) => number): Int32Array {
  const { height, width } = grid;
  const ranks = Float64Array.from(
    { length: height * width },
    (_, cell) => rank(Math.floor(cell / width), cell % width),
  );
  return Int32Array.from(ranks.keys()).sort((a, b) => ranks[a] - ranks[b]);
}

function enclosingSide(grid: Grid): number {
  return 2 ** Math.ceil(Math.log2(Math.max(grid.height, grid.width)));
}

/** Place of a cell along a curve over a square whose side is a power of two. */
const CURVES = {
  "z-curve"(row: number, column: number, side: number): number {
    let place = 0;
    for (let bit = side / 2; bit >= 1; bit /= 2) {
      place = place * 4 + (row & bit ? 2 : 0) + (column & bit ? 1 : 0);
    }
    return place;
  },
  subsample(row: number, column: number, side: number): number {
    let place = 0;
    for (let bit = 1; bit < side; bit *= 2) {
      place = place * 4 + (row & bit ? 2 : 0) + (column & bit ? 1 : 0);
    }
    return place;
  },
  hilbert(row: number, column: number, side: number): number {
    let place = 0;
    for (let half = side / 2; half >= 1; half /= 2) {
      const below = row & half ? 1 : 0;
      const right = column & half ? 1 : 0;
      place = place * 4 + (right ? 3 - below : below);
      // Each quarter holds the same curve, mirrored or transposed so that the ends meet.
      row &= half - 1;
      column &= half - 1;
      if (!below) {
        if (right) [row, column] = [half - 1 - row, half - 1 - column];
        [row, column] = [column, row];
      }
    }
    return place;
  },
};

function spiralIn({ height, width }: Grid): Int32Array {
  const order = new Int32Array(height * width);
  let place = 0;
  let [top, left, bottom, right] = [0, 0, height - 1, width - 1];
  while (top <= bottom && left <= right) {
    for (let column = left; column <= right; column++) order[place++] = top * width + column;
    for (let row = top + 1; row <= bottom; row++) order[place++] = row * width + right;
    if (top < bottom) {
      for (let column = right - 1; column >= left; column--) {
        order[place++] = bottom * width + column;
      }
    }
    if (left < right) {
      for (let row = bottom - 1; row > top; row--) order[place++] = row * width + left;
    }
    top++, left++, bottom--, right--;
  }
  return order;
}

/** Every cell contains a box of 2^-a × 3^-b, which one of any 2^a·3^b <= 24·H·W consecutive points hits. */
function halton({ height, width }: Grid): Int32Array {
  const taken = new Set<number>();
  for (let index = 1; taken.size < height * width; index++) {
    const row = Math.floor(radicalInverse(index, 2) * height);
    taken.add(row * width + Math.floor(radicalInverse(index, 3) * width));
  }
  return Int32Array.from(taken);
}

/** The digits of an index mirrored at the point: 6 = 110 in base 2 becomes 0.011. */
function radicalInverse(index: number, base: number): number {
  let mirrored = 0;
  let scale = 1;
  for (; index > 0; index = Math.floor(index / base)) {
    mirrored = mirrored * base + index % base;
    scale *= base;
  }
  return mirrored / scale;
}
