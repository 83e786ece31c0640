// Tests of datasets of codes in every layout, and of the errors that broken files give.
import { assert, assertEquals, assertNotEquals, assertRejects, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { encodeNpy, type NpyArray } from "../../lib/formats/npy.ts";
import { type SafetensorsInput, writeSafetensors } from "../../lib/formats/safetensors.ts";
import { openCodes } from "./code_files.ts";
import { type CodeDataset, codesInMemory, loadCodes } from "./codes.ts";
import { openPackedCodes, writePackedCodes } from "./packed_codes.ts";

const [count, augmentations, tokens, vocabulary, classes] = [5, 2, 4, 64, 10];
const meaning = { grid: [2, 2], vocabulary, classes } as const;
const codes = Int32Array.from({ length: count * augmentations * tokens }, (_, i) => i);
const labels = new Int32Array([3, 0, 9, 9, 1]);

/** Runs a test in a folder that is gone afterwards. */
async function inFolder(test: (root: string) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir();
  try {
    await test(root);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

async function writeFiles(root: string, files: Record<string, NpyArray>): Promise<void> {
  for (const [path, array] of Object.entries(files)) {
    await Deno.mkdir(join(root, path, ".."), { recursive: true });
    await Deno.writeFile(join(root, path), encodeNpy(array));
  }
}

const int64 = (shape: number[], values: ArrayLike<number>): NpyArray => ({
  dtype: "i8",
  shape,
  data: BigInt64Array.from(Array.from(values, BigInt)),
});

function ofImage(index: number): Int32Array {
  const length = augmentations * tokens;
  return codes.subarray(index * length, (index + 1) * length);
}

function llamaGenFiles(): Record<string, NpyArray> {
  return Object.fromEntries(
    Array.from(labels, (label, i) => [
      [`imagenet256_codes/${i}.npy`, int64([1, augmentations, tokens], ofImage(i))],
      [`imagenet256_labels/${i}.npy`, int64([1], [label])],
    ]).flat(),
  );
}

const packedTensors = (): Record<string, SafetensorsInput> => ({
  codes: { dtype: "U16", shape: [count, augmentations, tokens], data: new Uint16Array(codes) },
  labels: { dtype: "I32", shape: [count], data: labels },
});
const packedTexts = { grid: "2x2", vocabulary: "64", classes: "10" };

async function assertHoldsAll(dataset: CodeDataset): Promise<void> {
  const { read: _, ...sizes } = dataset;
  const expected = { count, augmentations, tokens, ...meaning, grid: [2, 2] };
  for (const [name, value] of Object.entries(expected)) {
    assertEquals<unknown>(sizes[name as keyof typeof sizes], value, name);
  }
  for (const view of [0, 1]) {
    const all = await dataset.read(Array.from(labels.keys()), view);
    assertEquals(all.labels, labels);
    const views = Array.from(labels, (_, i) => ofImage(i).subarray(view * 4, view * 4 + 4));
    assertEquals([...all.codes], views.flatMap((view) => [...view]));
  }
  const some = await dataset.read([4, 0, 4], [1, 0, 0]);
  assertEquals([...some.codes], [36, 37, 38, 39, 0, 1, 2, 3, 32, 33, 34, 35]);
  assertEquals([...some.labels], [1, 3, 1]);
  await assertRejects(() => dataset.read([5]), RangeError, "expected index to be in 0..4");
  await assertRejects(
    () => dataset.read([0], 2),
    RangeError,
    "expected augmentation to be in 0..1",
  );
}

Deno.test("codes in memory, in a packed file of U16 or I32 and in LlamaGen's layout are the same", async () => {
  await inFolder(async (root) => {
    await assertHoldsAll(codesInMemory({ codes, labels, ...meaning }));
    await writePackedCodes(join(root, "u16"), { codes, labels, ...meaning });
    await writeSafetensors(join(root, "i32"), {
      ...packedTensors(),
      codes: { dtype: "I32", shape: [count, augmentations, tokens], data: codes },
    }, packedTexts);
    for (const name of ["u16", "i32"]) {
      await using dataset = await openCodes(join(root, name));
      await assertHoldsAll(dataset);
    }
    await writeFiles(join(root, "folder"), llamaGenFiles());
    await assertHoldsAll(await openCodes(join(root, "folder"), { vocabulary, classes }));
  });
});

Deno.test("a folder for each class has the class of its number, or of its place among names", async () => {
  await inFolder(async (root) => {
    const array = (token: number) => int64([1, 4], [token, 0, 0, 0]);
    await writeFiles(join(root, "numbers"), {
      "10/2.npy": array(1),
      "9/10.npy": array(2),
      "9/9.npy": array(3),
    });
    const numbers = await openCodes(join(root, "numbers"));
    const all = await numbers.read([0, 1, 2]);
    assertEquals([...all.labels], [9, 9, 10]);
    assertEquals([all.codes[0], all.codes[4], all.codes[8]], [3, 2, 1]);
    await writeFiles(join(root, "names"), { "n02/a.npy": array(1), "n01/b.npy": array(2) });
    const names = await (await openCodes(join(root, "names"))).read([0, 1]);
    assertEquals([names.codes[0], names.codes[4], ...names.labels], [2, 1, 0, 1]);
    await assertRejects(
      () => openCodes(join(root, "numbers"), { classes: 10 }),
      RangeError,
      "10/2.npy: expected a class folder in 0..9 but found 10",
    );
  });
});

const brokenFiles: Record<string, [file: string, array: NpyArray, message: string]> = {
  "a wrong dtype": [
    "imagenet256_codes/2.npy",
    { dtype: "f4", shape: [1, 2, 4], data: new Float32Array(8) },
    "expected dtype i8 or i4 but found f4",
  ],
  "another number of tokens": [
    "imagenet256_codes/2.npy",
    int64([1, 2, 3], [0, 0, 0, 0, 0, 0]),
    "expected shape [2, 4]",
  ],
  "too many dimensions": [
    "imagenet256_codes/2.npy",
    int64([2, 1, 4], [0, 0, 0, 0, 0, 0, 0, 0]),
    "but found [2, 1, 4]",
  ],
  "a token beyond the vocabulary": [
    "imagenet256_codes/2.npy",
    int64([1, 2, 4], [0, 0, 0, 0, 0, 0, 64, 0]),
    "at [1, 2]: expected a token in 0..63 but found 64",
  ],
  "a negative token": [
    "imagenet256_codes/2.npy",
    int64([1, 2, 4], [0, 0, 0, 0, -1, 0, 0, 0]),
    "at [1, 0]: expected a token in 0..63 but found -1",
  ],
  "a label beyond the classes": [
    "imagenet256_labels/2.npy",
    int64([1], [10]),
    "expected a label in 0..9 but found 10",
  ],
  "two labels": ["imagenet256_labels/2.npy", int64([2], [1, 2]), "found shape [2]"],
};
for (const [what, [file, array, message]] of Object.entries(brokenFiles)) {
  Deno.test(`a code file with ${what} is an error that names it`, async () => {
    await inFolder(async (root) => {
      await writeFiles(root, { ...llamaGenFiles(), [file]: array });
      const dataset = await openCodes(root, { vocabulary, classes });
      assertEquals((await dataset.read([1, 3], 1)).codes.length, 8);
      const error = await assertRejects(() => dataset.read([1, 2], 1), Error, message);
      assert(error.message.includes(join(root, file)), error.message);
    });
  });
}

Deno.test("a truncated or missing file of codes is an error that names it", async () => {
  await inFolder(async (root) => {
    await writeFiles(root, llamaGenFiles());
    const dataset = await openCodes(root, { vocabulary, classes });
    const path = join(root, "imagenet256_codes/1.npy");
    await Deno.truncate(path, 150);
    await assertRejects(() => dataset.read([1]), Error, path);
    await Deno.remove(join(root, "imagenet256_labels/4.npy"));
    await assertRejects(() => dataset.read([4]), Deno.errors.NotFound, "imagenet256_labels/4.npy");
    await assertRejects(() => openCodes(root, { grid: [3, 2] }), RangeError, "found 3x2");
    await assertRejects(
      () => openCodes(join(root, "imagenet256_codes")),
      Error,
      "5 loose .npy files",
    );
  });
});

const brokenPacked: Record<
  string,
  [tensors: Record<string, unknown>, texts: Record<string, string>, message: string]
> = {
  "no codes": [{ codes: undefined }, {}, `no tensor "codes"`],
  "codes of floats": [
    { codes: { dtype: "F32", shape: [5, 2, 4], data: new Float32Array(40) } },
    {},
    `tensor "codes": expected dtype U16 or I32 but found F32`,
  ],
  "codes without views": [
    { codes: { dtype: "U16", shape: [5, 8], data: new Uint16Array(40) } },
    {},
    `tensor "codes": expected 3 sizes`,
  ],
  "fewer labels than images": [
    { labels: { dtype: "I32", shape: [4], data: new Int32Array(4) } },
    {},
    `tensor "labels": expected shape [5] but found [4]`,
  ],
  "a label beyond the classes": [
    { labels: { dtype: "I32", shape: [5], data: new Int32Array([0, 0, 10, 0, 0]) } },
    {},
    `tensor "labels" at [2]: expected a label in 0..9 but found 10`,
  ],
  "another grid": [{}, { grid: "2x3" }, `tensor "codes": expected 6 tokens for the grid 2x3`],
  "a vocabulary that is no number": [{}, { vocabulary: "many" }, `metadata "vocabulary"`],
  "a grid of zero": [{}, { grid: "0x4" }, `metadata "grid"`],
};
for (const [what, [tensors, texts, message]] of Object.entries(brokenPacked)) {
  Deno.test(`a packed file with ${what} is an error that names it`, async () => {
    await inFolder(async (root) => {
      const path = join(root, "codes.safetensors");
      const all = Object.entries({ ...packedTensors(), ...tensors }).filter(([, tensor]) => tensor);
      const content = Object.fromEntries(all) as Record<string, SafetensorsInput>;
      await writeSafetensors(path, content, { ...packedTexts, ...texts });
      const error = await assertRejects(() => openPackedCodes(path), Error, message);
      assert(error.message.includes(path), error.message);
    });
  });
}

Deno.test("a packed file's token beyond the vocabulary is an error that names its place", async () => {
  await inFolder(async (root) => {
    const path = join(root, "codes.safetensors");
    await writeSafetensors(path, packedTensors(), { ...packedTexts, vocabulary: "39" });
    await using dataset = await openPackedCodes(path);
    assertEquals((await dataset.read([4], 0)).codes.length, 4);
    const message = `${path}: tensor "codes" at [4, 1, 3]: expected a token in 0..38 but found 39`;
    await assertRejects(() => dataset.read([4], 1), RangeError, message);
  });
});

Deno.test("batches of codes follow from seed and position, and draw every view", async () => {
  const dataset = codesInMemory({ codes, labels, ...meaning });
  const load = (options: Parameters<typeof loadCodes>[1]) =>
    Array.fromAsync(loadCodes(dataset, options));
  const batches = await load({ batch: 3, seed: 1, epochs: 4 });
  assertEquals(batches.map(({ indices }) => indices.length), [3, 3, 3, 3, 3, 3, 2]);
  assertNotEquals(await load({ batch: 3, seed: 2, epochs: 4 }), batches);
  for (const i of [0, 3, 5]) {
    const rest = await load({ batch: 3, seed: 1, epochs: 4, start: batches[i].position });
    assertEquals(rest, batches.slice(i + 1));
  }
  const views = new Set<number>();
  for (const batch of batches) {
    batch.indices.forEach((index, i) => {
      assertEquals(batch.labels[i], labels[index]);
      const view = (batch.codes[4 * i] - 8 * index) / 4;
      views.add(view);
    });
  }
  assertEquals(views, new Set([0, 1]));
  const [plain] = await load({ batch: 5, shuffle: false, augment: false, epochs: 1 });
  assertEquals([...plain.codes.slice(0, 12)], [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19]);
  await assertRejects(() => load({ batch: 0 }), RangeError, "batch");
});

Deno.test("codes that do not fill the images are refused", () => {
  const wrong = { codes: codes.subarray(1), labels, ...meaning };
  assertThrows(() => codesInMemory(wrong), TypeError, "expected codes for 5 images of 4 tokens");
  assertThrows(
    () => codesInMemory({ codes, labels, ...meaning, vocabulary: 39 }),
    RangeError,
    "codes at [39]: expected a token in 0..38 but found 39",
  );
});
