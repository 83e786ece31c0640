import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import {
  checkOrder,
  type Grid,
  invertOrder,
  makeOrder,
  nextScale,
  ORDER_NAMES,
  type OrderName,
} from "./order.ts";

const square = { height: 4, width: 4 };
const grids = fc.record({
  height: fc.integer({ min: 1, max: 20 }),
  width: fc.integer({ min: 1, max: 20 }),
});

function isNeighbor(a: number, b: number, { width }: Grid): boolean {
  const rows = Math.abs(Math.floor(a / width) - Math.floor(b / width));
  return rows + Math.abs(a % width - b % width) === 1;
}

function assertConnected(name: OrderName, grid: Grid) {
  const order = makeOrder(name, grid);
  for (let i = 1; i < order.length; i++) assert(isNeighbor(order[i - 1], order[i], grid), name);
}

Deno.test("every named order is a permutation of any grid", () => {
  fc.assert(fc.property(grids, fc.constantFrom(...ORDER_NAMES), fc.nat(), (grid, name, seed) => {
    checkOrder(makeOrder(name, grid, seed), grid.height * grid.width);
  }));
});

Deno.test("invertOrder undoes an order", () => {
  fc.assert(fc.property(grids, fc.nat(), (grid, seed) => {
    const order = makeOrder("random", grid, seed);
    const inverse = invertOrder(order);
    assert(order.every((cell, place) => inverse[cell] === place));
    assertEquals(invertOrder(inverse), order);
  }));
});

Deno.test("snake and both spirals step to a neighbor on any grid, Hilbert on a power of two", () => {
  fc.assert(
    fc.property(grids, fc.constantFrom("snake", "spiral-in", "spiral-out"), (grid, name) => {
      assertConnected(name as OrderName, grid);
    }),
  );
  for (const side of [1, 2, 4, 8, 16]) {
    const grid = { height: side, width: side };
    assertConnected("hilbert", grid);
    assertEquals(makeOrder("hilbert", grid)[0], 0);
    assertEquals(makeOrder("hilbert", grid)[side * side - 1], side - 1);
  }
});

Deno.test("simple orders on 3×4", () => {
  const grid = { height: 3, width: 4 };
  const expected: Partial<Record<OrderName, number[]>> = {
    raster: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
    column: [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11],
    snake: [0, 1, 2, 3, 7, 6, 5, 4, 8, 9, 10, 11],
    "spiral-in": [0, 1, 2, 3, 7, 11, 10, 9, 8, 4, 5, 6],
    "spiral-out": [6, 5, 4, 8, 9, 10, 11, 7, 3, 2, 1, 0],
    "z-curve": [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 10, 11],
  };
  for (const [name, order] of Object.entries(expected)) {
    assertEquals([...makeOrder(name as OrderName, grid)], order, name);
  }
});

Deno.test("curves, subsample and Halton on 4×4", () => {
  const expected: Partial<Record<OrderName, number[]>> = {
    "z-curve": [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15],
    hilbert: [0, 1, 5, 4, 8, 12, 13, 9, 10, 14, 15, 11, 7, 6, 2, 3],
    subsample: [0, 2, 8, 10, 1, 3, 9, 11, 4, 6, 12, 14, 5, 7, 13, 15],
  };
  for (const [name, order] of Object.entries(expected)) {
    assertEquals([...makeOrder(name as OrderName, square)], order, name);
  }
  // Points (1/2, 1/3), (1/4, 2/3), (3/4, 1/9), (1/8, 4/9): cells (2, 1), (1, 2), (3, 0), (0, 1).
  assertEquals([...makeOrder("halton", square).slice(0, 4)], [9, 6, 12, 1]);
});

Deno.test("a curve on another size keeps the order of the enclosing square", () => {
  const grid = { height: 5, width: 7 };
  for (const name of ["z-curve", "hilbert", "subsample"] as const) {
    const kept = [...makeOrder(name, { height: 8, width: 8 })]
      .map((cell) => [Math.floor(cell / 8), cell % 8])
      .filter(([row, column]) => row < 5 && column < 7)
      .map(([row, column]) => row * 7 + column);
    assertEquals([...makeOrder(name, grid)], kept, name);
  }
});

Deno.test("next-scale takes the cells of each scale, then the rest in raster order", () => {
  const { order, intervals } = nextScale(square);
  assertEquals([...order], [10, 5, 7, 13, 15, 0, 1, 2, 3, 4, 6, 8, 9, 11, 12, 14]);
  assertEquals([...intervals], [1, 4, 11]);
  assertEquals([...nextScale({ height: 8, width: 8 }).intervals], [1, 4, 16, 43]);
  assertEquals([...nextScale({ height: 16, width: 16 }).intervals], [1, 4, 16, 64, 171]);
  assertEquals([...nextScale({ height: 7, width: 7 }).intervals], [1, 4, 16, 28]);
  assertEquals([...nextScale({ height: 1, width: 6 }).intervals], [1, 2, 3]);
  assertEquals([...nextScale({ height: 1, width: 1 }).intervals], [1]);
});

Deno.test("next-scale sets are positive and add up to the grid", () => {
  fc.assert(fc.property(grids, (grid) => {
    const { intervals } = nextScale(grid);
    assert(intervals.every((size) => size > 0));
    assertEquals(intervals.reduce((a, b) => a + b), grid.height * grid.width);
  }));
});

Deno.test("random follows its seed and fixed-random has one of its own", () => {
  assertEquals(makeOrder("random", square, 3), makeOrder("random", square, [0, 3]));
  assertNotEquals(makeOrder("random", square, 3), makeOrder("random", square, 4));
  assertEquals(makeOrder("fixed-random", square), makeOrder("fixed-random", square, 0));
  assertThrows(() => makeOrder("random", square), TypeError, "seed");
});

Deno.test("a user's permutation or function is checked", () => {
  assertEquals(makeOrder([1, 0], { height: 1, width: 2 }), Int32Array.of(1, 0));
  assertEquals(makeOrder((grid) => makeOrder("column", grid), square)[1], 4);
  const pair = { height: 1, width: 2 };
  assertThrows(
    () => makeOrder([0], pair),
    TypeError,
    "expected order to have 2 entries but found 1",
  );
  assertThrows(() => makeOrder([0, 2], pair), RangeError, "in 0..1 but found 2 at 1");
  assertThrows(() => makeOrder([1, 1], pair), RangeError, "cell 1 twice");
  assertThrows(() => makeOrder("zigzag" as OrderName, pair), TypeError, "but found zigzag");
  assertThrows(() => makeOrder("raster", { height: 0, width: 2 }), RangeError, "but found 0×2");
});
