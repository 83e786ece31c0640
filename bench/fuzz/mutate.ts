/** Damage to files: small changes that keep most of a file as it was. */

/** Numbers in 0..1, the same for the same seed (mulberry32). */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

const numbers = ["-1", "0", "1", "2", "1.5", "1e9", "1e999", "255", "65536", "4294967296"]
  .concat(["9007199254740993", "99999999999999999999", "NaN", "null", "true", '""', "[]", "{}"]);
const words = ["{", "}", "[", "]", ",", ":", '"', "'", "(", ")", "\\", "\n", "\0", "\ud800"]
  .concat(["__proto__", "constructor", "F32", "F64", "BF16", "<f4", ">f8", "|O", "shape", "dtype"]);
const words32 = [0, 1, 0x7f, 0xff, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff, 100, 1000];

/**
 * Damages a file in one to four places.
 *
 * @param file The file, which stays as it is.
 * @param other Another file, of which pieces may be put in.
 * @param random Numbers in 0..1.
 * @returns A damaged copy.
 */
export function mutate(file: Uint8Array, other: Uint8Array, random: () => number): Uint8Array {
  let bytes = new Uint8Array(file);
  for (let count = 1 + Math.floor(random() ** 2 * 4); count > 0; count--) {
    bytes = mutateOnce(bytes, other, random);
  }
  return bytes;
}

function mutateOnce(
  bytes: Uint8Array<ArrayBuffer>,
  other: Uint8Array,
  random: () => number,
): Uint8Array<ArrayBuffer> {
  const below = (end: number) => Math.floor(random() * end);
  const pick = <T>(list: readonly T[]): T => list[below(list.length)]!;
  // Faults near the beginning, in the headers, are the interesting ones.
  const place = () => below(random() < 0.5 ? Math.min(bytes.length, 300) : bytes.length);
  const replace = (start: number, end: number, piece: Uint8Array) => {
    const result = new Uint8Array(start + piece.length + Math.max(0, bytes.length - end));
    result.set(bytes.subarray(0, start));
    result.set(piece, start);
    if (end < bytes.length) result.set(bytes.subarray(end), start + piece.length);
    return result;
  };
  const text = (word: string) => new TextEncoder().encode(word);
  const at = place();
  switch (below(9)) {
    case 0: // flip a bit
      if (at < bytes.length) bytes[at]! ^= 1 << below(8);
      return bytes;
    case 1: // overwrite bytes
      for (let i = at; i < Math.min(bytes.length, at + 1 + below(8)); i++) bytes[i] = below(256);
      return bytes;
    case 2: // cut off
      return bytes.slice(0, at);
    case 3: // insert random bytes
      return replace(at, at, Uint8Array.from({ length: 1 + below(8) }, () => below(256)));
    case 4: // remove bytes
      return replace(at, at + 1 + below(16), new Uint8Array());
    case 5: { // put in a piece of a file
      const start = below(other.length);
      const piece = other.subarray(start, start + 1 + below(64));
      return replace(at, random() < 0.5 ? at : at + piece.length, piece);
    }
    case 6: { // another number where there is one in digits
      const digits: number[] = [];
      for (let i = 0; i < Math.min(bytes.length, 4096); i++) {
        if (bytes[i]! >= 48 && bytes[i]! <= 57) digits.push(i);
      }
      const start = digits.length > 0 ? pick(digits) : at;
      let end = start;
      while (end < bytes.length && bytes[end]! >= 48 && bytes[end]! <= 57) end++;
      return replace(start, end, text(pick(numbers)));
    }
    case 7: { // another binary number
      const width = pick([1, 2, 4, 8]);
      if (at + width > bytes.length) return bytes;
      const view = new DataView(bytes.buffer, at, width);
      const value = pick(words32), little = random() < 0.5;
      if (width === 1) view.setUint8(0, value);
      else if (width === 2) view.setUint16(0, value, little);
      else if (width === 4) view.setUint32(0, value, little);
      else view.setBigUint64(0, BigInt(value) * pick([1n, 0x1_0000_0001n]), little);
      return bytes;
    }
    default: // insert a word
      return replace(at, at, text(pick(words)));
  }
}
