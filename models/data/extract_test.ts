// Tests of extracting codes, with interruptions at every batch.
import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { encodePng } from "../../lib/formats/png.ts";
import { openCodes } from "./code_files.ts";
import { extractCodes, type ExtractOptions, type ExtractProgress } from "./extract.ts";
import { listImages } from "./image_folder.ts";
import type { BrokenImage } from "./loader.ts";

const size = 8;
const total = 9;

/** Runs a test with two classes of flat images, image i of brightness 20 i, the broken ones cut off. */
async function withImages(
  broken: number[],
  test: (options: ExtractOptions, reported: string[]) => Promise<void>,
): Promise<void> {
  const root = await Deno.makeTempDir();
  try {
    for (let i = 0; i < total; i++) {
      const data = new Uint8Array(size * size * 3).fill(20 * i);
      const bytes = encodePng({ width: size, height: size, channels: 3, data });
      const folder = join(root, "images", i < 5 ? "first" : "second");
      await Deno.mkdir(folder, { recursive: true });
      await Deno.writeFile(
        join(folder, `${i}.png`),
        broken.includes(i) ? bytes.slice(0, 50) : bytes,
      );
    }
    const reported: string[] = [];
    await test({
      images: await listImages(join(root, "images")),
      encode,
      out: join(root, "codes"),
      size,
      grid: [1, 2],
      vocabulary: 256,
      batch: 4,
      workers: 1,
      onBroken: ({ path }: BrokenImage) => reported.push(path),
    }, reported);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

/** Two tokens of an image: its brightness, and its number within the batch. */
function encode(images: Float32Array, count: number): Int32Array {
  const values = images.length / count;
  return Int32Array.from(
    { length: 2 * count },
    (_, i) => i % 2 ? (i - 1) / 2 : Math.round((images[(i / 2) * values] + 1) * 127.5),
  );
}

/** An encoder that fails at a batch. */
function failingAt(batch: number): ExtractOptions["encode"] {
  let calls = 0;
  return (images, count) => {
    if (calls++ === batch) throw new Error("the power failed");
    return encode(images, count);
  };
}

/** All that a result holds: brightness of each image's first view, and labels. */
async function contentOf(out: string) {
  await using dataset = await openCodes(out, { vocabulary: 256, grid: [1, 2] });
  const all = Array.from({ length: dataset.count }, (_, i) => i);
  const views = [];
  for (let view = 0; view < dataset.augmentations; view++) {
    views.push(await dataset.read(all, view));
  }
  return views;
}

for (const layout of ["packed", "llamagen"] as const) {
  Deno.test(`${layout} codes hold every image that is not broken`, async () => {
    await withImages([2, 8], async (options, reported) => {
      const steps: ExtractProgress[] = [];
      const onProgress = (progress: ExtractProgress) => steps.push(progress);
      const result = await extractCodes({ ...options, layout, onProgress });
      assertEquals(result, { done: total, total, broken: 2 });
      assertEquals(steps[0], { done: 2, total, broken: 0 });
      assertEquals(steps.at(-1), result);
      assertEquals(reported, ["first/2.png", "second/8.png"]);
      const [image, mirrored] = await contentOf(options.out);
      const brightness = [0, 1, 3, 4, 5, 6, 7].map((i) => 20 * i);
      assertEquals([...image.codes.filter((_, i) => i % 2 === 0)], brightness);
      assertEquals([...mirrored.codes.filter((_, i) => i % 2 === 0)], brightness);
      assertEquals([...image.labels], [0, 0, 0, 0, 1, 1, 1]);
      const left = Array.from(Deno.readDirSync(join(options.out, "..")), ({ name }) => name);
      assertEquals(left.sort(), ["codes", "images"]);
    });
  });

  Deno.test(`${layout} codes are the same after an interruption at any batch`, async () => {
    await withImages([1, 4], async (options, reported) => {
      const whole = `${options.out}-whole`;
      await extractCodes({ ...options, layout, out: whole });
      for (const batch of [0, 1, 3]) {
        reported.length = 0;
        const out = `${options.out}-${batch}`;
        const failing = { ...options, layout, out, encode: failingAt(batch) };
        await assertRejects(() => extractCodes(failing), Error, "the power failed");
        await assertRejects(() => openCodes(out), Deno.errors.NotFound);
        // What came after the journal's last entry is written anew.
        if (layout === "packed") {
          await Deno.writeFile(`${out}.part`, new Uint8Array(7), { append: true });
        }
        const { done } = JSON.parse(await Deno.readTextFile(`${out}.journal.json`));
        let first = Infinity;
        const onProgress = (progress: ExtractProgress) => first = Math.min(first, progress.done);
        await extractCodes({ ...options, layout, out, onProgress });
        assert(first > done && done >= 2 * batch, `went on from ${done} to ${first}`);
        assertEquals(await contentOf(out), await contentOf(whole));
        if (layout === "packed") assertEquals(await Deno.readFile(out), await Deno.readFile(whole));
      }
    });
  });
}

Deno.test("a signal ends an extraction that can be resumed", async () => {
  await withImages([], async (options) => {
    const controller = new AbortController();
    const onProgress = ({ done }: ExtractProgress) => {
      if (done >= 4) controller.abort(new Error("interrupted"));
    };
    const interrupted = { ...options, onProgress, signal: controller.signal };
    await assertRejects(() => extractCodes(interrupted), Error, "interrupted");
    const { done } = JSON.parse(await Deno.readTextFile(`${options.out}.journal.json`));
    assertEquals(done, 4);
    assertEquals((await extractCodes(options)).done, total);
  });
});

Deno.test("what would make a wrong result is an error that says so", async () => {
  await withImages([3], async (options) => {
    await assertRejects(
      () => extractCodes({ ...options, strict: true }),
      Error,
      "first/3.png: Broken",
    );
    await assertRejects(
      () => extractCodes({ ...options, grid: [2, 1] }),
      Error,
      "grid: expected 2,1 but found 1,2",
    );
    await assertRejects(
      () => extractCodes({ ...options, images: { ...options.images, labels: new Int32Array(9) } }),
      Error,
      "journal.json is of another extraction: listing",
    );
    const journal = JSON.parse(await Deno.readTextFile(`${options.out}.journal.json`));
    const wrong: [unknown, string][] = [
      [{ ...journal, done: 10 }, "done: expected at most the 9 images but found 10"],
      [{ ...journal, broken: [5] }, "broken.0"],
      [{ ...journal, size: "8" }, "size: "],
      ["{", "journal.json: "],
    ];
    for (const [content, message] of wrong) {
      await Deno.writeTextFile(`${options.out}.journal.json`, JSON.stringify(content));
      await assertRejects(() => extractCodes(options), Error, message);
    }
    await Deno.writeTextFile(`${options.out}.journal.json`, JSON.stringify(journal));
    await Deno.truncate(`${options.out}.part`, 1000);
    await assertRejects(() => extractCodes(options), Error, "it is too short");
    await Deno.remove(`${options.out}.part`);
    await assertRejects(
      () => extractCodes({ ...options, encode: (_, count) => new Int32Array(count) }),
      TypeError,
      "expected encode to give 4 x 2 tokens but found 4",
    );
    await assertRejects(
      () => extractCodes({ ...options, vocabulary: 100, out: `${options.out}-b` }),
      RangeError,
      "encode of second/5.png at [0, 0]: expected a token in 0..99 but found 100",
    );
    await extractCodes(options);
    await assertRejects(() => extractCodes(options), Error, "is there already");
  });
});
