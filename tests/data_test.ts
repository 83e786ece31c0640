// Tests of the data pipeline as a whole: from image files to batches of codes, by URL, and with damage.
import { assert, assertEquals } from "@std/assert";
import { dirname, extname, fromFileUrl, join } from "@std/path";
import encodeJpeg from "npm:@jsquash/jpeg@1.6.0/encode.js";
import { encodeNpy } from "../lib/formats/npy.ts";
import { encodePng } from "../lib/formats/png.ts";
import { randomBits } from "../lib/random/threefry.ts";
import { openCodes } from "../models/data/code_files.ts";
import { loadCodes } from "../models/data/codes.ts";
import { extractCodes } from "../models/data/extract.ts";
import { listImages } from "../models/data/image_folder.ts";
import { writePackedCodes } from "../models/data/packed_codes.ts";

const [width, height] = [21, 17];

async function inFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Writes two classes of a bright and a dark image each, one of them cut off. */
async function writeImages(root: string): Promise<void> {
  for (const [label, folder] of ["jpeg", "png"].entries()) {
    await Deno.mkdir(join(root, folder), { recursive: true });
    for (const brightness of [40, 200]) {
      const rgba = new Uint8ClampedArray(width * height * 4).fill(brightness);
      const bytes = label === 0
        ? new Uint8Array(await encodeJpeg(new ImageData(rgba, width, height), { quality: 90 }))
        : encodePng({ width, height, channels: 4, data: new Uint8Array(rgba) });
      await Deno.writeFile(join(root, folder, `${brightness}.${folder}`), bytes);
    }
  }
  const whole = await Deno.readFile(join(root, "jpeg/40.jpeg"));
  await Deno.writeFile(join(root, "jpeg/cut.jpg"), whole.slice(0, -30));
}

Deno.test("images become codes become batches, the broken one left out", async () => {
  await inFolder(async (folder) => {
    await writeImages(join(folder, "images"));
    const broken: string[] = [];
    const out = join(folder, "codes.safetensors");
    const result = await extractCodes({
      images: await listImages(join(folder, "images")),
      encode: (images, count) =>
        Int32Array.from(
          { length: count },
          (_, i) => Math.round((images[i * images.length / count] + 1) * 127.5 / 10),
        ),
      out,
      size: 8,
      grid: [1, 1],
      vocabulary: 26,
      augmentation: "ten-crop",
      workers: 2,
      onBroken: ({ path }) => broken.push(path),
    });
    assertEquals([result, broken], [{ done: 5, total: 5, broken: 1 }, ["jpeg/cut.jpg"]]);
    await using dataset = await openCodes(out);
    assertEquals([dataset.count, dataset.augmentations, dataset.classes], [4, 10, 2]);
    const pairs: [number, number][] = [];
    for await (const { codes, labels } of loadCodes(dataset, { batch: 3, epochs: 1 })) {
      labels.forEach((label, i) => pairs.push([label, codes[i]]));
    }
    assertEquals(pairs.sort(), [[0, 20], [0, 4], [1, 20], [1, 4]]);
  });
});

Deno.test("the loader and its workers run when imported by URL", async () => {
  const root = dirname(dirname(fromFileUrl(import.meta.url)));
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    async (request) => {
      const path = join(root, new URL(request.url).pathname);
      if (extname(path) !== ".ts") return new Response("not found", { status: 404 });
      return new Response(await Deno.readTextFile(path), {
        headers: { "content-type": "application/typescript" },
      });
    },
  );
  const base = `http://127.0.0.1:${server.addr.port}/models/data`;
  try {
    await inFolder(async (folder) => {
      await writeImages(join(folder, "images"));
      const program = `
        import { listImages } from "${base}/image_folder.ts";
        import { loadImages } from "${base}/loader.ts";
        const folder = await listImages("images");
        const options = { size: 8, batch: 4, epochs: 1, workers: 2, onBroken() {} };
        for await (const { images } of loadImages(folder, options)) console.log(images.length);
      `;
      await Deno.writeTextFile(join(folder, "load.js"), program);
      const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--no-config", "--no-lock", "--reload=http://127.0.0.1", "load.js"],
        cwd: folder,
      }).output();
      assert(code === 0, new TextDecoder().decode(stderr));
      assertEquals(new TextDecoder().decode(stdout).trim(), `${4 * 8 * 8 * 3}`);
    });
  } finally {
    await server.shutdown();
  }
});

Deno.test("random damage to code files gives an error that names the file, or codes in range", async () => {
  await inFolder(async (folder) => {
    const [vocabulary, classes] = [64, 10];
    const codes = Int32Array.from({ length: 48 }, (_, i) => i);
    const packed = join(folder, "packed");
    const labels = new Int32Array([1, 2, 3]);
    await writePackedCodes(packed, { codes, labels, grid: [2, 4], vocabulary, classes });
    const npy = encodeNpy({ dtype: "i8", shape: [2, 8], data: new BigInt64Array(16) });
    await Deno.mkdir(join(folder, "files", "3"), { recursive: true });
    const inClass = join(folder, "files", "3", "0.npy");
    const targets = [
      { file: packed, path: packed, bytes: await Deno.readFile(packed) },
      { file: inClass, path: join(folder, "files"), bytes: npy },
    ];
    for (const { file, path, bytes } of targets) {
      let errors = 0;
      for (let trial = 0; trial < 250; trial++) {
        const [where, value, kind] = randomBits([11, trial], 3);
        const damaged = bytes.slice();
        damaged[where % bytes.length] = value;
        await Deno.writeFile(file, kind % 4 ? damaged : damaged.slice(0, where % bytes.length));
        try {
          await using dataset = await openCodes(path, { vocabulary, classes, grid: [2, 4] });
          const read = await dataset.read([0, dataset.count - 1], 0);
          assert(read.codes.every((code) => code >= 0 && code < dataset.vocabulary));
          assert(read.labels.every((label) => label >= 0 && label < dataset.classes));
        } catch (error) {
          errors++;
          assert(error instanceof Error && error.message.includes(file), String(error));
        }
      }
      assert(errors > 50 && errors < 250, `${errors} of 250 were errors`);
    }
  });
});
