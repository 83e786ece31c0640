// Tests of safetensors files: round trips, every kind of broken header, and random damage.
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertNotEquals,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { join } from "@std/path";
import fc from "npm:fast-check@4.10.2";
import {
  openSafetensors,
  parseSafetensors,
  readSafetensors,
  type SafetensorsDtype,
  type SafetensorsInput,
  type SafetensorsTensor,
  writeSafetensors,
} from "./safetensors.ts";
import { arrayClass } from "./safetensors_header.ts";
import { assertSurvivesDamage } from "../../tests/damage.ts";

const folder = await Deno.makeTempDir();
const path = join(folder, "a.safetensors");
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));

/** The bytes of a file with a header as given, be it right or wrong. */
function fileOf(header: unknown, dataBytes = 0): Uint8Array {
  const text = new TextEncoder().encode(
    typeof header === "string" ? header : JSON.stringify(header),
  );
  const bytes = new Uint8Array(8 + text.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
  bytes.set(text, 8);
  return bytes;
}

const dtypes: SafetensorsDtype[] = [
  ...["F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "I64", "I32", "I16", "I8"] as const,
  ...["U64", "U32", "U16", "U8", "BOOL"] as const,
];

const tensor: fc.Arbitrary<SafetensorsTensor> = fc.record({
  dtype: fc.constantFrom(...dtypes),
  shape: fc.array(fc.nat(4), { maxLength: 4 }),
  bytes: fc.uint8Array({ minLength: 2048, maxLength: 2048 }),
}).map(({ dtype, shape, bytes }) => {
  const length = shape.reduce((product, size) => product * size, 1);
  return { dtype, shape, data: new (arrayClass(dtype))(bytes.slice().buffer, 0, length).slice() };
});

function bits(tensors: Record<string, SafetensorsTensor>): Record<string, unknown> {
  return Object.fromEntries(
    Object.keys(tensors).sort().map((name) => {
      const { dtype, shape, data } = tensors[name];
      assertInstanceOf(data, arrayClass(dtype));
      return [name, { dtype, shape, bytes: new Uint8Array(data.buffer, data.byteOffset) }];
    }),
  );
}

Deno.test("what is written is read back bit for bit, by file, by stream and from bytes", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.dictionary(fc.string({ unit: "grapheme" }), tensor),
      fc.dictionary(fc.string(), fc.string()),
      async (tensors, metadata) => {
        await writeSafetensors(path, tensors, metadata);
        const whole = await readSafetensors(path);
        assertEquals(bits(whole.tensors), bits(tensors));
        assertEquals({ ...whole.metadata }, { ...metadata });
        const parsed = parseSafetensors(await Deno.readFile(path));
        assertEquals(bits(parsed.tensors), bits(tensors));
        await using file = await openSafetensors(path);
        const names = Object.keys(tensors).reverse();
        const arrays = await Promise.all(names.map((name) => file.read(name)));
        const read = names.map((name, i) => [name, { ...tensors[name], data: arrays[i] }]);
        assertEquals(bits(Object.fromEntries(read)), bits(tensors));
      },
    ),
    { numRuns: 60 },
  );
});

Deno.test("a file is laid out aligned, padded and the same for the same tensors", async () => {
  const a: SafetensorsInput = { dtype: "U8", shape: [3], data: new Uint8Array([1, 2, 3]) };
  const b: SafetensorsInput = { dtype: "F64", shape: [1], data: () => new Float64Array([0.5]) };
  await writeSafetensors(path, { a, b });
  const first = await Deno.readFile(path);
  assertEquals(new DataView(first.buffer).getBigUint64(0, true) % 8n, 0n);
  const { entries } = await openSafetensors(path).then(async (file) => {
    await file.close();
    await file.close();
    return file;
  });
  assertEquals([...entries.keys()], ["b", "a"]);
  await writeSafetensors(path, { b, a });
  assertEquals(await Deno.readFile(path), first);
});

