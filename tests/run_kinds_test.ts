/** Runs of every kind of tokenizer and model: trained, sampled from, edited, and looked at on the way. */
import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { openDevice } from "../lib/device.ts";
import type { Image } from "../lib/formats/png.ts";
import { saveTree } from "../models/training/checkpoint.ts";
import { init } from "../models/model.ts";
import { gpt } from "../models/llamagen/gpt_config.ts";
import { key as keyOf } from "../ops/random.ts";
import { readConfig } from "../models/config/read.ts";
import { modelKind, type SamplingRequest, type TokenArray } from "../models/kinds/model.ts";
import { runKey } from "../models/training/keys.ts";
import { editImage } from "../models/training/edit.ts";
import { openRun, trainRun } from "../models/training/run.ts";
import { layoutOf, sampleImages, type TrainedRun } from "../models/training/samples.ts";
import { tokenCount } from "../models/fmt/config.ts";
import { inFolder } from "./command_line.ts";

const few = ["tokenizerTraining.steps=2", "training.steps=2", "sampling.perClass=1"];

/** A run of a few steps. */
async function shortRun(name: string, folder: string): Promise<TrainedRun> {
  await openDevice("wasm");
  await trainRun(readConfig(name, few), folder);
  assert((await Deno.stat(join(folder, "samples.png"))).size > 0);
  return await openRun(folder);
}

/** What a run draws of some images, given or not what stays. */
async function draw(
  { config, model }: TrainedRun,
  labels: readonly number[],
  more: Partial<SamplingRequest> = {},
): Promise<TokenArray> {
  const tokens = await modelKind(config.model).sample(config.model, model, {
    labels,
    settings: { ...config.sampling, temperature: 3 },
    key: runKey(0, "samples"),
    firstImage: 0,
    fullDecoder: false,
    ...more,
  });
  return await tokens.data() as TokenArray;
}

for (const name of ["smoke-var", "smoke-continuous", "smoke-ar"] as const) {
  Deno.test(`${name}: an image is the same in any batch, kept tokens stay to the bit, pictures come on the way`, () =>
    inFolder(async (folder) => {
      const run = await shortRun(name, folder);
      const { config } = run;
      const layout = layoutOf(config);
      const count = tokenCount(layout);

      const both = await draw(run, [0, 1]);
      const each = both.length / 2;
      const second = await draw(run, [1], { firstImage: 1 });
      assertEquals(second.length, each);
      for (const [i, x] of second.entries()) assert(Math.abs(x - both[each + i]!) < 1e-4);

      // Every other token stays, whatever else is drawn.
      const keep = Uint8Array.from({ length: count }, (_, i) => i % 2);
      const perToken = each / count;
      const edited = await draw(run, [2, 3], {
        kept: { tokens: both, keep },
        key: runKey(9, "samples"),
      });
      const isKept = (i: number) => keep[Math.floor(i / perToken) % count] === 1;
      assertEquals(edited.filter((_, i) => isKept(i)), both.filter((_, i) => isKept(i)));
      assertNotEquals(edited.filter((_, i) => !isKept(i)), both.filter((_, i) => !isKept(i)));

      const partial: Image[][] = [];
      const labels = [0, 1, 2];
      const images = await sampleImages(run, labels, config.sampling, 0, async (_, __, look) => {
        partial.push(await look!());
      });
      assertEquals(partial.map((seen) => seen.length), partial.map(() => labels.length));
      assertEquals(partial.at(-1), images);
      assertNotEquals(partial[0]![0]!.data, images[0]!.data);

      const [image] = images;
      const mask = { ...image!, data: image!.data.map((_, i) => i % 8 > 5 ? 255 : 0) };
      const edit = { image: image!, mask, label: 1, count: 2, seed: 1 };
      const result = await editImage(run, edit, config.sampling);
      assertEquals([result.images.length, result.total], [2, count]);
      assert(result.kept > 0 && result.kept < result.total);
      const whole = await editImage(run, { image: image!, seed: 1 }, config.sampling);
      assertEquals(whole.kept, whole.total);
    }));
}

Deno.test("steps and orders other than those of training, where they make sense", () =>
  inFolder(async (folder) => {
    const run = await shortRun("smoke-var", join(folder, "var"));
    const { sampling } = run.config;
    const cut = { ...sampling, schedule: "cosine", steps: 5 } as const; // sets across scales
    assertEquals((await sampleImages(run, [0], cut, 0)).length, 1);
    const sets: number[] = [];
    await sampleImages(run, [0], sampling, 0, (_, total) => void sets.push(total));
    assertEquals(sets, [3, 3, 3]);
    const continuous = await shortRun("smoke-continuous", join(folder, "continuous"));
    const each = { ...continuous.config.sampling, order: "raster", schedule: "uniform" } as const;
    assertEquals((await sampleImages(continuous, [0], { ...each, steps: 16 }, 0)).length, 1);
  }));

Deno.test("an fmt starts from the layers of a GPT that a run names", () =>
  inFolder(async (folder) => {
    await openDevice("wasm");
    const sizes = { dim: 16, heads: 2, ffnMultiple: 16, classes: 4 };
    const source = gpt({ ...sizes, vocabulary: 16, layers: 2, grid: { height: 4, width: 4 } });
    const weights = init(source, keyOf(5));
    const path = join(folder, "gpt.safetensors");
    await saveTree(path, weights, {});
    const run = join(folder, "run");
    const start = (file: string) =>
      readConfig("smoke", [
        ...few,
        "training.average=0",
        "training.learningRate=1e-9",
        `training.warmStart=${file}`,
      ]);
    await trainRun(start(path), run);
    const { model } = await openRun(run);
    const found = await (model as { tok_embeddings: typeof weights.tok_embeddings })
      .tok_embeddings.weight.data();
    const wanted = await weights.tok_embeddings.weight.data();
    for (const [i, x] of found.entries()) assert(Math.abs(x - wanted[i]!) < 1e-6);

    const deep = init(gpt({ ...sizes, vocabulary: 16, layers: 3 }), keyOf(5));
    await saveTree(path, deep, {});
    await assertRejects(
      () => trainRun(start(path), join(folder, "other")),
      RangeError,
      "training.warmStart",
    );
  }));
