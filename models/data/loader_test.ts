// Tests of listing folders and loading their images by workers.
import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import encodeJpeg from "npm:@jsquash/jpeg@1.6.0/encode.js";
import { encodePng } from "../../lib/formats/png.ts";
import { type ImageFolder, listImages } from "./image_folder.ts";
import { type BrokenImage, type ImageBatch, loadImages, type LoadOptions } from "./loader.ts";
import { centerCrop, flipHorizontally, tenCrop } from "./preprocess.ts";

const [width, height] = [14, 11];

/** An image that its number tells. */
function pixels(number: number, channels: 3 | 4): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(
    { length: width * height * channels },
    (_, i) => number * 20 + Math.floor(i / channels) % width * 7,
  );
}

const png = (number: number) =>
  encodePng({ width, height, channels: 3, data: pixels(number, 3) }) as Uint8Array<ArrayBuffer>;

async function jpeg(number: number): Promise<Uint8Array<ArrayBuffer>> {
  const image = new ImageData(new Uint8ClampedArray(pixels(number, 4)), width, height);
  return new Uint8Array(await encodeJpeg(image, { quality: 95 }));
}

/** Runs a test with a folder of these files. */
async function withFolder(
  files: Record<string, Uint8Array>,
  test: (folder: ImageFolder, root: string) => Promise<void>,
): Promise<void> {
  const root = await Deno.makeTempDir();
  try {
    for (const [path, bytes] of Object.entries(files)) {
      await Deno.mkdir(join(root, path, ".."), { recursive: true });
      await Deno.writeFile(join(root, path), bytes);
    }
    await test(await listImages(root), root);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

async function classes(): Promise<Record<string, Uint8Array>> {
  return {
    "b/2.png": png(0),
    "b/1.JPEG": await jpeg(1),
    "a/x.jpg": await jpeg(2),
    "a/deep/y.png": png(3),
    "a/notes.txt": new Uint8Array(3),
    "a/.hidden.png": new Uint8Array(3),
    "c/z.jpeg": await jpeg(4),
  };
}

async function collect(folder: ImageFolder, options: LoadOptions): Promise<ImageBatch[]> {
  return await Array.fromAsync(loadImages(folder, options));
}

Deno.test("a folder of class folders lists classes by name and images in a fixed order", async () => {
  await withFolder(await classes(), (folder) => {
    assertEquals(folder.classes, ["a", "b", "c"]);
    assertEquals(folder.paths, ["a/x.jpg", "a/deep/y.png", "b/1.JPEG", "b/2.png", "c/z.jpeg"]);
    assertEquals([...folder.labels], [0, 0, 1, 1, 2]);
    return Promise.resolve();
  });
});

Deno.test("a folder of loose images is one class; empty and mixed ones are refused by name", async () => {
  await withFolder(
    { "b.png": png(0), "a.png": png(1) },
    async ({ paths, labels, classes }, root) => {
      assertEquals([paths, [...labels], classes.length], [["a.png", "b.png"], [0, 0], 1]);
      await Deno.mkdir(join(root, "cats"));
      await assertRejects(() => listImages(root), Error, "found both (cats, a.png)");
      await assertRejects(() => listImages(join(root, "cats")), Error, "holds no .jpg");
      for (const name of ["a.png", "b.png"]) await Deno.remove(join(root, name));
      await assertRejects(() => listImages(root), Error, "cats holds no image");
    },
  );
});

Deno.test("batches follow from seed and position, however many workers decode", async () => {
  await withFolder(await classes(), async (folder) => {
    const options = { size: 8, batch: 2, seed: 3, epochs: 3, augmentation: "random-crop" } as const;
    const one = await collect(folder, { ...options, workers: 1, prefetch: 0 });
    assertEquals(one.length, 8);
    assertEquals(one.map(({ indices }) => indices.length), [2, 2, 2, 2, 2, 2, 2, 1]);
    assertEquals(await collect(folder, { ...options, workers: 3, prefetch: 3 }), one);
    assertNotEquals(await collect(folder, { ...options, workers: 1, seed: 4 }), one);
    for (const batch of [1, 3, 6]) {
      const rest = await collect(folder, { ...options, workers: 2, start: one[batch].position });
      assertEquals(rest, one.slice(batch + 1));
    }
    const seen = one.flatMap(({ indices }) => [...indices]);
    for (const epoch of [0, 1, 2]) {
      assertEquals(seen.slice(5 * epoch, 5 * epoch + 5).toSorted(), [0, 1, 2, 3, 4]);
    }
  });
});

Deno.test("a batch holds the views of its images", async () => {
  await withFolder({ "a.png": png(1), "b.png": png(2) }, async (folder) => {
    const options = { size: 8, batch: 2, shuffle: false, epochs: 1, workers: 1 };
    const source = (number: number) =>
      ({ width, height, channels: 3, data: pixels(number, 3) }) as const;
    const flips = [1, 2].map((number) => centerCrop(source(number), 8))
      .flatMap((view) => [...view.data, ...flipHorizontally(view).data]);
    const [{ images }] = await collect(folder, { ...options, augmentation: "flips" });
    assertEquals([...images], flips);
    const [ten] = await collect(folder, { ...options, augmentation: "ten-crop" });
    const crops = [1, 2].flatMap((number) => tenCrop(centerCrop(source(number), 8), 8))
      .flatMap(({ data }) => [...data]);
    assertEquals([...ten.images], crops);
  });
});

Deno.test("broken images are reported by name and skipped, or an error where strict", async () => {
  const files = await classes();
  files["a/cut.jpg"] = (await jpeg(5)).slice(0, 200);
  files["b/cut.png"] = png(6).slice(0, 60);
  files["c/text.png"] = new TextEncoder().encode("no image at all");
  await withFolder(files, async (folder) => {
    const broken: BrokenImage[] = [];
    const options = { size: 8, batch: 4, shuffle: false, epochs: 1, workers: 2 };
    const onBroken = (image: BrokenImage) => broken.push(image);
    const batches = await collect(folder, { ...options, onBroken });
    assertEquals(broken.map(({ path }) => path), ["a/cut.jpg", "b/cut.png", "c/text.png"]);
    for (const { path, index, message } of broken) {
      assertEquals(folder.paths[index], path);
      assert(message.startsWith("Broken "), message);
    }
    const read = batches.flatMap(({ indices }) => [...indices].map((i) => folder.paths[i]));
    assertEquals(read, ["a/x.jpg", "a/deep/y.png", "b/1.JPEG", "b/2.png", "c/z.jpeg"]);
    assertEquals(batches.map(({ labels }) => [...labels]), [[0, 0, 1, 1], [2]]);
    await assertRejects(
      () => collect(folder, { ...options, strict: true }),
      Error,
      "a/cut.jpg: Broken",
    );
  });
  await withFolder({ "a.png": new Uint8Array(9) }, async (folder) => {
    const options = { size: 8, batch: 1, workers: 1, onBroken() {} };
    await assertRejects(() => collect(folder, options), Error, "none of the 1 images");
  });
});

Deno.test("leaving the loop early ends the workers", async () => {
  await withFolder(await classes(), async (folder) => {
    for await (const { indices } of loadImages(folder, { size: 8, batch: 3, workers: 2 })) {
      assertEquals(indices.length, 3);
      break;
    }
    await using batches = loadImages(folder, { size: 8, batch: 3, workers: 2 });
    assertEquals((await batches.next()).done, false);
  });
});

Deno.test("loadImages refuses options out of range", async () => {
  await withFolder({ "a.png": png(0) }, async (folder) => {
    const options = { size: 8, batch: 2 };
    const wrong: [Partial<LoadOptions>, string][] = [
      [{ size: 0 }, "size"],
      [{ batch: 1.5 }, "batch"],
      [{ workers: 0 }, "workers"],
      [{ epochs: NaN }, "epochs"],
      [{ start: { epoch: 0, place: 1 } }, "expected place to be less than the 1 examples"],
      [{ augmentation: "none" as "center" }, "augmentation"],
    ];
    for (const [option, message] of wrong) {
      await assertRejects(() => collect(folder, { ...options, ...option }), RangeError, message);
    }
  });
});
