/** Runs on images of a folder and on codes of files: in color, with damage, with weights that are given. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { openDevice } from "../lib/device.ts";
import { encodePng } from "../lib/formats/png.ts";
import { writeNpy } from "../lib/formats/npy.ts";
import { randomBits } from "../lib/random/threefry.ts";
import { readConfig } from "../models/config/read.ts";
import { openPackedCodes, writePackedCodes } from "../models/data/packed_codes.ts";
import { openRun, trainRun } from "../models/training/run.ts";
import { sampleImages } from "../models/training/samples.ts";
import { inFolder } from "./command_line.ts";

/** Two classes of colored noise, 9 images in all. */
async function writeImages(root: string): Promise<void> {
  for (const [label, name] of ["blue", "red"].entries()) {
    await Deno.mkdir(join(root, name), { recursive: true });
    for (let i = 0; i < 4 + label; i++) {
      const data = new Uint8Array(randomBits([label, i], 12 * 9 * 3).map((bits) => bits & 63));
      data.forEach((_, at) => at % 3 === (label === 0 ? 2 : 0) && (data[at]! += 150));
      const png = encodePng({ width: 12, height: 9, channels: 3, data });
      await Deno.writeFile(join(root, name, `${i}.png`), png);
    }
  }
}

const tokenizer = { codes: 8, encoderChannels: [4], decoderChannels: [4, 4], codeChannels: 2 };
const model = { dim: 8, heads: 2, encoderLayers: 1, decoderLayers: 1, ffnMultiple: 8 };
const training = { steps: 3, batchSize: 4, logEvery: 1, checkpointEvery: 2 };
const sampling = { steps: 2, perClass: 1 };

const onFolder = (path: string, more: Record<string, unknown> = {}) =>
  readConfig({
    data: { source: "folder", path, size: 8, classes: 2, workers: 1 },
    ...{ tokenizer, tokenizerTraining: training, model, recipe: "random-2-random", training },
    ...{ sampling },
    ...more,
  });

Deno.test("a run trains on a folder of color images, broken ones left out by name, and goes on exactly", () =>
  inFolder(async (folder) => {
    await openDevice("wasm");
    const images = join(folder, "images"), run = join(folder, "run"), parts = join(folder, "parts");
    await writeImages(images);
    await Deno.writeTextFile(join(images, "blue", "9.png"), "no image");
    const warnings: string[] = [];
    const train = (config: ReturnType<typeof onFolder>, to: string) =>
      trainRun(config, to, undefined, undefined, (message) => warnings.push(message));
    await train(onFolder(images), run);
    assert(warnings.length > 0);
    for (const warning of warnings) assert(/blue\/9\.png/.test(warning), warning);

    {
      await using codes = await openPackedCodes(join(run, "codes.safetensors"));
      // Each image and its mirror image; the broken one is left out.
      assertEquals([codes.count, codes.augmentations, codes.tokens], [9, 2, 16]);
      assertEquals([codes.vocabulary, codes.classes], [8, 2]);
    }
    const [image] = await sampleImages(await openRun(run), [1], onFolder(images).sampling, 0);
    assertEquals([image!.width, image!.height, image!.channels], [8, 8, 3]);

    // What a step sees follows from its number: a training in two parts sees what one at once does.
    const stop = new AbortController();
    const first = trainRun(onFolder(images), parts, ({ stage, step }) => {
      if (stage === "tokenizer" && step === 1) stop.abort("enough");
    }, stop.signal);
    await first.then(() => assert(false), (reason) => assertEquals(reason, "enough"));
    await train(onFolder(images), parts);
    const weights = (path: string) => Deno.readFile(join(path, "tokenizer.safetensors"));
    assertEquals(await weights(parts), await weights(run));

    const wrong = onFolder(images, {
      data: { source: "folder", path: images, size: 8, classes: 3 },
    });
    await assertRejects(() => train(wrong, run), RangeError, "data.classes: expected 2");
    const strict = onFolder(images, {
      data: { source: "folder", path: images, size: 8, classes: 2, strict: true, workers: 1 },
      tokenizerTraining: { ...training, steps: 9 },
    });
    await assertRejects(() => train(strict, join(folder, "strict")), Error, "blue/9.png");
  }));

Deno.test("continuous tokens are trained on a folder, too", () =>
  inFolder(async (folder) => {
    await openDevice("wasm");
    await writeImages(join(folder, "images"));
    const { encoderChannels, decoderChannels } = tokenizer;
    const config = onFolder(join(folder, "images"), {
      tokenizer: { kind: "autoencoder", encoderChannels, decoderChannels, channels: 2 },
      model: { kind: "continuous-fmt", ...model, head: { width: 8, layers: 1, steps: 4 } },
    });
    await trainRun(config, join(folder, "run"));
    const run = await openRun(join(folder, "run"));
    assertEquals((await sampleImages(run, [0], config.sampling, 0))[0]!.channels, 3);
  }));

Deno.test("a run trains on codes of files with a tokenizer's weights", () =>
  inFolder(async (folder) => {
    await openDevice("wasm");
    const weights = new URL("fixtures/llamagen_vq/weights.safetensors", import.meta.url).pathname;
    const llamagen = {
      kind: "llamagen-vq",
      channels: 32,
      encoderMultipliers: [2, 1],
      decoderMultipliers: [2, 1],
      blocks: 1,
      latentChannels: 32,
      codes: 64,
    };
    const meaning = { grid: [2, 2], vocabulary: 64, classes: 3 } as const;
    const codes = Int32Array.from({ length: 6 * 2 * 4 }, (_, i) => i % 64);
    const path = join(folder, "codes.safetensors");
    await writePackedCodes(path, { codes, labels: [0, 1, 2, 0, 1, 2], ...meaning });
    const configure = (data: object, more: Record<string, unknown> = {}) =>
      readConfig({
        data: { source: "codes", path, size: 4, classes: 3, ...data },
        tokenizer: llamagen,
        tokenizerTraining: { weights },
        ...{ model, recipe: "random-2-random", training, sampling },
        ...more,
      });
    const run = join(folder, "run");
    await trainRun(configure({}), run);
    const opened = await openRun(run);
    const [image] = await sampleImages(opened, [2], opened.config.sampling, 0);
    assertEquals([image!.width, image!.height, image!.channels], [4, 4, 3]);
    const gpt = { kind: "llamagen-gpt", dim: 8, heads: 2, layers: 1, ffnMultiple: 8 };
    const baseline = configure({}, { model: gpt, recipe: "ar", sampling: { perClass: 1 } });
    await trainRun(baseline, join(folder, "baseline"));

    const refused = (data: object, message: string, error = RangeError) =>
      assertRejects(() => trainRun(configure(data), join(folder, "other")), error, message);
    await refused({ classes: 4 }, "codes.safetensors: classes: expected 4");
    await refused({ size: 8 }, "codes.safetensors: grid: expected 4x4");
    const npy = join(folder, "npy");
    await Deno.mkdir(join(npy, "1"), { recursive: true });
    for (let i = 0; i < 4; i++) {
      const data = BigInt64Array.of(1n, 2n, 3n, i === 3 ? 64n : 4n);
      await writeNpy(join(npy, "1", `${i}.npy`), { dtype: "i8", shape: [1, 4], data });
    }
    await refused({ path: npy }, "3.npy at [0, 3]: expected a token in 0..63 but found 64");
    await refused({ path: npy, classes: 1 }, "expected a class folder in 0..0 but found 1");
  }));
