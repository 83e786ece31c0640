// PNG images in and out, and images laid out as a grid.
import * as fastPng from "npm:fast-png@8.0.0";
import { writeFileAtomically } from "./atomic_write.ts";
import { checkPng } from "./png_check.ts";

/** An image of 8 bits a channel: gray (1 channel), RGB (3) or RGBA (4). */
export interface Image {
  /** Columns of pixels. */
  width: number;
  /** Rows of pixels. */
  height: number;
  /** Values per pixel. */
  channels: 1 | 3 | 4;
  /** Values 0..255, `[height, width, channels]` in row-major order. */
  data: Uint8Array;
}

/**
 * Encodes an image as PNG.
 *
 * @param image the image
 * @returns the content of a PNG file
 * @throws {TypeError} if the data do not fill the image
 * @throws {RangeError} if a size or the number of channels is out of range
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { decodePng, encodePng, type Image } from "./png.ts";
 *
 * const image: Image = { width: 2, height: 1, channels: 1, data: new Uint8Array([0, 255]) };
 * assertEquals(decodePng(encodePng(image)), image);
 * ```
 */
export function encodePng(image: Image): Uint8Array {
  checkImage("encodePng", image);
  return fastPng.encode({ ...image, depth: 8 });
}

/**
 * Decodes a PNG image of any kind: 16 bits a channel are cut to 8, fewer are stretched to 8, palettes
 * become RGB or RGBA, gray with alpha becomes RGBA. Colors marked as transparent stay opaque.
 *
 * @param bytes the content of a PNG file
 * @returns the image
 * @throws {Error} if the bytes are no readable PNG; the message says why
 *
 * @example
 * ```ts
 * import { assertThrows } from "@std/assert";
 * import { decodePng } from "./png.ts";
 *
 * assertThrows(() => decodePng(new Uint8Array(10)), Error, "Broken PNG image");
 * ```
 */
export function decodePng(bytes: Uint8Array): Image {
  try {
    checkPng(bytes);
    const decoded = fastPng.decode(bytes, { checkCrc: true });
    const { width, height } = decoded;
    const image = { width, height, ...eightBit(decoded) };
    checkImage("decodePng", image);
    return image;
  } catch (error) {
    const reason = error instanceof Error ? error.message : error;
    throw new Error(`Broken PNG image: ${reason}`, { cause: error });
  }
}

/**
 * Writes an image to a PNG file, atomically.
 *
 * @param path where the file goes
 * @param image the image
 * @returns a promise that resolves once the file is in place
 * @throws {TypeError} if the data do not fill the image
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { decodePng, writePng } from "./png.ts";
 *
 * const path = await Deno.makeTempFile();
 * await writePng(path, { width: 1, height: 1, channels: 3, data: new Uint8Array([1, 2, 3]) });
 * assertEquals(decodePng(await Deno.readFile(path)).channels, 3);
 * await Deno.remove(path);
 * ```
 */
export async function writePng(path: string | URL, image: Image): Promise<void> {
  await writeFileAtomically(path, encodePng(image));
}

/**
 * Lays images of equal size out as a grid, row by row.
 *
 * @param images at least one image; all of the same width, height and channels
 * @param options `columns`: images in a row; `padding`: pixels between and around the images;
 *   `background`: value 0..255 of the padding and of places without an image
 * @returns the grid as one image
 * @throws {TypeError} if the images differ in size
 * @throws {RangeError} if there is no image or an option is out of range
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { type Image, imageGrid } from "./png.ts";
 *
 * const dot: Image = { width: 1, height: 1, channels: 1, data: new Uint8Array([9]) };
 * const grid = imageGrid([dot, dot], { columns: 2, padding: 1 });
 * assertEquals([grid.width, grid.height], [5, 3]);
 * assertEquals(grid.data.subarray(5, 10), new Uint8Array([0, 9, 0, 9, 0]));
 * ```
 */
export function imageGrid(
  images: readonly Image[],
  { columns, padding = 2, background = 0 }: {
    columns: number;
    padding?: number;
    background?: number;
  },
): Image {
  const wanted = { columns: [columns, 1], padding: [padding, 0] } as const;
  for (const [option, [value, least]] of Object.entries(wanted)) {
    if (Number.isInteger(value) && value >= least) continue;
    throw new RangeError(
      `imageGrid: expected ${option} to be a whole number of at least ${least} but found ${value}`,
    );
  }
  if (images.length === 0) throw new RangeError("imageGrid: expected at least one image");
  const [first] = images;
  const { width, height, channels } = first;
  const gridWidth = padding + columns * (width + padding);
  const gridHeight = padding + Math.ceil(images.length / columns) * (height + padding);
  const data = new Uint8Array(gridWidth * gridHeight * channels).fill(background);
  images.forEach((image, index) => {
    checkImage("imageGrid", image);
    if (describe(image) !== describe(first)) {
      throw new TypeError(
        `imageGrid: expected image ${index} to be ${describe(first)} but found ${describe(image)}`,
      );
    }
    const left = padding + (index % columns) * (width + padding);
    const top = padding + Math.floor(index / columns) * (height + padding);
    for (let row = 0; row < height; row++) {
      const pixels = image.data.subarray(row * width * channels, (row + 1) * width * channels);
      data.set(pixels, ((top + row) * gridWidth + left) * channels);
    }
  });
  return { width: gridWidth, height: gridHeight, channels, data };
}

function describe({ width, height, channels }: Image): string {
  return `${width}x${height} of ${channels} channels`;
}

function checkImage(name: string, { width, height, channels, data }: Image): void {
  if (!Number.isInteger(width) || !Number.isInteger(height) || width < 1 || height < 1) {
    throw new RangeError(`${name}: expected a size of at least 1x1 but found ${width}x${height}`);
  }
  if (channels !== 1 && channels !== 3 && channels !== 4) {
    throw new RangeError(`${name}: expected 1, 3 or 4 channels but found ${channels}`);
  }
  if (data.length !== width * height * channels) {
    throw new TypeError(
      `${name}: expected ${width * height * channels} values but found ${data.length}`,
    );
  }
}

/** The data of a decoded image with 8 bits a channel. */
function eightBit(decoded: fastPng.DecodedPng): Pick<Image, "channels" | "data"> {
  const { width, height, depth, channels, palette } = decoded;
  if (palette) {
    const data = fastPng.convertIndexedToRgb(decoded);
    return { channels: data.length === width * height * 4 ? 4 : 3, data };
  }
  if (depth < 8) {
    const brightest = 2 ** depth - 1;
    const grays = Array.from({ length: 2 ** depth }, (_, i) => [i * 255 / brightest]);
    return { channels: 1, data: fastPng.convertIndexedToRgb({ ...decoded, palette: grays }) };
  }
  const data = Uint8Array.from(decoded.data, depth === 16 ? (value) => value >> 8 : undefined);
  if (channels !== 2) return { channels: channels as Image["channels"], data };
  const rgba = new Uint8Array(width * height * 4);
  for (let pixel = 0; pixel < width * height; pixel++) {
    rgba.fill(data[2 * pixel], 4 * pixel, 4 * pixel + 3);
    rgba[4 * pixel + 3] = data[2 * pixel + 1];
  }
  return { channels: 4, data: rgba };
}
