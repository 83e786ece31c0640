// Tests of PNG images and grids.
import { assertEquals, assertThrows } from "@std/assert";
import { crc32, deflateSync } from "node:zlib";
import fc from "npm:fast-check@4.10.2";
import { assertSurvivesDamage } from "../../tests/damage.ts";
import { decodePng, encodePng, type Image, imageGrid, writePng } from "./png.ts";

const image: fc.Arbitrary<Image> = fc.record({
  width: fc.integer({ min: 1, max: 9 }),
  height: fc.integer({ min: 1, max: 9 }),
  channels: fc.constantFrom(1, 3, 4),
  bytes: fc.uint8Array({ minLength: 324, maxLength: 324 }),
}).map(({ bytes, ...size }) => ({
  ...size,
  data: bytes.slice(0, size.width * size.height * size.channels),
}));

/** A PNG file put together by hand: `rows` are the bytes of the rows without their filter byte. */
function pngOf(
  [width, height, depth, colorType]: number[],
  rows: number[][],
  extra: [type: string, data: number[]][] = [],
  interlaced = 0,
): Uint8Array {
  const chunk = (type: string, data: Uint8Array | number[]) => {
    const body = new Uint8Array([...new TextEncoder().encode(type), ...data]);
    const bytes = new Uint8Array(body.length + 8);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, data.length);
    bytes.set(body, 4);
    view.setUint32(4 + body.length, crc32(body));
    return [...bytes];
  };
  const size = [width, height].flatMap((n) => [n >>> 24, n >>> 16, n >>> 8, n]);
  return new Uint8Array([
    ...[0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a],
    ...chunk("IHDR", [...size, depth, colorType, 0, 0, interlaced]),
    ...extra.flatMap(([type, data]) => chunk(type, data)),
    ...chunk("IDAT", deflateSync(new Uint8Array(rows.flatMap((row) => [0, ...row])))),
    ...chunk("IEND", []),
  ]);
}

Deno.test("an image survives encoding and decoding", async () => {
  fc.assert(fc.property(image, (image) => assertEquals(decodePng(encodePng(image)), image)));
  const path = await Deno.makeTempFile();
  const dot: Image = { width: 1, height: 1, channels: 1, data: new Uint8Array([7]) };
  await writePng(path, dot);
  assertEquals(decodePng(await Deno.readFile(path)), dot);
  await Deno.remove(path);
});

Deno.test("images of other kinds become 8-bit gray, RGB or RGBA", () => {
  const gray16 = pngOf([2, 1, 16, 0], [[0x12, 0x34, 0xff, 0xff]]);
  assertEquals(decodePng(gray16).data, new Uint8Array([0x12, 0xff]));
  const gray2 = pngOf([3, 2, 2, 0], [[0b00_01_11_00], [0b10_00_01_00]]);
  assertEquals(decodePng(gray2), {
    width: 3,
    height: 2,
    channels: 1,
    data: new Uint8Array([0, 85, 255, 170, 0, 85]),
  });
  const grayAlpha = pngOf([1, 1, 8, 4], [[5, 6]]);
  assertEquals(decodePng(grayAlpha).data, new Uint8Array([5, 5, 5, 6]));
  const indexed = pngOf([2, 1, 1, 3], [[0b01_000000]], [["PLTE", [1, 2, 3, 4, 5, 6]]]);
  assertEquals(decodePng(indexed), {
    width: 2,
    height: 1,
    channels: 3,
    data: new Uint8Array([1, 2, 3, 4, 5, 6]),
  });
  const alpha: [string, number[]][] = [["PLTE", [1, 2, 3, 4, 5, 6]], ["tRNS", [0]]];
  const transparent = pngOf([2, 1, 1, 3], [[0b01_000000]], alpha);
  assertEquals(decodePng(transparent).data, new Uint8Array([1, 2, 3, 0, 4, 5, 6, 255]));
});

Deno.test("an image that its data do not fill is refused", () => {
  const image: Image = { width: 2, height: 2, channels: 1, data: new Uint8Array(3) };
  assertThrows(() => encodePng(image), TypeError, "expected 4 values but found 3");
  assertThrows(() => encodePng({ ...image, width: 0 }), RangeError, "0x2");
  assertThrows(() => encodePng({ ...image, channels: 2 as 1 }), RangeError, "2");
});

