// Tests of resizing against values that Pillow computed.
import { assertEquals, assertThrows } from "@std/assert";
import fixture from "../../tests/fixtures/preprocess.json" with { type: "json" };
import { centerCrop } from "./preprocess.ts";
import { resizeImage, type RgbImage } from "./resize.ts";

/** The image that the fixture's formula gives. */
function source([width, height]: number[]): RgbImage {
  const data = Uint8Array.from({ length: width * height * 3 }, (_, i) => {
    const [x, y, c] = [Math.floor(i / 3) % width, Math.floor(i / 3 / width), i % 3];
    return x * 37 + y * 91 + c * 53 + x * y * 7;
  });
  return { width, height, channels: 3, data };
}

for (const { from, to: [width, height], filter, data } of fixture.resize) {
  Deno.test(`${filter} from ${from.join("x")} to ${width}x${height} gives Pillow's values`, () => {
    const resized = resizeImage(source(from), width, height, filter as "box" | "bicubic");
    assertEquals(resized, { width, height, channels: 3, data: Uint8Array.fromBase64(data) });
  });
}

for (const { from, size, data } of fixture.centerCrop) {
  Deno.test(`the center crop of ${from.join("x")} to ${size} is ADM's`, () => {
    assertEquals(centerCrop(source(from), size).data, Uint8Array.fromBase64(data));
  });
}

Deno.test("bicubic weights are Keys' kernel, by hand", () => {
  // Doubling [0, 0, 255, 0, 0]: between pixels at distances 1/4, 3/4, 5/4, 7/4 of the kernel.
  const gray = [0, 0, 255, 0, 0].flatMap((x) => [x, x, x]);
  const image: RgbImage = { width: 5, height: 1, channels: 3, data: new Uint8Array(gray) };
  const doubled = resizeImage(image, 10, 1, "bicubic").data.filter((_, i) => i % 3 === 0);
  const kernel = (x: number) =>
    x < 1 ? 1.5 * x ** 3 - 2.5 * x ** 2 + 1 : -0.5 * x ** 3 + 2.5 * x ** 2 - 4 * x + 2;
  const near = Math.round(255 * kernel(0.25)), far = Math.round(255 * kernel(0.75));
  assertEquals([...doubled], [0, 0, 0, far, near, near, far, 0, 0, 0]);
});

Deno.test("resizeImage refuses sizes that are not whole numbers from 1", () => {
  assertThrows(() => resizeImage(source([2, 2]), 0, 1, "box"), RangeError, "width");
  assertThrows(() => resizeImage(source([2, 2]), 1, 1.5, "box"), RangeError, "height");
});
