import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import {
  foldIn,
  keyFromSeed,
  permutation,
  randomBits,
  split,
  threefry2x32,
  uniform,
} from "./threefry.ts";

Deno.test("threefry2x32 gives the known answers of Random123", () => {
  assertEquals(threefry2x32([0, 0], [0, 0]), [0x6b200159, 0x99ba4efe]);
  const ones = [0xffffffff, 0xffffffff] as const;
  assertEquals(threefry2x32(ones, ones), [0x1cb996fc, 0xbb002be7]);
  assertEquals(
    threefry2x32([0x13198a2e, 0x03707344], [0x243f6a88, 0x85a308d3]),
    [0xc4923a9c, 0x483df7a0],
  );
});

Deno.test("keyFromSeed keeps all 53 bits of a seed and refuses anything else", () => {
  assertEquals(keyFromSeed(0), [0, 0]);
  assertEquals(keyFromSeed(2 ** 32 + 5), [1, 5]);
  assertEquals(keyFromSeed(Number.MAX_SAFE_INTEGER), [0x1fffff, 0xffffffff]);
  assertThrows(() => keyFromSeed(-1), RangeError, "but found -1");
  assertThrows(() => keyFromSeed(1.5), RangeError, "but found 1.5");
});

Deno.test("children of a key differ from each other and do not depend on their number", () => {
  const children = split([3, 4], 100);
  assertEquals(new Set(children.map(String)).size, 100);
  assertEquals(children.slice(0, 2), split([3, 4]));
  assertEquals(children[99], foldIn([3, 4], 99));
});

Deno.test("a longer draw starts with the shorter one", () => {
  assertEquals(randomBits([1, 2], 20).slice(0, 7), randomBits([1, 2], 7));
});

Deno.test("uniform fills [0, 1) evenly", () => {
  const count = 20000;
  const bins = new Array(10).fill(0);
  for (const x of uniform(keyFromSeed(1), count)) bins[Math.floor(x * 10)]++;
  const chiSquared = bins.reduce((sum, n) => sum + (n - count / 10) ** 2 / (count / 10), 0);
  assert(chiSquared < 27.9, `chi squared ${chiSquared}`); // 99.9 % point at 9 degrees of freedom
});

Deno.test("permutation holds every index once, for any key and length", () => {
  const word = fc.integer({ min: 0, max: 0xffffffff });
  fc.assert(fc.property(word, word, fc.nat({ max: 300 }), (a, b, length) => {
    const sorted = permutation([a, b], length).toSorted();
    assertEquals(sorted, Int32Array.from({ length }, (_, i) => i));
  }));
});

Deno.test("permutation draws all orders of three elements equally often", () => {
  const counts = new Map<string, number>();
  const draws = 6000;
  for (let i = 0; i < draws; i++) {
    const name = String(permutation(foldIn([0, 9], i), 3));
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  assertEquals(counts.size, 6);
  const chiSquared = [...counts.values()].reduce((sum, n) => sum + (n - 1000) ** 2 / 1000, 0);
  assert(chiSquared < 20.5, `chi squared ${chiSquared}`); // 99.9 % point at 5 degrees of freedom
});