Deno.test("an image that claims absurd sizes is refused before memory is taken", () => {
  const bomb = pngOf([0x7fffffff, 0x7fffffff, 8, 6], [[0]]);
  assertThrows(() => decodePng(bomb), Error, "cannot hold the 2147483647x2147483647 pixels");
  assertThrows(() => decodePng(new Uint8Array()), Error, "Broken PNG image: it ends within");
  assertThrows(() => decodePng(pngOf([4, 4, 8, 0], [[0]])), Error, "Broken PNG image: ");
});

Deno.test("interlaced images are read", () => {
  const passes = [[1], [3], [2], [4, 5, 6]];
  const { data } = decodePng(pngOf([3, 2, 8, 0], passes, [], 1));
  assertEquals(data, new Uint8Array([1, 2, 3, 4, 5, 6]));
  const cut = pngOf([3, 2, 8, 0], passes.slice(0, 3), [], 1);
  assertThrows(() => decodePng(cut), Error, "expected 10 bytes of pixels but found 6");
});

Deno.test("pixels that are too few or too many for the image are refused", () => {
  const rows = [[1, 2, 3, 4], [5, 6, 7, 8]];
  assertEquals(decodePng(pngOf([4, 2, 8, 0], rows)).data, new Uint8Array(rows.flat()));
  const problem = (rows: number[][]) => () => decodePng(pngOf([4, 2, 8, 0], rows));
  assertThrows(problem([[1, 2, 3, 4], [5, 6]]), Error, "expected 10 bytes of pixels but found 8");
  const bomb = Array.from({ length: 10_000 }, () => rows[0]!);
  assertThrows(problem(bomb), Error, "expected 10 bytes of pixels but found more");
});

Deno.test("a file whose chunks do not fill it is refused", () => {
  const file = pngOf([2, 1, 8, 0], [[1, 2]]);
  const cases: [Uint8Array, string][] = [
    [file.slice(0, -12), "expected an IEND chunk but it ends"],
    [file.slice(0, -16), "it ends within a chunk of type IDAT"],
    [new Uint8Array([...file.slice(0, 8), ...file.slice(33), ...file.slice(8, 33)]), "first chunk"],
    [Uint8Array.from(file, (byte, i) => i === 1 ? 0 : byte), "the signature of the format"],
  ];
  for (const [bytes, problem] of cases) {
    assertThrows(() => decodePng(bytes), Error, problem);
    assertThrows(() => decodePng(bytes), Error, "Broken PNG image: ");
  }
});

Deno.test("random damage to a PNG image gives a clean error or a right value", () => {
  const data = Uint8Array.from({ length: 48 }, (_, i) => i * 7);
  const file = encodePng({ width: 4, height: 4, channels: 3, data });
  assertSurvivesDamage(file, (bytes) => {
    const { width, height, channels, data } = decodePng(bytes);
    assertEquals(data.length, width * height * channels);
  }, /^Broken PNG image: /);
});

Deno.test("imageGrid places images row by row and fills the rest with the background", () => {
  const dot = (value: number): Image => ({
    width: 1,
    height: 2,
    channels: 1,
    data: new Uint8Array([value, value + 1]),
  });
  const grid = imageGrid([dot(1), dot(3), dot(5)], { columns: 2, padding: 1, background: 9 });
  assertEquals([grid.width, grid.height, grid.channels], [5, 7, 1]);
  const rows = Array.from({ length: 7 }, (_, y) => [...grid.data.slice(y * 5, y * 5 + 5)]);
  assertEquals(rows, [
    [9, 9, 9, 9, 9],
    [9, 1, 9, 3, 9],
    [9, 2, 9, 4, 9],
    [9, 9, 9, 9, 9],
    [9, 5, 9, 9, 9],
    [9, 6, 9, 9, 9],
    [9, 9, 9, 9, 9],
  ]);
});

Deno.test("imageGrid refuses images of different sizes and bad options", () => {
  const a: Image = { width: 1, height: 1, channels: 1, data: new Uint8Array(1) };
  const b: Image = { width: 1, height: 1, channels: 3, data: new Uint8Array(3) };
  assertThrows(() => imageGrid([a, b], { columns: 2 }), TypeError, "image 1 to be 1x1 of 1");
  assertThrows(() => imageGrid([], { columns: 2 }), RangeError, "at least one image");
  assertThrows(() => imageGrid([a], { columns: 0 }), RangeError, "columns");
  assertThrows(() => imageGrid([a], { columns: 1, padding: -1 }), RangeError, "padding");
});
