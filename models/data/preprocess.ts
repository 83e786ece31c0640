// From decoded images to what a tokenizer sees: crops, flips and the range [-1, 1].
// Source: Dhariwal and Nichol, "Diffusion Models Beat GANs on Image Synthesis" (2021), the code's
// center_crop_arr and random_crop_arr; torchvision's TenCrop.
import { type Key, split, uniform } from "../../lib/random/threefry.ts";
import { resizeImage, type RgbImage } from "./resize.ts";

/**
 * The views that are made of an image:
 * - `"center"`: the center crop;
 * - `"center-flip"`: the center crop, mirrored at random;
 * - `"random-crop"`: a random crop of 0.8 to 1 of the shorter side, mirrored at random;
 * - `"flips"`: two views, the center crop and its mirror image;
 * - `"ten-crop"`: ten views, corners and center of the center crop at 1.1 times the size, then the
 *   same of its mirror image.
 */
export type Augmentation = keyof typeof VIEWS;

/** The number of views that each augmentation makes of an image. */
export const VIEWS = {
  "center": 1,
  "center-flip": 1,
  "random-crop": 1,
  "flips": 2,
  "ten-crop": 10,
} as const;

/** How much larger than the result the square is that ten crops are taken from. */
const TEN_CROP_SCALE = 1.1;

/**
 * The views of an image under an augmentation, all drawn under one key.
 *
 * @param image an image of any size
 * @param size rows and columns of a view
 * @param augmentation which views
 * @param key what random views follow from
 * @returns as many views as {@linkcode VIEWS} says, each `[size, size, 3]`
 * @throws {RangeError} if the size is not a whole number from 1
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { augmentImage } from "./preprocess.ts";
 *
 * const image = { width: 9, height: 7, channels: 3, data: new Uint8Array(9 * 7 * 3) } as const;
 * assertEquals(augmentImage(image, 4, "ten-crop", [0, 0]).length, 10);
 * ```
 */
export function augmentImage(
  image: RgbImage,
  size: number,
  augmentation: Augmentation,
  key: Key,
): RgbImage[] {
  const [cropKey, flipKey] = split(key);
  const maybeFlip = (view: RgbImage) =>
    uniform(flipKey, 1)[0] < 0.5 ? flipHorizontally(view) : view;
  switch (augmentation) {
    case "center":
      return [centerCrop(image, size)];
    case "center-flip":
      return [maybeFlip(centerCrop(image, size))];
    case "random-crop":
      return [maybeFlip(randomCrop(image, size, cropKey))];
    case "flips": {
      const view = centerCrop(image, size);
      return [view, flipHorizontally(view)];
    }
    case "ten-crop":
      return tenCrop(centerCrop(image, Math.trunc(size * TEN_CROP_SCALE)), size);
  }
}

/**
 * The center crop of ADM: the image is halved by a box filter as long as its shorter side is at
 * least twice the size, resized by a bicubic filter until it is the size, and cropped to a square.
 *
 * @param image an image of any size
 * @param size rows and columns of the result
 * @returns the crop, `[size, size, 3]`
 * @throws {RangeError} if the size is not a whole number from 1
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { centerCrop } from "./preprocess.ts";
 *
 * const data = new Uint8Array([1, 1, 1, 2, 2, 2, 3, 3, 3]);
 * const crop = centerCrop({ width: 3, height: 1, channels: 3, data }, 1);
 * assertEquals(crop.data, new Uint8Array([2, 2, 2]));
 * ```
 */
export function centerCrop(image: RgbImage, size: number): RgbImage {
  const resized = resizeShorterSide(image, size);
  const left = Math.floor((resized.width - size) / 2);
  return cropImage(resized, left, Math.floor((resized.height - size) / 2), size);
}

/**
 * The random crop of ADM: the shorter side is resized to between 1 and 1/0.8 times the size, then a
 * square is cut out anywhere.
 *
 * @param image an image of any size
 * @param size rows and columns of the result
 * @param key what scale and place follow from
 * @returns the crop, `[size, size, 3]`
 * @throws {RangeError} if the size is not a whole number from 1
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { randomCrop } from "./preprocess.ts";
 *
 * const image = { width: 9, height: 7, channels: 3, data: new Uint8Array(9 * 7 * 3) } as const;
 * assertEquals(randomCrop(image, 4, [0, 1]), randomCrop(image, 4, [0, 1]));
 * ```
 */
export function randomCrop(image: RgbImage, size: number, key: Key): RgbImage {
  const smallestFraction = 0.8;
  const [scale, horizontal, vertical] = uniform(key, 3);
  const longest = Math.ceil(size / smallestFraction);
  const resized = resizeShorterSide(image, size + Math.floor(scale * (longest - size + 1)));
  const left = Math.floor(horizontal * (resized.width - size + 1));
  return cropImage(resized, left, Math.floor(vertical * (resized.height - size + 1)), size);
}

