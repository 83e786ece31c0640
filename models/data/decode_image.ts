// Decoding PNG and JPEG files of a dataset into RGB, where a damaged file is an error and never a
// picture that is silently wrong.
import decodeJpeg, { init } from "npm:@jsquash/jpeg@1.6.0/decode.js";
import { decodePng, type Image } from "../../lib/formats/png.ts";
import type { RgbImage } from "./resize.ts";

/** The most pixels that an image may claim; decoding one takes some ten bytes for each. */
const MOST_PIXELS = 100_000_000;

/** A block of 8x8 samples takes a bit of a JPEG file or more; subsampled, it covers 256 pixels at most. */
const MOST_PIXELS_PER_BYTE = 8 * 256;

/**
 * Decodes a PNG or JPEG image, told apart by their first bytes, to RGB. Gray is repeated, alpha is
 * dropped, the orientation that a camera noted is not applied: as Pillow's `convert("RGB")` does.
 *
 * @param bytes the content of the file
 * @returns the image
 * @throws {Error} if the bytes are no readable PNG or JPEG: truncated, damaged, in CMYK or of more
 *   than 100 million pixels
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { encodePng } from "../../lib/formats/png.ts";
 * import { decodeImage } from "./decode_image.ts";
 *
 * const gray = encodePng({ width: 2, height: 1, channels: 1, data: new Uint8Array([1, 2]) });
 * assertEquals((await decodeImage(gray)).data, new Uint8Array([1, 1, 1, 2, 2, 2]));
 * ```
 */
export async function decodeImage(bytes: Uint8Array): Promise<RgbImage> {
  if (startsWith(bytes, [0x89, 0x50, 0x4e, 0x47])) {
    if (bytes.length >= 24) {
      const view = new DataView(bytes.buffer, bytes.byteOffset);
      checkSize("PNG", view.getUint32(16), view.getUint32(20));
    }
    return toRgb(decodePng(bytes));
  }
  if (!startsWith(bytes, [0xff, 0xd8])) {
    throw new Error("Broken image: expected it to begin with the signature of PNG or JPEG");
  }
  checkJpeg(bytes);
  const { width, height, data } = await decodeCheckedJpeg(bytes);
  return toRgb({ width, height, channels: 4, data: new Uint8Array(data.buffer) });
}

/**
 * Goes through the segments of a JPEG file, which tells truncated and oversized ones without
 * decoding: the decoder would fill what is missing with gray.
 */
function checkJpeg(bytes: Uint8Array): void {
  let hasFrame = false;
  let at = 2;
  while (true) {
    at = bytes.indexOf(0xff, at);
    while (at >= 0 && bytes[at] === 0xff) at++;
    if (at < 0 || at >= bytes.length) throw brokenJpeg("it is truncated, its end is missing");
    const marker = bytes[at++];
    // Between segments 0 is a byte of compressed data, and restarts stand alone, without a length.
    if (marker <= 0x01 || (marker >= 0xd0 && marker <= 0xd8)) continue;
    if (marker === END_OF_IMAGE) break;
    const length = at + 2 <= bytes.length ? bytes[at] << 8 | bytes[at + 1] : 0;
    if (at + 2 > bytes.length || at + length > bytes.length) {
      throw brokenJpeg(`it is truncated, it ends within the segment at byte ${at - 2}`);
    }
    if (length < 2) throw brokenJpeg(`the segment at byte ${at - 2} has no length`);
    if (marker >= 0xc0 && marker <= 0xcf && !NO_FRAMES.includes(marker)) {
      if (length < 8) throw brokenJpeg("its frame header is too short");
      const [height, width] = [
        bytes[at + 3] << 8 | bytes[at + 4],
        bytes[at + 5] << 8 | bytes[at + 6],
      ];
      checkSize("JPEG", width, height);
      if (width * height > bytes.length * MOST_PIXELS_PER_BYTE) {
        throw brokenJpeg(
          `${bytes.length} bytes cannot hold the ${width}x${height} pixels it claims`,
        );
      }
      if (bytes[at + 7] === 4) throw brokenJpeg("four channels (CMYK) are not supported");
      hasFrame = true;
    }
    at += length;
  }
  if (!hasFrame) throw brokenJpeg("it has no frame");
}

const END_OF_IMAGE = 0xd9;

/** Markers among those of frames that are tables (DHT, JPG, DAC). */
const NO_FRAMES = [0xc4, 0xc8, 0xcc];

/** What the decoder has to say of the image that it is at. */
const complaints: string[] = [];

/** Whether the decoder has to be started (again). */
let needsStart = true;

/** The decoding before, for images take turns so that complaints are of one image. */
let previous: Promise<unknown> = Promise.resolve();

function decodeCheckedJpeg(bytes: Uint8Array): Promise<ImageData> {
  const image = previous.then(() => decodeAlone(bytes));
  previous = image.catch(() => {});
  return image;
}

async function decodeAlone(bytes: Uint8Array): Promise<ImageData> {
  if (needsStart) {
    await init({ printErr: (text: string) => complaints.push(text) });
    needsStart = false;
  }
  complaints.length = 0;
  let image: ImageData;
  try {
    image = await decodeJpeg(bytes.slice().buffer);
  } catch (error) {
    // Each failure leaks memory of the decoder, so the next image gets a fresh one.
    needsStart = true;
    throw brokenJpeg(complaints[0] ?? (error as Error).message, error);
  }
  const complaint = complaints.find((text) => LOST_DATA.test(text));
  if (complaint !== undefined) throw brokenJpeg(complaint);
  return image;
}

/** Complaints about lost data; bytes that are too many before the end of the image are harmless. */
const LOST_DATA = /^(Premature end|Corrupt JPEG data: (?!\d+ extraneous bytes before marker 0xd9))/;

function checkSize(format: string, width: number, height: number): void {
  if (width >= 1 && height >= 1 && width * height <= MOST_PIXELS) return;
  throw new Error(
    `Broken ${format} image: expected 1 to ${MOST_PIXELS} pixels but found ${width}x${height}`,
  );
}

function toRgb({ width, height, channels, data }: Image): RgbImage {
  if (channels === 3) return { width, height, channels, data };
  const rgb = new Uint8Array(width * height * 3);
  const [green, blue] = channels === 1 ? [0, 0] : [1, 2];
  for (let from = 0, to = 0; to < rgb.length; from += channels, to += 3) {
    rgb[to] = data[from];
    rgb[to + 1] = data[from + green];
    rgb[to + 2] = data[from + blue];
  }
  return { width, height, channels: 3, data: rgb };
}

function brokenJpeg(what: string, cause?: unknown): Error {
  return new Error(`Broken JPEG image: ${what}`, { cause });
}

function startsWith(bytes: Uint8Array, signature: number[]): boolean {
  return signature.every((byte, i) => bytes[i] === byte);
}
