// Tests of reading and writing npz files.
import { assert, assertEquals, assertRejects } from "@std/assert";
import type { NpyArray } from "./npy.ts";
import { openNpz, writeNpz } from "./npz.ts";

const images: NpyArray = {
  dtype: "u1",
  shape: [5, 2, 3, 3],
  data: Uint8Array.from({ length: 90 }, (_, i) => i),
};
const labels: NpyArray = { dtype: "i4", shape: [5], data: Int32Array.of(4, 3, -2, 1, 0) };

/** Writes a file, hands it over and removes it. */
async function withFile(
  arrays: Parameters<typeof writeNpz>[1],
  body: (path: string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await writeNpz(`${folder}/x.npz`, arrays);
    await body(`${folder}/x.npz`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("arrays come back from a npz file, in order", () =>
  withFile({ arr_0: images, arr_1: labels }, async (path) => {
    await using file = await openNpz(path);
    assertEquals([...file.entries], [
      ["arr_0", { dtype: "u1", shape: [5, 2, 3, 3] }],
      ["arr_1", { dtype: "i4", shape: [5] }],
    ]);
    assertEquals(await file.read("arr_1"), labels);
    assertEquals(await Promise.all([file.read("arr_0"), file.read("arr_1")]), [images, labels]);
  }));

Deno.test("slices of an array are its rows in order, and may be left half-way", () =>
  withFile({ arr_0: images }, async (path) => {
    await using file = await openNpz(path);
    const sizes: number[] = [], values: number[] = [];
    for await (const { shape, data } of file.slices("arr_0", 2)) {
      sizes.push(shape[0]);
      values.push(...Array.from(data, Number));
    }
    assertEquals(sizes, [2, 2, 1]);
    assertEquals(values, [...images.data].map(Number));
    for await (const { data } of file.slices("arr_0", 1)) {
      assertEquals(data, images.data.slice(0, 18));
      break;
    }
  }));

Deno.test("an array that is written in pieces gives the same file as one written whole", async () => {
  async function* pieces() {
    for (let at = 0; at < 90; at += 40) yield images.data.slice(at, at + 40);
  }
  const files: Uint8Array[] = [];
  for (const data of [images.data, pieces()]) {
    await withFile({ arr_0: { ...images, data } }, async (path) => {
      files.push(await Deno.readFile(path));
    });
  }
  assertEquals(files[0], files[1]);
});

Deno.test("elements that do not fill the shape are refused and leave no file", async () => {
  const folder = await Deno.makeTempDir();
  await assertRejects(
    () => writeNpz(`${folder}/x.npz`, { arr_0: { ...images, shape: [6, 2, 3, 3] } }),
    TypeError,
    "expected arr_0 to have 108 elements",
  );
  assertEquals([...Deno.readDirSync(folder)], []);
  await Deno.remove(folder);
});

Deno.test("a name that a npz file does not hold is refused with those that it does", () =>
  withFile({ arr_0: images }, async (path) => {
    await using file = await openNpz(path);
    await assertRejects(() => file.read("mu"), RangeError, '(arr_0) but found "mu"');
  }));

Deno.test("a changed element is found by the check sum, a cut file by its end", () =>
  withFile({ arr_0: images }, async (path) => {
    const bytes = await Deno.readFile(path);
    const damaged = bytes.slice();
    const place = bytes.findIndex((_, i) => i > 128 && bytes[i] === 41 && bytes[i + 1] === 42);
    assert(place > 0);
    damaged[place]++;
    await Deno.writeFile(path, damaged);
    const readAll = async () => {
      await using file = await openNpz(path);
      await file.read("arr_0");
    };
    await assertRejects(readAll, Error, `Broken npz file arr_0 of ${path}`);
    await Deno.writeFile(path, bytes.subarray(0, 200));
    await assertRejects(() => openNpz(path), Error, `Broken npz file ${path}`);
  }));

Deno.test("a member whose header promises more than it holds is refused", async () => {
  const file = await Deno.makeTempFile();
  const { ZipWriter, Uint8ArrayWriter, Uint8ArrayReader } = await import(
    "npm:@zip.js/zip.js@2.24.0"
  );
  const { encodeNpyHeader } = await import("./npy.ts");
  const zip = new ZipWriter(new Uint8ArrayWriter(), { useWebWorkers: false });
  await zip.add("arr_0.npy", new Uint8ArrayReader(encodeNpyHeader("u1", [7])));
  await Deno.writeFile(file, await zip.close());
  await assertRejects(() => openNpz(file), Error, "expected 7 bytes of data");
  await Deno.remove(file);
});

Deno.test("a member that cannot be begun to be read is refused, not waited for", () =>
  withFile({ arr_0: images }, async (path) => {
    const bytes = await Deno.readFile(path);
    bytes[0]! ^= 1; // the signature of the member's own header
    await Deno.writeFile(path, bytes);
    await assertRejects(() => openNpz(path), Error, `Broken npz file arr_0 of ${path}: `);
  }));
