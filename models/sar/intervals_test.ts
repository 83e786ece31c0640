import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { foldIn } from "../../lib/random/threefry.ts";
import {
  checkIntervals,
  makeIntervals,
  mostKnownTokens,
  SCHEDULE_NAMES,
  type ScheduleName,
} from "./intervals.ts";

const draws = fc.record({
  schedule: fc.constantFrom(...SCHEDULE_NAMES),
  count: fc.integer({ min: 2, max: 300 }),
  share: fc.double({ min: 0, max: 1, noNaN: true }),
  seed: fc.nat(),
}).map(({ schedule, count, share, seed }) => ({
  schedule,
  count,
  sets: schedule === "mar" ? 2 : 1 + Math.round(share * (count - 1)),
  key: [0, seed] as const,
}));

Deno.test("every schedule cuts N tokens into K positive sets", () => {
  fc.assert(fc.property(draws, ({ schedule, count, sets, key }) => {
    const intervals = makeIntervals(schedule, count, sets, key);
    assertEquals(intervals.length, sets);
    checkIntervals(intervals, count);
    assert(count - intervals[sets - 1] <= mostKnownTokens(schedule, count, sets));
  }));
});

Deno.test("K = N gives ones and K = 1 gives one set, for every schedule", () => {
  for (const schedule of SCHEDULE_NAMES.filter((name) => name !== "mar")) {
    for (let count = 1; count <= 300; count++) {
      assert(makeIntervals(schedule, count, count, [0, 1]).every((size) => size === 1), schedule);
      assertEquals([...makeIntervals(schedule, count, 1, [0, 1])], [count]);
    }
  }
  assertEquals([...makeIntervals("mar", 2, 2, [0, 1])], [1, 1]);
});

Deno.test("cosine is the attested list for N = 256, T = 16", () => {
  assertEquals(
    [...makeIntervals("cosine", 256, 16)],
    [2, 3, 7, 8, 11, 13, 15, 16, 19, 20, 22, 23, 23, 25, 24, 25],
  );
});

Deno.test("cosine leaves max(1, floor(N cos)) masked wherever that leaves no set empty", () => {
  for (const [count, sets] of [[256, 8], [256, 32], [4096, 64], [49, 7]]) {
    let masked = count;
    const expected = Array.from({ length: sets }, (_, s) => {
      const before = masked;
      const share = Math.cos(Math.PI / 2 * (s + 1) / sets);
      masked = s === sets - 1 ? 0 : Math.max(1, Math.floor(count * share));
      return before - masked;
    });
    assert(expected.every((size) => size > 0), "choose sizes for which the formula holds");
    assertEquals([...makeIntervals("cosine", count, sets)], expected);
  }
});

Deno.test("uniform sets differ by one at most, arccos lies between uniform and cosine", () => {
  assertEquals([...makeIntervals("uniform", 49, 7)], [7, 7, 7, 7, 7, 7, 7]);
  assertEquals([...makeIntervals("uniform", 10, 4)], [2, 3, 2, 3]);
  // 100·2/π·arccos(r) at r = 1/4, 1/2, 3/4 is 83.9, 66.7, 46.0.
  assertEquals([...makeIntervals("arccos", 100, 4)], [17, 17, 20, 46]);
});

Deno.test("random draws every composition equally often", () => {
  const counts = new Map<string, number>();
  for (let i = 0; i < 10000; i++) {
    const name = String(makeIntervals("random", 6, 3, foldIn([0, 5], i)));
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  assertEquals(counts.size, 10); // 5 cut points choose 2
  const chiSquared = [...counts.values()].reduce((sum, n) => sum + (n - 1000) ** 2 / 1000, 0);
  assert(chiSquared < 27.9, `chi squared ${chiSquared}`); // 99.9 % point at 9 degrees of freedom
});

Deno.test("mar masks a truncated normal share", () => {
  const count = 1000;
  const ratios = Array.from(
    { length: 4000 },
    (_, i) => makeIntervals("mar", count, 2, foldIn([0, 6], i))[1] / count,
  );
  assert(ratios.every((ratio) => ratio >= 0.7 && ratio < 1));
  // Mean 1 - 0.25·(φ(0) - φ(1.2)) / (Φ(1.2) - Φ(0)) = 1 - 0.25·0.20475/0.38493 = 0.8670,
  // half a token higher by the rounding up; its standard error here is 0.0013.
  const mean = ratios.reduce((a, b) => a + b) / ratios.length;
  assert(Math.abs(mean - 0.8675) < 0.004, `mean ${mean}`);
  assertEquals(mostKnownTokens("mar", count, 2), 300);
});

Deno.test("the same key gives the same intervals", () => {
  assertEquals(
    makeIntervals("random", 100, 10, [1, 2]),
    makeIntervals("random", 100, 10, [1, 2]),
  );
});

Deno.test("wrong arguments are named", () => {
  assertThrows(() => makeIntervals("cosine", 4, 5), RangeError, "in 1..4 but found 5");
  assertThrows(() => makeIntervals("cosine", 0, 1), RangeError, "found 0");
  assertThrows(() => makeIntervals("random", 4, 2), TypeError, "key");
  assertThrows(() => makeIntervals("mar", 4, 3, [0, 1]), TypeError, "2 sets");
  assertThrows(() => makeIntervals("sine" as ScheduleName, 4, 3), TypeError, "found sine");
  assertThrows(() => checkIntervals([1, 0, 3], 4), RangeError, "found 0 at 1");
});
