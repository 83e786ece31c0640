// Tests of the order in which training goes through a dataset.
import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { epochOrder } from "./dataset.ts";

Deno.test("epochOrder is the same on every machine", () => {
  assertEquals([...epochOrder(8, 1, 0)], [1, 7, 2, 6, 0, 5, 4, 3]);
});

Deno.test("epochOrder holds every index once and changes with seed and epoch", () => {
  const order = epochOrder(1000, 3, 2);
  assertEquals(order.toSorted(), Uint32Array.from({ length: 1000 }, (_, i) => i));
  assertNotEquals(epochOrder(1000, 4, 2), order);
  assertNotEquals(epochOrder(1000, 3, 3), order);
  assertEquals(epochOrder(0, 1, 0), new Uint32Array(0));
});

Deno.test("epochOrder puts every example everywhere about equally often", () => {
  const epochs = 3000;
  const counts = new Uint32Array(16);
  for (let epoch = 0; epoch < epochs; epoch++) {
    epochOrder(4, 0, epoch).forEach((index, place) => counts[4 * place + index]++);
  }
  const expected = epochs / 4;
  const chiSquare = counts.reduce((sum, n) => sum + (n - expected) ** 2 / expected, 0);
  assert(chiSquare < 30, `chi-square is ${chiSquare}, with 9 degrees of freedom`);
});

Deno.test("epochOrder refuses arguments out of range", () => {
  assertThrows(() => epochOrder(-1, 0, 0), RangeError, "count");
  assertThrows(() => epochOrder(1, -1, 0), RangeError, "seed");
  assertThrows(() => epochOrder(1, 0, 0.5), RangeError, "epoch");
});