/**
 * Ten crops of an image: top left, top right, bottom left, bottom right, center, and the same five
 * of the mirrored image.
 *
 * @param image an image of at least the size
 * @param size rows and columns of a crop
 * @returns the ten crops, each `[size, size, 3]`
 * @throws {RangeError} if the image is smaller
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tenCrop } from "./preprocess.ts";
 *
 * const data = new Uint8Array([1, 1, 1, 2, 2, 2]);
 * const crops = tenCrop({ width: 2, height: 1, channels: 3, data }, 1);
 * assertEquals(crops.map((crop) => crop.data[0]), [1, 2, 1, 2, 1, 2, 1, 2, 1, 2]);
 * ```
 */
export function tenCrop(image: RgbImage, size: number): RgbImage[] {
  const [right, bottom] = [image.width - size, image.height - size];
  const corners = [[0, 0], [right, 0], [0, bottom], [right, bottom]];
  const center = [roundHalfEven(right / 2), roundHalfEven(bottom / 2)];
  return [image, flipHorizontally(image)].flatMap((side) =>
    [...corners, center].map(([left, top]) => cropImage(side, left, top, size))
  );
}

/**
 * Mirrors an image left to right.
 *
 * @param image the image
 * @returns the mirror image
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { flipHorizontally } from "./preprocess.ts";
 *
 * const data = new Uint8Array([1, 2, 3, 4, 5, 6]);
 * const flipped = flipHorizontally({ width: 2, height: 1, channels: 3, data });
 * assertEquals(flipped.data, new Uint8Array([4, 5, 6, 1, 2, 3]));
 * ```
 */
export function flipHorizontally({ width, height, data }: RgbImage): RgbImage {
  const flipped = new Uint8Array(data.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from = 3 * (y * width + x);
      flipped.set(data.subarray(from, from + 3), 3 * (y * width + width - 1 - x));
    }
  }
  return { width, height, channels: 3, data: flipped };
}

/**
 * Pixels as the numbers that tokenizers see: 0..255 to -1..1, channels before rows and columns.
 *
 * @param pixels values 0..255, `[count, size, size, channels]`
 * @param size rows and columns of an image
 * @param channels values per pixel, by default 3
 * @returns `[count, channels, size, size]` in -1..1
 * @throws {TypeError} if the pixels are not a whole number of images
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { pixelsToFloats } from "./preprocess.ts";
 *
 * assertEquals(pixelsToFloats(new Uint8Array([0, 255, 0]), 1), new Float32Array([-1, 1, -1]));
 * ```
 */
export function pixelsToFloats(
  pixels: Uint8Array,
  size: number,
  channels = 3,
): Float32Array<ArrayBuffer> {
  const area = size * size;
  if (!(pixels.length % (area * channels) === 0)) {
    throw new TypeError(
      `pixelsToFloats: expected images of [${size}, ${size}, ${channels}] but found ${pixels.length} values`,
    );
  }
  const floats = new Float32Array(pixels.length);
  for (let image = 0; image < pixels.length; image += area * channels) {
    for (let channel = 0; channel < channels; channel++) {
      const plane = image + channel * area;
      for (let i = 0; i < area; i++) {
        floats[plane + i] = FLOAT_OF_BYTE[pixels[image + i * channels + channel]];
      }
    }
  }
  return floats;
}

/** x / 255 as a float of 32 bits, then (x - 0.5) / 0.5, as torchvision computes it. */
const FLOAT_OF_BYTE = Float32Array.from(
  { length: 256 },
  (_, x) => (Math.fround(x / 255) - 0.5) * 2,
);

/** Halves by the box filter while both sides stay at least `size`, then resizes bicubically. */
function resizeShorterSide(image: RgbImage, size: number): RgbImage {
  if (!Number.isInteger(size) || size < 1) {
    throw new RangeError(
      `crop: expected size to be a whole number of at least 1 but found ${size}`,
    );
  }
  let halved = image;
  while (Math.min(halved.width, halved.height) >= 2 * size) {
    const [width, height] = [halved.width, halved.height].map((side) => Math.floor(side / 2));
    halved = resizeImage(halved, width, height, "box");
  }
  const scale = size / Math.min(halved.width, halved.height);
  const [width, height] = [halved.width, halved.height].map((side) => roundHalfEven(side * scale));
  return resizeImage(halved, width, height, "bicubic");
}

function cropImage(image: RgbImage, left: number, top: number, size: number): RgbImage {
  if (image.width < size || image.height < size) {
    throw new RangeError(
      `crop: expected an image of at least ${size}x${size} but found ${image.width}x${image.height}`,
    );
  }
  const data = new Uint8Array(size * size * 3);
  for (let y = 0; y < size; y++) {
    const from = 3 * ((top + y) * image.width + left);
    data.set(image.data.subarray(from, from + 3 * size), 3 * y * size);
  }
  return { width: size, height: size, channels: 3, data };
}

/** Rounds to the nearest whole number, a half to the even one, as Python does. */
function roundHalfEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}
