// Tests that every assertion can fail, and that equality is that of @std/assert.
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertExists,
  assertGreater,
  assertGreaterOrEqual,
  assertInstanceOf,
  AssertionError,
  assertLess,
  assertLessOrEqual,
  assertMatch,
  assertNotEquals,
  assertObjectMatch,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
  fail,
} from "@std/assert";

Deno.test("assertions accept what holds", async () => {
  assert(1);
  assertEquals({ a: [1, new Uint8Array(2)], b: undefined }, { a: [1, new Uint8Array(2)] } as never);
  assertEquals([0, NaN], [-0, NaN]);
  assertEquals(new Float32Array([0, 1]), new Float32Array([-0, 1]));
  assertEquals(new Map([["a", [1]]]), new Map([["a", [1]]]));
  assertNotEquals([1], [2]);
  assertStrictEquals("a", "a");
  assertAlmostEquals(1, 1 + 1e-8);
  assertAlmostEquals(1, 1.05, 0.1);
  assertExists(0);
  assertStringIncludes("abc", "b");
  assertMatch("abc", /b./);
  assertInstanceOf(new TypeError(), Error);
  assertGreater(2, 1);
  assertGreaterOrEqual(1, 1);
  assertLess(1, 2);
  assertLessOrEqual(1, 1);
  assertObjectMatch({ a: 1, b: { c: 2, d: 3 } }, { b: { c: 2 } });
  assertEquals(
    assertThrows(() => JSON.parse("{"), SyntaxError) instanceof SyntaxError,
    true,
  );
  const error = await assertRejects(() => Promise.reject(new RangeError("abc")), RangeError, "b");
  assertEquals(error.message, "abc");
});

Deno.test("assertions refuse what does not hold", async () => {
  const wrong: (() => unknown)[] = [
    () => assert(0),
    () => fail(),
    () => assertEquals(1, 2),
    () => assertEquals([1, 2], [1, 3]),
    () => assertEquals(new Float32Array([1]), new Float32Array([2])),
    () => assertEquals([1] as unknown, { 0: 1 }),
    () => assertEquals({ a: 1 }, { a: 1, b: 2 } as never),
    () => assertEquals(new Uint8Array(1) as unknown, new Int8Array(1)),
    () => assertNotEquals([1], [1]),
    () => assertStrictEquals({}, {}),
    () => assertAlmostEquals(1, 1 + 1e-6),
    () => assertAlmostEquals(1, NaN),
    () => assertAlmostEquals(NaN, 1),
    () => assertExists(null),
    () => assertStringIncludes("abc", "d"),
    () => assertMatch("abc", /d/),
    () => assertInstanceOf(new Error(), TypeError),
    () => assertGreater(1, 1),
    () => assertGreaterOrEqual(NaN, 1),
    () => assertLess(1, 1),
    () => assertLessOrEqual(2, 1),
    () => assertObjectMatch({ a: 1 }, { a: 2 }),
    () => assertObjectMatch({ a: 1 }, { b: undefined, c: 1 }),
    () => assertThrows(() => 1),
    () =>
      assertThrows(() => {
        throw new Error("a");
      }, TypeError),
    () =>
      assertThrows(
        () => {
          throw new Error("a");
        },
        Error,
        "b",
      ),
  ];
  for (const one of wrong) assertThrows(one, AssertionError);
  await assertRejects(() => assertRejects(() => Promise.resolve(1)), AssertionError);
  await assertRejects(
    () => assertRejects(() => Promise.reject(new Error("a")), TypeError),
    AssertionError,
  );
});
