// The SHA-256 digest of a file, to find out whether it is still as it was written.

/** The size of a file, and the SHA-256 digest of its content in hexadecimal digits. */
export interface FileDigest {
  readonly bytes: number;
  readonly sha256: string;
}

const pieceBytes = 2 ** 20;

/**
 * Reads a file piece by piece and takes its digest.
 *
 * @param path the file
 * @returns its size and digest
 * @throws whatever the file system throws
 *
 * @example
 * ```ts
 * import { assertEquals, assertMatch } from "@std/assert";
 * import { digestFile } from "./file_digest.ts";
 *
 * const path = await Deno.makeTempFile();
 * await Deno.writeTextFile(path, "abc");
 * const { bytes, sha256 } = await digestFile(path);
 * assertEquals(bytes, 3);
 * assertMatch(sha256, /^ba7816bf[0-9a-f]{56}$/);
 * await Deno.remove(path);
 * ```
 */
export async function digestFile(path: string): Promise<FileDigest> {
  const { createHash } = await import("node:crypto");
  using file = await Deno.open(path, { read: true });
  const hash = createHash("sha256");
  const piece = new Uint8Array(pieceBytes);
  let bytes = 0;
  for (let read; (read = await file.read(piece)) !== null; bytes += read) {
    hash.update(piece.subarray(0, read));
  }
  return { bytes, sha256: hash.digest("hex") };
}
