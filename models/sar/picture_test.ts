/** Tests of pictures of recipes. */
import { assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import type { Image } from "../../lib/formats/png.ts";
import { drawRecipe } from "./picture.ts";

/** The color of a panel's cell, at its corner, where no number is. */
function colorAt({ width, data }: Image, left: number, top: number): string {
  const at = (top * width + left) * 3;
  return data.subarray(at, at + 3).join(",");
}

Deno.test("cells are colored by place on the left and by set on the right", () => {
  const picture = drawRecipe({ height: 2, width: 2 }, [3, 0, 1, 2], [1, 2, 1]);
  const corners = (panel: number) =>
    [0, 1, 2, 3].map((cell) =>
      colorAt(picture, 12 + panel * 70 + cell % 2 * 30, 12 + Math.floor(cell / 2) * 30)
    );
  const order = corners(0), sets = corners(1);
  assertEquals(new Set(order).size, 4);
  assertEquals(order[3], "38,70,150"); // the first place
  assertEquals(sets[3], order[3]);
  assertEquals(sets[0], sets[1]);
  assertEquals(sets[2], order[2]); // the last place, the last set
  assertNotEquals(sets[0], sets[2]);
});

Deno.test("numbers are written where they fit a cell", () => {
  const height = 40, width = 40; // the last places have four digits
  const order = Array.from({ length: height * width }, (_, i) => i);
  const picture = drawRecipe({ height, width }, order, [1600]);
  const colorsOf = (cell: number) => {
    const left = 12 + cell % width * 30, top = 12 + Math.floor(cell / width) * 30;
    const pixels = Array.from(
      { length: 28 * 28 },
      (_, i) => colorAt(picture, left + i % 28, top + Math.floor(i / 28)),
    );
    return new Set(pixels).size;
  };
  assertEquals([colorsOf(998), colorsOf(999)], [2, 1]);
  assertThrows(() => drawRecipe({ height: 2, width: 2 }, [0], [1]), TypeError, "4 cells");
});
