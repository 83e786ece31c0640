/** Archives and images with right checksums around damaged content. */
import { crc32 } from "node:zlib";

/** A zip archive with stored entries. */
export function storedZip(entries: readonly (readonly [string, Uint8Array])[]): Uint8Array {
  const parts: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let offset = 0;
  const add = (to: Uint8Array[], ...pieces: Uint8Array[]) => to.push(...pieces);
  for (const [name, content] of entries) {
    const encoded = new TextEncoder().encode(name);
    const common = fields([
      [2, 20],
      [2, 0],
      [2, 0],
      [4, 0x210000],
      [4, crc32(content)],
      [4, content.length],
      [4, content.length],
      [2, encoded.length],
      [2, 0],
    ]);
    add(parts, fields([[4, 0x04034b50]]), common, encoded, content);
    const rest = fields([[2, 0], [2, 0], [2, 0], [4, 0], [4, offset]]);
    add(directory, fields([[4, 0x02014b50], [2, 20]]), common, rest, encoded);
    offset += 30 + encoded.length + content.length;
  }
  const size = directory.reduce((sum, { length }) => sum + length, 0);
  const end = fields([
    [4, 0x06054b50],
    [4, 0],
    [2, entries.length],
    [2, entries.length],
    [4, size],
    [4, offset],
    [2, 0],
  ]);
  return joined([...parts, ...directory, end]);
}

/** Little-endian integers of given widths. */
function fields(list: readonly (readonly [width: 2 | 4, value: number])[]): Uint8Array {
  return joined(
    list.map(([width, value]) => Uint8Array.from({ length: width }, (_, i) => value >>> (8 * i))),
  );
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const result = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}

/** Writes the checksums that the chunks of a PNG image should have, as far as they can be found. */
export function withPngChecksums(bytes: Uint8Array): Uint8Array {
  const result = new Uint8Array(bytes);
  const view = new DataView(result.buffer);
  for (let at = 8; at + 12 <= result.length;) {
    const end = at + 8 + view.getUint32(at);
    if (end + 4 > result.length) break;
    view.setUint32(end, crc32(result.subarray(at + 4, end)));
    at = end + 4;
  }
  return result;
}
