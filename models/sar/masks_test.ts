import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { setIds, visibleCounts } from "./masks.ts";

interface MaskFixture {
  intervals: number[];
  m_e: string[];
  m_ds: string[];
  m_dc: string[];
}

const fixtures: MaskFixture[] = JSON.parse(
  Deno.readTextFileSync(new URL("../../tests/fixtures/fmt/masks.json", import.meta.url)),
);

const intervalLists = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 12 });

/** Row lengths of a mask given by the rule itself. */
function countSeen(rows: Int32Array, columns: Int32Array, sees: (a: number, b: number) => boolean) {
  return rows.map((row) => columns.filter((column) => sees(row, column)).length);
}

Deno.test("masks equal the stored ones bit by bit", () => {
  assertEquals(fixtures.length, 6);
  for (const { intervals, m_e, m_ds, m_dc } of fixtures) {
    const { encoder, decoder, cross } = visibleCounts(intervals);
    const known = encoder.length;
    const draw = (counts: Int32Array, columns: number) =>
      Array.from(counts, (seen) => "1".repeat(seen) + "0".repeat(columns - seen));
    assertEquals(draw(encoder, known), m_e);
    assertEquals(draw(decoder, decoder.length), m_ds);
    assertEquals(draw(cross, known), m_dc);
  }
});

Deno.test("counts follow the rules of the three masks, for any sets and condition length", () => {
  fc.assert(fc.property(intervalLists, fc.integer({ min: 0, max: 5 }), (intervals, condition) => {
    const sets = setIds(intervals);
    const known = sets.length - intervals[intervals.length - 1];
    const encoderSets = Int32Array.of(...new Array(condition).fill(0), ...sets.slice(0, known));
    const { encoder, decoder, cross } = visibleCounts(intervals, { condition });
    assertEquals(encoder, countSeen(encoderSets, encoderSets, (i, j) => j <= i));
    assertEquals(decoder, countSeen(sets, sets, (i, j) => j <= i));
    assertEquals(cross, countSeen(sets, encoderSets, (i, j) => j < i));
  }));
});

Deno.test("padding rows of the encoder are seen by nothing but themselves", () => {
  fc.assert(fc.property(intervalLists, (intervals) => {
    const exact = visibleCounts(intervals);
    const count = exact.decoder.length;
    const padded = visibleCounts(intervals, { encoderTokens: count - 1 });
    const kept = exact.encoder.length;
    assertEquals(padded.encoder.length, count);
    assertEquals(padded.encoder.slice(0, kept), exact.encoder);
    assert(padded.encoder.every((seen) => seen <= kept && seen >= 1));
    assertEquals(padded.decoder, exact.decoder);
    assertEquals(padded.cross, exact.cross);
  }));
});

Deno.test("K = N is lower triangular and K = 1 sees the condition only", () => {
  const ones = visibleCounts([1, 1, 1, 1]);
  for (const counts of Object.values(ones)) assertEquals(counts, Int32Array.of(1, 2, 3, 4));
  const { encoder, decoder, cross } = visibleCounts([3]);
  assertEquals([encoder, decoder, cross].map((counts) => [...counts]), [[1], [3, 3, 3], [1, 1, 1]]);
});

Deno.test("full decoder self-attention changes the decoder's own mask only", () => {
  const causal = visibleCounts([1, 3]);
  const full = visibleCounts([1, 3], { fullDecoder: true });
  assertEquals(full, { ...causal, decoder: Int32Array.of(4, 4, 4, 4) });
});

Deno.test("too few encoder rows are refused", () => {
  assertThrows(() => visibleCounts([1, 3, 1], { encoderTokens: 3 }), RangeError, "at least 4");
});
