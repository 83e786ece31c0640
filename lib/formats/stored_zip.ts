// Random access to the uncompressed entries of a zip archive.
import { Reader, ZipReader } from "npm:@zip.js/zip.js@2.24.0";

/** An entry that can be read. */
export interface StoredEntry {
  /** Where its local header begins. */
  readonly offset: number;
  /** Its size in bytes. */
  readonly size: number;
}

/** An open archive. */
export interface StoredZip {
  /** Entries by name. */
  readonly entries: ReadonlyMap<string, StoredEntry>;
  /** Reads an entry. */
  read(entry: StoredEntry): Promise<Uint8Array<ArrayBuffer>>;
  /** Closes the file, after the reads that are under way. */
  close(): Promise<void>;
}

/** Bytes of a local header in front of the name and the extra field, whose lengths are at these places. */
const LOCAL_HEADER = 30, NAME_LENGTH = 26, EXTRA_LENGTH = 28;

/**
 * Reads the directory of a zip archive.
 *
 * @param file the open file, which `close` closes
 * @param broken makes the error for a fault of the archive
 * @returns its entries, which are read on demand
 * @throws {Error} if the file is no zip archive, or has compressed or encrypted entries
 */
export async function findStoredEntries(
  file: Deno.FsFile,
  broken: (problem: string) => Error,
): Promise<StoredZip> {
  const { size: fileBytes } = await file.stat();
  let previous: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(action: () => T | Promise<T>): Promise<T> => {
    const result = previous.then(action);
    previous = result.catch(() => {});
    return result;
  };
  const readAt = async (position: number, length: number): Promise<Uint8Array<ArrayBuffer>> => {
    if (!(position >= 0 && length >= 0 && position + length <= fileBytes)) {
      throw broken("an entry lies outside the file");
    }
    const bytes = new Uint8Array(length);
    await file.seek(position, Deno.SeekMode.Start);
    for (let offset = 0; offset < length;) {
      const count = await file.read(bytes.subarray(offset));
      if (count === null) throw broken("it became shorter while it was read");
      offset += count;
    }
    return bytes;
  };
  class FileReader extends Reader<undefined> {
    override size = fileBytes;
    override async readUint8Array(position: number, length: number) {
      return await readAt(position, Math.min(length, fileBytes - position));
    }
  }
  const listed = await new ZipReader(new FileReader(undefined)).getEntries()
    .catch((error) => {
      throw broken(`expected a zip archive but found a fault: ${error.message}`);
    });
  const entries = new Map<string, StoredEntry>();
  for (const { filename, compressionMethod, encrypted, offset, uncompressedSize } of listed) {
    if (compressionMethod !== 0 || encrypted) {
      throw broken(`expected stored entries but found ${filename} compressed or encrypted`);
    }
    entries.set(filename, { offset, size: uncompressedSize });
  }
  return {
    entries,
    read: ({ offset, size }) =>
      inTurn(async () => {
        const header = new DataView((await readAt(offset, LOCAL_HEADER)).buffer);
        const name = header.getUint16(NAME_LENGTH, true);
        const extra = header.getUint16(EXTRA_LENGTH, true);
        return await readAt(offset + LOCAL_HEADER + name + extra, size);
      }),
    close: () => inTurn(() => file.close()),
  };
}
