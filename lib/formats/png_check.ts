// Checking the structure of a PNG file before it is decoded: chunks, and the amount of its pixels.
// Format: https://www.w3.org/TR/png-3/
import { Unzlib } from "npm:fflate@0.8.3";

/** Deflate writes at most 258 bytes for 2 bits. */
const LARGEST_DEFLATE_RATIO = 1032;

/** Bytes that are inflated at once, which bounds the memory that a lie can take. */
const PIECE = 2 ** 14;

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

/** Where the bytes of a file stand that hold its header's fields. */
const HEADER_END = 33;

/**
 * Checks that the chunks of a PNG file fill it, and that its pixels fill the image that it claims.
 *
 * @throws {Error} If they do not; the message says where.
 */
export function checkPng(bytes: Uint8Array): void {
  if (bytes.length < HEADER_END) throw new Error("it ends within its header");
  if (SIGNATURE.some((byte, i) => bytes[i] !== byte)) {
    throw new Error("expected it to begin with the signature of the format");
  }
  if (chunkType(bytes, SIGNATURE.length) !== "IHDR") {
    throw new Error("expected its first chunk to be IHDR");
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const pixels = pixelBytes(view);
  if (pixels > bytes.length * LARGEST_DEFLATE_RATIO) {
    const size = `${view.getUint32(16)}x${view.getUint32(20)}`;
    throw new Error(`${bytes.length} bytes cannot hold the ${size} pixels it claims`);
  }
  let found = 0;
  const inflate = new Unzlib((piece) => {
    found += piece.length;
    if (found > pixels) throw new Error(`expected ${pixels} bytes of pixels but found more`);
  });
  for (let at = SIGNATURE.length, type = ""; type !== "IEND";) {
    if (at + 12 > bytes.length) throw new Error("expected an IEND chunk but it ends");
    const start = at + 8, end = start + view.getUint32(at);
    type = chunkType(bytes, at);
    if (end + 4 > bytes.length) throw new Error(`it ends within a chunk of type ${type}`);
    if (type === "IHDR" && at !== SIGNATURE.length) throw new Error("it has two IHDR chunks");
    for (let piece = start; type === "IDAT" && piece < end; piece += PIECE) {
      inflate.push(bytes.subarray(piece, Math.min(end, piece + PIECE)));
    }
    at = end + 4;
  }
  inflate.push(new Uint8Array(), true);
  if (found !== pixels) {
    throw new Error(`expected ${pixels} bytes of pixels but found ${found}`);
  }
}

function chunkType(bytes: Uint8Array, at: number): string {
  return String.fromCharCode(...bytes.subarray(at + 4, at + 8));
}

/** The steps of Adam7: where each begins, and how far its columns and rows are apart. */
const PASSES = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
] as const;

/** Bytes of all rows before compression, with the filter byte of each. */
function pixelBytes(view: DataView): number {
  const [width, height, depth] = [view.getUint32(16), view.getUint32(20), view.getUint8(24)];
  const bits = depth * ({ 2: 3, 4: 2, 6: 4 }[view.getUint8(25)] ?? 1);
  const rows = (columns: number, count: number) =>
    columns > 0 && count > 0 ? count * (1 + Math.ceil(columns * bits / 8)) : 0;
  if (view.getUint8(28) === 0) return rows(width, height);
  return PASSES.reduce(
    (sum, [left, top, across, down]) =>
      sum + rows(Math.ceil((width - left) / across), Math.ceil((height - top) / down)),
    0,
  );
}
