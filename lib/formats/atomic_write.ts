// Writing a file or a folder so that a reader sees the old content or the new one, never a part, even after a crash.

/**
 * Writes a file under a temporary name in the same folder, flushes it to disk and renames it into
 * place. Where `write` throws, the file under `path` stays as it was and the temporary one is removed.
 *
 * @param path where the file goes
 * @param write what writes the content; the file is open at its start
 * @returns a promise that resolves once the file is in place
 * @throws whatever the file system or `write` throws
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { writeAtomically } from "./atomic_write.ts";
 *
 * const path = await Deno.makeTempFile();
 * await writeAtomically(path, async (file) => {
 *   await file.write(new Uint8Array([1, 2]));
 *   await file.write(new Uint8Array([3]));
 * });
 * assertEquals(await Deno.readFile(path), new Uint8Array([1, 2, 3]));
 * await Deno.remove(path);
 * ```
 */
export async function writeAtomically(
  path: string | URL,
  write: (file: Deno.FsFile) => Promise<void>,
): Promise<void> {
  const suffix = `.${crypto.randomUUID()}.tmp`;
  const temporary = path instanceof URL ? new URL(path.href + suffix) : path + suffix;
  try {
    {
      using file = await Deno.open(temporary, { write: true, createNew: true });
      await write(file);
      await file.sync();
    }
    await Deno.rename(temporary, path);
  } catch (error) {
    await Deno.remove(temporary).catch(() => {});
    throw error;
  }
  await syncFolder(path);
}

/**
 * Writes a whole file atomically, as {@linkcode writeAtomically} does.
 *
 * @param path where the file goes
 * @param content bytes, or text to be written as UTF-8
 * @returns a promise that resolves once the file is in place
 * @throws whatever the file system throws
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { writeFileAtomically } from "./atomic_write.ts";
 *
 * const path = await Deno.makeTempFile();
 * await writeFileAtomically(path, "one line\n");
 * assertEquals(await Deno.readTextFile(path), "one line\n");
 * await Deno.remove(path);
 * ```
 */
export async function writeFileAtomically(
  path: string | URL,
  content: string | Uint8Array,
): Promise<void> {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  await writeAtomically(path, (file) => writeAll(file, bytes));
}

/**
 * Writes a folder under a temporary name beside its place, flushes it and all its files to disk, and
 * renames it into place, instead of one that is there. Where `write` throws, that one stays as it was.
 *
 * @param path where the folder goes; its parent exists
 * @param write what writes files into the folder that it is given
 * @returns a promise that resolves once the folder is in place
 * @throws whatever the file system or `write` throws
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { writeFolderAtomically } from "./atomic_write.ts";
 *
 * const parent = await Deno.makeTempDir();
 * for (const text of ["old", "new"]) {
 *   await writeFolderAtomically(`${parent}/state`, (folder) =>
 *     Deno.writeTextFile(`${folder}/a.txt`, text));
 * }
 * assertEquals(await Deno.readTextFile(`${parent}/state/a.txt`), "new");
 * assertEquals([...Deno.readDirSync(parent)].length, 1);
 * await Deno.remove(parent, { recursive: true });
 * ```
 */
export async function writeFolderAtomically(
  path: string,
  write: (folder: string) => Promise<void>,
): Promise<void> {
  const id = crypto.randomUUID();
  const temporary = `${path}.${id}.tmp`, replaced = `${path}.old.${id}.tmp`;
  try {
    await Deno.mkdir(temporary);
    await write(temporary);
    for await (const { name } of Deno.readDir(temporary)) {
      using file = await Deno.open(`${temporary}/${name}`, { read: true, write: true });
      await file.sync();
    }
    await syncFolder(`${temporary}/`);
    // A folder cannot be renamed onto another.
    await Deno.rename(path, replaced).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
    await Deno.rename(temporary, path);
    await syncFolder(path);
    await Deno.remove(replaced, { recursive: true }).catch(() => {});
  } catch (error) {
    await Deno.remove(temporary, { recursive: true }).catch(() => {});
    throw error;
  }
}

/**
 * Removes the temporary files and folders that writers which were killed left in a folder.
 *
 * @param folder a folder in which nothing is being written
 * @returns a promise that resolves once they are gone
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { removeTemporaries, writeFileAtomically } from "./atomic_write.ts";
 *
 * const folder = await Deno.makeTempDir();
 * await writeFileAtomically(`${folder}/a.txt`, "whole");
 * await Deno.writeTextFile(`${folder}/a.txt.${crypto.randomUUID()}.tmp`, "wh");
 * await removeTemporaries(folder);
 * assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name), ["a.txt"]);
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export async function removeTemporaries(folder: string): Promise<void> {
  for await (const { name } of Deno.readDir(folder)) {
    if (/\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.tmp$/.test(name)) {
      await Deno.remove(`${folder}/${name}`, { recursive: true });
    }
  }
}

/**
 * Writes all bytes at the file's position, in pieces where the system takes only a part at once.
 *
 * @param file a file open for writing
 * @param bytes what to write; may view shared memory
 * @returns a promise that resolves once the last byte is written
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { writeAll, writeAtomically } from "./atomic_write.ts";
 *
 * const path = await Deno.makeTempFile();
 * await writeAtomically(path, (file) => writeAll(file, new Uint8Array(100_000)));
 * assertEquals((await Deno.stat(path)).size, 100_000);
 * await Deno.remove(path);
 * ```
 */
export async function writeAll(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  const isShared = typeof SharedArrayBuffer !== "undefined" &&
    bytes.buffer instanceof SharedArrayBuffer;
  for (let offset = 0; offset < bytes.length;) {
    const piece = bytes.subarray(offset);
    offset += await file.write(isShared ? piece.slice() : piece);
  }
}

/** Makes the rename of a file durable; Windows cannot flush folders and does not need it. */
async function syncFolder(path: string | URL): Promise<void> {
  if (Deno.build.os === "windows") return;
  const folder = path instanceof URL ? new URL(".", path) : path.replace(/[^/]*$/, "") || ".";
  using file = await Deno.open(folder, { read: true });
  await file.sync();
}