Deno.test("16-bit floats are written from numbers or from bits", async () => {
  await writeSafetensors(path, {
    bits: { dtype: "F16", shape: [1], data: new Uint16Array([0x3c00]) },
    numbers: { dtype: "F16", shape: [1], data: new Float16Array([1]) },
  });
  const { tensors } = await readSafetensors(path);
  assertEquals(tensors.bits.data, tensors.numbers.data);
  assertEquals(tensors.bits.data[0], 1);
});

Deno.test("writing refuses an array that does not fit, and keeps the old file", async () => {
  await writeSafetensors(path, {}, { version: "old" });
  const wrong: [Record<string, SafetensorsInput>, string][] = [
    [{ a: { dtype: "F32", shape: [2], data: new Float32Array(3) } }, "2 elements but found 3"],
    [{ a: { dtype: "F32", shape: [2], data: new Int32Array(2) } }, "Float32Array but found Int32"],
    [{ a: { dtype: "F32", shape: [-1], data: new Float32Array(0) } }, "non-negative integers"],
    [{ a: { dtype: "F32", shape: [0.5], data: new Float32Array(0) } }, "non-negative integers"],
    [{ a: { dtype: "F31" as "F32", shape: [1], data: new Float32Array(1) } }, "unknown dtype F31"],
    [{ __metadata__: { dtype: "U8", shape: [0], data: new Uint8Array() } }, "names no tensor"],
  ];
  for (const [tensors, message] of wrong) {
    await assertRejects(() => writeSafetensors(path, tensors), TypeError, message);
  }
  assertEquals((await readSafetensors(path)).metadata, { version: "old" });
  assertEquals([...Deno.readDirSync(folder)].map((entry) => entry.name), ["a.safetensors"]);
});

Deno.test("a name that the file does not hold rejects, and later reads still work", async () => {
  await writeSafetensors(path, { a: { dtype: "U8", shape: [1], data: new Uint8Array([5]) } });
  await using file = await openSafetensors(path);
  await assertRejects(() => file.read("b"), RangeError, `holds no tensor "b"`);
  assertEquals(await file.read("a"), new Uint8Array([5]));
});

const f32 = (shape: unknown[], begin: unknown, end: unknown) => ({
  dtype: "F32",
  shape,
  data_offsets: [begin, end],
});

