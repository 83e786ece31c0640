// Tests of writing files atomically.
import { assertEquals, assertRejects } from "@std/assert";
import { join, toFileUrl } from "@std/path";
import { writeAtomically, writeFileAtomically } from "./atomic_write.ts";

async function inFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function names(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map((entry) => entry.name);
}

Deno.test("writeFileAtomically replaces a file and leaves no other behind", () =>
  inFolder(async (folder) => {
    const path = join(folder, "a b.txt");
    await writeFileAtomically(path, "old");
    await writeFileAtomically(path, new Uint8Array([110, 101, 119]));
    assertEquals(await Deno.readTextFile(path), "new");
    await writeFileAtomically(toFileUrl(path), "newer");
    assertEquals(await Deno.readTextFile(path), "newer");
    assertEquals(names(folder), ["a b.txt"]);
  }));

Deno.test("writeFileAtomically writes views of shared memory", () =>
  inFolder(async (folder) => {
    const bytes = new Uint8Array(new SharedArrayBuffer(8), 2, 4).fill(7);
    await writeFileAtomically(join(folder, "a"), bytes);
    assertEquals(await Deno.readFile(join(folder, "a")), new Uint8Array(4).fill(7));
  }));

Deno.test("writeAtomically keeps the old file where writing fails", () =>
  inFolder(async (folder) => {
    const path = join(folder, "a.txt");
    await writeFileAtomically(path, "old");
    await assertRejects(
      () =>
        writeAtomically(path, async (file) => {
          await file.write(new Uint8Array(3));
          throw new Error("disk on fire");
        }),
      Error,
      "disk on fire",
    );
    assertEquals(await Deno.readTextFile(path), "old");
    assertEquals(names(folder), ["a.txt"]);
  }));

Deno.test("writeFileAtomically reports a folder that is missing", () =>
  inFolder(async (folder) => {
    await assertRejects(
      () => writeFileAtomically(join(folder, "no", "a"), ""),
      Deno.errors.NotFound,
    );
  }));

Deno.test("writeFileAtomically leaves nothing behind where the name is a folder's", () =>
  inFolder(async (folder) => {
    await Deno.mkdir(join(folder, "a"));
    await assertRejects(() => writeFileAtomically(join(folder, "a"), "x"));
    assertEquals(names(folder), ["a"]);
  }));
