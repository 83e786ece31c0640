// Tiny generated images of shapes with class labels, for trying things out without a download.
import { foldIn, keyFromSeed, uniform } from "../../lib/random/threefry.ts";
import type { ImageDataset } from "./dataset.ts";

/** Whether a shape of half size `r` around the origin covers a point; `t` is half a stroke's width. */
type Shape = (x: number, y: number, r: number, t: number) => boolean;

/** The shapes by class. */
const SHAPES: readonly Shape[] = [
  /* horizontal bar */ (x, y, r, t) => Math.abs(y) <= t && Math.abs(x) <= r,
  /* vertical bar   */ (x, y, r, t) => Math.abs(x) <= t && Math.abs(y) <= r,
  /* disk           */ (x, y, r) => Math.hypot(x, y) <= r,
  /* cross          */ (x, y, r, t) =>
    Math.min(Math.abs(x), Math.abs(y)) <= t && Math.max(Math.abs(x), Math.abs(y)) <= r,
  /* square         */ (x, y, r, t) => Math.abs(Math.max(Math.abs(x), Math.abs(y)) - r + t) <= t,
  /* diagonal cross */ (x, y, r, t) =>
    Math.abs(Math.abs(x) - Math.abs(y)) <= t * Math.SQRT2 && Math.abs(x) <= r,
  /* triangle       */ (x, y, r) => Math.abs(y) <= r && 2 * Math.abs(x) <= y + r,
  /* ring           */ (x, y, r, t) => Math.abs(Math.hypot(x, y) - r + t) <= t,
];

/** The largest number of classes that there are shapes for. */
export const SHAPE_CLASSES: number = SHAPES.length;

/**
 * Generates images of shapes (bars, disks, crosses, …, one shape per class) of random place, size and
 * brightness on black. The classes take turns. Image `i` follows from the seed and `i` alone.
 *
 * @param options `count`: number of images; `size`: rows and columns of an image, at least 6;
 *   `classes`: number of classes, 1 to {@linkcode SHAPE_CLASSES}; `seed`: whole number from 0
 * @returns the images
 * @throws {RangeError} if an option is out of range
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { generateShapes } from "./shapes.ts";
 *
 * const { images, labels } = generateShapes({ count: 4, size: 8, classes: 3, seed: 1 });
 * assertEquals(images.length, 4 * 8 * 8);
 * assertEquals(labels, new Uint8Array([0, 1, 2, 0]));
 * ```
 */
export function generateShapes(
  { count, size, classes, seed }: { count: number; size: number; classes: number; seed: number },
): ImageDataset {
  const ranges = {
    count: [count, 0, 1e6],
    size: [size, 6, 256],
    classes: [classes, 1, 8],
  } as const;
  for (const [option, [value, least, most]] of Object.entries(ranges)) {
    if (Number.isInteger(value) && value >= least && value <= most) continue;
    throw new RangeError(
      `generateShapes: expected ${option} to be a whole number in ${least}..${most} but found ${value}`,
    );
  }
  const key = keyFromSeed(seed);
  const images = new Uint8Array(count * size * size);
  const labels = Uint8Array.from({ length: count }, (_, i) => i % classes);
  for (let i = 0; i < count; i++) {
    const image = images.subarray(i * size * size, (i + 1) * size * size);
    drawShape(image, size, SHAPES[labels[i]], uniform(foldIn(key, i), 4));
  }
  return { images, labels, count, height: size, width: size, classes };
}

/** Draws a shape whose size, place and brightness come from four numbers in [0, 1). */
function drawShape(image: Uint8Array, size: number, shape: Shape, random: Float32Array): void {
  const stroke = Math.max(0.5, size / 16);
  const r = size * (0.25 + 0.15 * random[0]);
  const centerX = r + random[1] * (size - 1 - 2 * r);
  const centerY = r + random[2] * (size - 1 - 2 * r);
  const brightness = 160 + Math.floor(96 * random[3]);
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      if (shape(x - centerX, y - centerY, r, stroke)) image[y * size + x] = brightness;
    }
  }
}
