import { assertEquals, assertThrows } from "@std/assert";
import { assertSurvivesDamage } from "../../tests/damage.ts";
import { type PickleGlobal, readPickle } from "./pickle.ts";

/** Bytes of characters 0 to 255. */
function bytes(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

/** A pickle of protocol 2 with these operations. */
function pickle(operations: string): Uint8Array {
  return bytes(`\x80\x02${operations}.`);
}

Deno.test("pickles of numbers, texts and containers are read as plain data", () => {
  const values: [string, unknown][] = [
    ["N", null],
    ["\x88", true],
    ["\x89", false],
    ["J\xfe\xff\xff\xff", -2],
    ["K\xff", 255],
    ["M\x00\x01", 256],
    ["\x8a\x00", 0],
    ["\x8a\x02\x00\x80", -32768],
    ["\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01", 2n ** 64n],
    ["\x8b\x01\x00\x00\x00\xff", -1],
    ["G\x3f\xf8\x00\x00\x00\x00\x00\x00", 1.5],
    ["X\x03\x00\x00\x00\xe2\x82\xac", "€"],
    ["\x8c\x01a", "a"],
    ["\x8d\x01\x00\x00\x00\x00\x00\x00\x00a", "a"],
    ["C\x02\x01\x02", new Uint8Array([1, 2])],
    ["](K\x01K\x02e", [1, 2]],
    ["]K\x01a", [1]],
    [")", []],
    ["K\x01\x85", [1]],
    ["K\x01K\x02\x86", [1, 2]],
    ["K\x01K\x02K\x03\x87", [1, 2, 3]],
    ["(K\x01K\x02K\x03K\x04t", [1, 2, 3, 4]],
    ["}K\x01Ns", new Map([[1, null]])],
    ["}(K\x01K\x02K\x03K\x04u", new Map([[1, 2], [3, 4]])],
    ["\x8f(K\x01\x90", new Set([1])],
    ["(K\x01K\x01\x91", new Set([1])],
    ["K\x01q\x000h\x00", 1],
    ["K\x01\x940h\x00", 1],
    ["\x95\x02\x00\x00\x00\x00\x00\x00\x00K\x07", 7],
  ];
  for (const [operations, value] of values) assertEquals(readPickle(pickle(operations)), value);
});

Deno.test("a list that holds itself is read", () => {
  const list = readPickle(pickle("]q\x00h\x00a")) as unknown[];
  assertEquals(list[0] === list, true);
});

Deno.test("globals are refused by name unless they are allowed, and called only if they can be", () => {
  const made: unknown[][] = [];
  const pair: PickleGlobal = {
    create(args) {
      made.push(args);
      return new Map();
    },
    setState: (target, state) => void (target as Map<string, unknown>).set("state", state),
  };
  const globals = new Map<string, PickleGlobal>([["mine.Pair", pair], ["mine.name", {}]]);
  const read = (operations: string) => readPickle(pickle(operations), { globals });
  assertEquals(read("cmine\nPair\n(K\x01tRK\x05b"), new Map([["state", 5]]));
  assertEquals(read("\x8c\x04mine\x8c\x04Pair\x93)\x81"), new Map());
  assertEquals(made, [[1], []]);
  const refused: [string, string][] = [
    ["cos\nsystem\n(X\x02\x00\x00\x00lstR", "refused global os.system"],
    ["\x8c\x08builtins\x8c\x04eval\x93", "refused global builtins.eval"],
    ["cmine\nname\n)R", "expected a callable global"],
    ["}(K\x01tR", "expected a callable global"],
    ["}}b", "expected a value that takes a state"],
    ["K\x01Q", "refused a persistent id"],
    ["Vmine\n", "refused opcode 0x56"],
    ["(imine\nPair\n", "refused opcode 0x69"],
    ["\x82\x01", "refused opcode 0x82"],
  ];
  for (const [operations, problem] of refused) {
    assertThrows(() => read(operations), Error, problem);
  }
});

Deno.test("persistent ids stand for what the caller gives", () => {
  const persistent = (id: unknown) => ({ id });
  assertEquals(readPickle(pickle("K\x07Q"), { persistent }), { id: 7 });
});

Deno.test("broken pickles are refused with the fault and its place", () => {
  const cases: [Uint8Array, string][] = [
    [bytes(""), "the pickle ends too early at byte 0"],
    [bytes("\x80\x02K\x01"), "the pickle ends too early"],
    [bytes("\x80\x01K\x01."), "expected protocol 2 to 5 but found 1"],
    [bytes("\x80\x06K\x01."), "expected protocol 2 to 5 but found 6"],
    [pickle(""), "the stack is empty"],
    [pickle("K\x01K\x02"), "expected one value"],
    [pickle("X\xff\xff\xff\xffa"), "the pickle ends too early"],
    [pickle("\x8d\xff\xff\xff\xff\xff\xff\xff\xffa"), "the pickle ends too early"],
    [pickle("\x8b\x00\x00\x01\x00"), "expected an integer of at most 256 bytes"],
    [pickle("X\x01\x00\x00\x00\xff"), "expected a text in UTF-8"],
    [pickle("t"), "there is no mark"],
    [pickle("h\x05"), "expected a value in place 5 of the memo"],
    [pickle("}(K\x01u"), "expected a value for each key"],
    [pickle("K\x01K\x02a"), "expected a list"],
    [pickle("K\x01(s"), "the stack is empty"],
    [pickle("cos"), "the pickle ends too early"],
    [pickle("(".repeat(1001)), "expected at most 1000 nested marks"],
  ];
  for (const [broken, problem] of cases) assertThrows(() => readPickle(broken), Error, problem);
  assertThrows(() => readPickle(pickle("N"), { maxBytes: 3 }), Error, "expected at most 3 bytes");
});

Deno.test("a damaged pickle is read or refused, and nothing else happens", () => {
  const whole = pickle(
    "}q\x00(X\x01\x00\x00\x00a](K\x01\x8a\x02\x00\x80Ge\x8c\x01bK\x07K\x08\x86u",
  );
  assertSurvivesDamage(whole, (bytes) => readPickle(bytes), /^readPickle: pickle: .* at byte \d+$/);
});
