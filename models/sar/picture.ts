/** Pictures of recipes: in which order the cells of a grid come, and which of them form a set. */
import type { Image } from "../../lib/formats/png.ts";
import { setIds } from "./masks.ts";
import { type Grid, invertOrder } from "./order.ts";

/** Pixels of a cell and of the gap between cells, and of the space around and between the panels. */
const cell = 28, gap = 2, space = 12;

/** Pixels of a digit's dot. */
const dot = 2;

/** Digits of three columns and five rows, a bit for each dot, row by row. */
const digits = [
  0b111101101101111,
  0b010110010010111,
  0b111001111100111,
  0b111001111001111,
  0b101101111001001,
  0b111100111001111,
  0b111100111101111,
  0b111001010010010,
  0b111101111101111,
  0b111101111001111,
];

/** Colors from first to last: blue, green, yellow, red. */
const ramp = [[38, 70, 150], [42, 157, 143], [233, 196, 106], [231, 111, 81]] as const;

/** Colors of numbers, on dark and on bright cells. */
const white = [255, 255, 255] as const, black = [20, 20, 20] as const;

type Color = readonly number[];

/**
 * Draws a grid twice: on the left each cell with its place in the order, on the right each with the number of its set,
 * both from 1. Colors run from blue for the first over green and yellow to red for the last.
 *
 * @param grid Height and width, N = H·W.
 * @param order Cell at each place [N].
 * @param intervals Set sizes [K].
 * @returns An RGB image; numbers that do not fit a cell are left out.
 * @throws {TypeError} If the order does not have a place for every cell.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { drawRecipe } from "./picture.ts";
 *
 * const { width, height } = drawRecipe({ height: 1, width: 2 }, [1, 0], [2]);
 * assertEquals([width, height], [152, 52]);
 * ```
 */
export function drawRecipe(
  grid: Grid,
  order: ArrayLike<number>,
  intervals: ArrayLike<number>,
): Image {
  const count = grid.height * grid.width;
  if (order.length !== count) {
    throw new TypeError(
      `drawRecipe: expected an order of ${count} cells but found ${order.length}`,
    );
  }
  const pitch = cell + gap;
  const panel = { width: grid.width * pitch - gap, height: grid.height * pitch - gap };
  const width = 3 * space + 2 * panel.width, height = 2 * space + panel.height;
  const image: Image = {
    width,
    height,
    channels: 3,
    data: new Uint8Array(width * height * 3).fill(255),
  };
  const places = invertOrder(order);
  const sets = setIds(intervals);
  const panels = [
    { last: count, number: (at: number) => places[at]! + 1 },
    { last: intervals.length, number: (at: number) => sets[places[at]!]! },
  ];
  for (const [i, { last, number }] of panels.entries()) {
    const start = space + i * (panel.width + space);
    for (let at = 0; at < count; at++) {
      const left = start + at % grid.width * pitch;
      const top = space + Math.floor(at / grid.width) * pitch;
      const value = number(at);
      const color = colorOf(last === 1 ? 0 : (value - 1) / (last - 1));
      fill(image, left, top, cell, color);
      write(image, left, top, String(value), color[1]! > 150 ? black : white);
    }
  }
  return image;
}

/** The color of a share of the ramp, 0..1. */
function colorOf(share: number): Color {
  const at = share * (ramp.length - 1);
  const first = Math.min(Math.floor(at), ramp.length - 2);
  return ramp[first]!.map((value, i) => value + (ramp[first + 1]![i]! - value) * (at - first));
}

function fill(image: Image, left: number, top: number, size: number, color: Color): void {
  for (let row = top; row < top + size; row++) {
    for (let column = left; column < left + size; column++) {
      image.data.set(color, (row * image.width + column) * 3);
    }
  }
}

/** Writes a number into the middle of a cell, if it fits. */
function write(image: Image, left: number, top: number, text: string, color: Color): void {
  const advance = 4 * dot;
  const width = text.length * advance - dot;
  if (width > cell) return;
  const start = {
    x: left + Math.floor((cell - width) / 2),
    y: top + Math.floor((cell - 5 * dot) / 2),
  };
  for (const [i, character] of [...text].entries()) {
    for (let bit = 0; bit < 15; bit++) {
      if (!(digits[Number(character)]! >> (14 - bit) & 1)) continue;
      const x = start.x + i * advance + bit % 3 * dot;
      fill(image, x, start.y + Math.floor(bit / 3) * dot, dot, color);
    }
  }
}
