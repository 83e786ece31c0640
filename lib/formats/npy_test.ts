// Tests of .npy files: files as NumPy writes them, round trips, broken and damaged files.
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { assertSurvivesDamage } from "../../tests/damage.ts";
import { encodeNpy, type NpyArray, parseNpy, readNpy, writeNpy } from "./npy.ts";

/** A file as NumPy lays it out. */
function fileOf(header: string, data: number[], version = 1): Uint8Array {
  const length = version === 1
    ? [header.length & 255, header.length >> 8]
    : [header.length & 255, header.length >> 8, 0, 0];
  const signature = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, version, 0];
  return new Uint8Array([...signature, ...length, ...new TextEncoder().encode(header), ...data]);
}

const arrays = {
  f4: Float32Array,
  f8: Float64Array,
  i4: Int32Array,
  i8: BigInt64Array,
  u1: Uint8Array,
  u4: Uint32Array,
  b1: Uint8Array,
} as const;

const array: fc.Arbitrary<NpyArray> = fc.record({
  dtype: fc.constantFrom("f4", "f8", "i4", "i8", "u1", "u4", "b1"),
  shape: fc.array(fc.nat(4), { maxLength: 4 }),
  bytes: fc.uint8Array({ minLength: 2048, maxLength: 2048 }),
}).map(({ dtype, shape, bytes }) => {
  const length = shape.reduce((product, size) => product * size, 1);
  return { dtype, shape, data: new arrays[dtype](bytes.slice().buffer, 0, length).slice() };
});

function bits({ dtype, shape, data }: NpyArray) {
  assert(data instanceof arrays[dtype]);
  return { dtype, shape, bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) };
}

Deno.test("files as NumPy writes them are read", () => {
  const scalar = fileOf("{'descr': '<f4', 'fortran_order': False, 'shape': (), }\n", [
    0,
    0,
    32,
    64,
  ]);
  assertEquals(parseNpy(scalar), { dtype: "f4", shape: [], data: new Float32Array([2.5]) });
  const vector = fileOf("{'descr': '|b1', 'fortran_order': False, 'shape': (2,), }  \n", [1, 0], 2);
  assertEquals(parseNpy(vector), { dtype: "b1", shape: [2], data: new Uint8Array([1, 0]) });
  const old = fileOf('{"shape": (1L, 2L), "fortran_order": False, "descr": "|u1"}', [5, 6]);
  assertEquals(parseNpy(old), { dtype: "u1", shape: [1, 2], data: new Uint8Array([5, 6]) });
});

Deno.test("a file is written as NumPy writes it", () => {
  const bytes = encodeNpy({ dtype: "f4", shape: [2, 1], data: new Float32Array([1, 2]) });
  const header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1,), }";
  const data = [0, 0, 128, 63, 0, 0, 0, 64];
  assertEquals(bytes, fileOf(header.padEnd(117) + "\n", data));
});

Deno.test("what is written is read back bit for bit", async () => {
  fc.assert(fc.property(array, (array) => {
    assertEquals(bits(parseNpy(encodeNpy(array))), bits(array));
  }));
  const path = await Deno.makeTempFile();
  const array1: NpyArray = { dtype: "i8", shape: [1], data: new BigInt64Array([-5n]) };
  await writeNpy(path, array1);
  assertEquals(await readNpy(path), array1);
  await Deno.writeFile(path, new Uint8Array(3));
  await assertRejects(() => readNpy(path), Error, path);
  await Deno.remove(path);
});

Deno.test("a shape of very many dimensions takes the longer header", () => {
  const array: NpyArray = {
    dtype: "u1",
    shape: new Array(30_000).fill(1),
    data: new Uint8Array([9]),
  };
  const bytes = encodeNpy(array);
  assertEquals(bytes[6], 2);
  assertEquals(parseNpy(bytes), array);
});

Deno.test("writing refuses elements that do not fit", () => {
  const data = new Float32Array(3);
  assertThrows(() => encodeNpy({ dtype: "i4", shape: [3], data }), TypeError, "Float32Array");
  assertThrows(() => encodeNpy({ dtype: "f4", shape: [2], data }), TypeError, "3 elements");
});

const header = (descr: string, shape = "()", order = "False") =>
  `{'descr': ${descr}, 'fortran_order': ${order}, 'shape': ${shape}, }`;

const brokenFiles: Record<string, [bytes: Uint8Array, message: string]> = {
  "no bytes": [new Uint8Array(), "signature"],
  "another signature": [fileOf(header("'<f4'"), [0, 0, 0, 0]).fill(0, 0, 1), "signature"],
  "an unknown version": [fileOf(header("'<f4'"), [0, 0, 0, 0], 3), "version 1 or 2 but found 3"],
  "a header beyond the end": [fileOf(header("'<f4'"), []).fill(255, 8, 10), "ends within it"],
  "a header that is no dictionary": [fileOf("descr", []), "Python dictionary"],
  "a field too few": [fileOf("{'descr': '<f4', 'shape': ()}", []), "fortran_order"],
  "a structured dtype": [fileOf(header("[('a', '<f4')]"), []), "structured"],
  "big-endian elements": [fileOf(header("'>f4'"), [0, 0, 0, 0]), "big-endian dtype >f4"],
  "Fortran order": [fileOf(header("'<f4'", "()", "True"), [0, 0, 0, 0]), "Fortran order"],
  "an unknown dtype": [fileOf(header("'<c8'"), []), "<c8 is not supported"],
  "no byte order": [fileOf(header("'|f4'"), [0, 0, 0, 0]), "|f4 is not supported"],
  "a negative size": [fileOf(header("'<f4'", "(-1,)"), []), "shape.0"],
  "too little data": [fileOf(header("'<f4'", "(2,)"), [0]), "expected 8 bytes of data"],
  "too much data": [fileOf(header("'|u1'"), [0, 0]), "but found 2"],
  "an absurd shape": [fileOf(header("'|u1'", "(9007199254740991, 9)"), [0]), "but found 1"],
};

for (const [what, [bytes, message]] of Object.entries(brokenFiles)) {
  Deno.test(`a npy file with ${what} is refused by name`, () => {
    const error = assertThrows(() => parseNpy(bytes, "x.npy"), Error, message);
    assert(error.message.startsWith("Broken npy file x.npy: "), error.message);
  });
}

Deno.test("random damage to a npy file gives a clean error or a right value", () => {
  const file = encodeNpy({ dtype: "f4", shape: [2, 3], data: new Float32Array(6) });
  assertSurvivesDamage(file, (bytes) => {
    const { shape, data } = parseNpy(bytes);
    assertEquals(data.length, shape.reduce((product, size) => product * size, 1));
  }, /^Broken npy file in memory: /);
});