const brokenFiles: Record<string, [bytes: Uint8Array, message: string]> = {
  "no bytes": [new Uint8Array(), "at least 8 bytes but found 0"],
  "a header beyond the end": [fileOf({}).fill(9, 0, 1), "file ends after"],
  "a header above the limit": [fileOf({}).fill(255, 0, 8), "at most 100000000 bytes"],
  "text that is no JSON": [fileOf("{,}"), "valid JSON"],
  "text that is no UTF-8": [fileOf("{}").fill(0xff, 8, 9), "valid JSON"],
  "no object": [fileOf([]), "the header: expected a JSON object"],
  "null for a header": [fileOf("null"), "the header: expected a JSON object"],
  "metadata that are no object": [fileOf({ __metadata__: [] }), "expected a JSON object"],
  "metadata that is no text": [fileOf({ __metadata__: { a: 1 } }), "__metadata__: a: "],
  "a key that stands twice": [
    fileOf(
      `{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},` +
        `"\\u0061":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}`,
    ),
    `"a" stands there twice`,
  ],
  "a field that stands twice": [
    fileOf(`{"a":{"dtype":"F32","dtype":"F32","shape":[0],"data_offsets":[0,0]}}`),
    `"dtype" stands there twice`,
  ],
  "an unknown dtype": [
    fileOf({ w: { dtype: "F12", shape: [0], data_offsets: [0, 0] } }),
    `tensor "w": dtype: `,
  ],
  "an unknown field": [fileOf({ w: { ...f32([0], 0, 0), strides: [] } }), `tensor "w"`],
  "no shape": [fileOf({ w: { dtype: "F32", data_offsets: [0, 0] } }), `tensor "w": shape: `],
  "a negative size": [fileOf({ w: f32([-1], 0, 0) }), `tensor "w": shape.0: `],
  "a fractional size": [fileOf({ w: f32([0.5], 0, 2) }, 2), `tensor "w": shape.0: `],
  "an absurd size": [fileOf({ w: f32([2 ** 53], 0, 0) }), `tensor "w": shape.0: `],
  "an absurd product": [fileOf({ w: f32([2 ** 50, 2 ** 50], 0, 0) }), "too large"],
  "one offset": [
    fileOf({ w: { dtype: "F32", shape: [0], data_offsets: [0] } }),
    `tensor "w": data_offsets`,
  ],
  "a negative offset": [fileOf({ w: f32([1], -4, 0) }), `tensor "w": data_offsets.0: `],
  "offsets that do not fit the shape": [
    fileOf({ w: f32([2], 0, 4) }, 4),
    `tensor "w": expected 8 bytes for shape [2] of F32 but data_offsets [0, 4] hold 4`,
  ],
  "offsets in reverse": [fileOf({ w: f32([1], 4, 0) }, 4), "hold -4"],
  "data beyond the end": [
    fileOf({ w: f32([2], 0, 8) }, 4),
    `tensor "w": expected its data within the file's 4 bytes but it ends at 8`,
  ],
  "an overlap": [fileOf({ v: f32([2], 0, 8), w: f32([1], 4, 8) }, 8), `tensor "w": its data`],
  "the same data twice": [fileOf({ v: f32([1], 0, 4), w: f32([1], 0, 4) }, 4), "overlaps"],
  "a hole": [
    fileOf({ v: f32([1], 0, 4), w: f32([1], 8, 12) }, 12),
    `tensor "w": its data begins at 8, which leaves a hole after byte 4`,
  ],
  "data that no tensor owns": [
    fileOf({ w: f32([1], 0, 4) }, 5),
    "expected 4 bytes of data but found 5",
  ],
};

for (const [what, [bytes, message]] of Object.entries(brokenFiles)) {
  Deno.test(`a safetensors file with ${what} is refused by name`, async () => {
    const error = assertThrows(() => parseSafetensors(bytes, "x.bin"), Error, message);
    assert(error.message.startsWith("Broken safetensors file x.bin: "), error.message);
    await Deno.writeFile(path, bytes);
    await assertRejects(() => openSafetensors(path), Error, message);
    await assertRejects(() => readSafetensors(path), Error, path);
  });
}

Deno.test("a tensor named __proto__ is a tensor like any other", () => {
  const bytes = fileOf(`{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1);
  assertEquals(Object.keys(parseSafetensors(bytes).tensors), ["__proto__"]);
});

Deno.test("parseSafetensors copies, so that the bytes may be reused", () => {
  const bytes = fileOf({ w: { dtype: "U8", shape: [2], data_offsets: [0, 2] } }, 2);
  const { tensors: { w } } = parseSafetensors(bytes);
  bytes.fill(1);
  assertNotEquals(w.data, new Uint8Array([1, 1]));
});

Deno.test("random damage to a safetensors file gives a clean error or a right value", async () => {
  await writeSafetensors(path, {
    weight: { dtype: "F32", shape: [2, 3], data: new Float32Array(6) },
    step: { dtype: "I64", shape: [], data: new BigInt64Array([3n]) },
  }, { model: "tiny" });
  assertSurvivesDamage(await Deno.readFile(path), (bytes) => {
    for (const { dtype, shape, data } of Object.values(parseSafetensors(bytes).tensors)) {
      assertInstanceOf(data, arrayClass(dtype));
      assertEquals(data.length, shape.reduce((product, size) => product * size, 1));
    }
  }, /^Broken safetensors file in memory: /);
});
