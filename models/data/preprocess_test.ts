// Tests of crops, flips and ranges; resizing itself is tested beside it.
import { assert, assertEquals, assertThrows } from "@std/assert";
import { augmentImage, pixelsToFloats, randomCrop, tenCrop, VIEWS } from "./preprocess.ts";
import type { RgbImage } from "./resize.ts";

/** An image whose pixels tell their column and row. */
function coordinates(width: number, height: number): RgbImage {
  const data = new Uint8Array(width * height * 3);
  for (let i = 0; i < width * height; i++) {
    data.set([i % width, Math.floor(i / width), 0], 3 * i);
  }
  return { width, height, channels: 3, data };
}

const corner = ({ data }: RgbImage) => [data[0], data[1]];

Deno.test("ten crops are corners and center, then those of the mirror image", () => {
  const crops = tenCrop(coordinates(9, 9), 4);
  // The center begins at 2.5, which Python rounds to the even 2.
  const places = [[0, 0], [5, 0], [0, 5], [5, 5], [2, 2]];
  assertEquals(crops.slice(0, 5).map(corner), places);
  assertEquals(crops.slice(5).map(corner), places.map(([left, top]) => [8 - left, top]));
  assertThrows(() => tenCrop(coordinates(9, 3), 4), RangeError, "at least 4x4 but found 9x3");
});

Deno.test("augmentations make as many views as they say, random ones of every kind", () => {
  const image = coordinates(12, 10);
  for (const [augmentation, views] of Object.entries(VIEWS)) {
    const made = augmentImage(image, 10, augmentation as keyof typeof VIEWS, [1, 2]);
    assertEquals(made.length, views);
    for (const view of made) assertEquals([view.width, view.height], [10, 10]);
  }
  const firsts = Array.from(
    { length: 200 },
    (_, i) => corner(augmentImage(image, 10, "center-flip", [3, i])[0]),
  );
  const mirrored = firsts.filter(([column]) => column === 10).length;
  assert(firsts.every(([column]) => column === 10 || column === 1));
  assert(mirrored > 70 && mirrored < 130, `${mirrored} of 200 are mirrored`);
});

Deno.test("random crops have every place and every scale from 1 to 1/0.8", () => {
  const places = new Set<string>();
  for (let i = 0; i < 400; i++) {
    const { data } = randomCrop(coordinates(12, 8), 8, [5, i]);
    const [left, top] = [data[0], data[1]];
    const [right, bottom] = [data.at(-3)!, data.at(-2)!];
    assert(left < right && right < 12 && top < bottom && bottom < 8);
    places.add([left, top, right, bottom].join());
  }
  // Without scaling there are 5 places; at 9 and 10 pixels of 8, some 2 x 7 and 3 x 8.
  assert(places.size > 30, `${places.size} different crops`);
  assert(places.has("0,0,7,7") && places.has("4,0,11,7"));
});

Deno.test("pixels become floats in -1..1, channels first", () => {
  const floats = pixelsToFloats(new Uint8Array([0, 51, 255, 102, 153, 204]), 1);
  const expected = [-1, -0.6, 1, -0.2, 0.2, 0.6];
  floats.forEach((x, i) => assert(Math.abs(x - expected[i]) < 1e-7, `${x}`));
  const image = Uint8Array.from({ length: 12 }, (_, i) => i % 3 ? 255 : 0);
  assertEquals([...pixelsToFloats(image, 2)], [-1, -1, -1, -1, 1, 1, 1, 1, 1, 1, 1, 1]);
  assertThrows(() => pixelsToFloats(new Uint8Array(11), 2), TypeError, "found 11 values");
});
