/** Tests of what a tokenizer learns by: each option trains, is resumed exactly, and says what it did. */
import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { openDevice } from "../../lib/device.ts";
import { zeros } from "../../ops/create.ts";
import { inFolder } from "../../tests/command_line.ts";
import { readConfig } from "../config/read.ts";
import { generateShapes } from "../data/shapes.ts";
import type { VqConfig } from "../vq/config.ts";
import { vqLoss, type VqParameters } from "../vq/vq.ts";
import { imageBatch } from "./data.ts";
import { train } from "./loop.ts";
import { readMetrics } from "./metrics.ts";
import { lastState } from "./testing.ts";
import { tokenizerStage } from "./tokenizer_stage.ts";

const data = generateShapes({ count: 32, size: 8, classes: 4, seed: 0 });

/** Settings of a short training, by what comes after `tokenizerTraining.`. */
function configOf(...settings: string[]) {
  const short = ["steps=12", "batchSize=8", "logEvery=4", "checkpointEvery=5"];
  return readConfig("smoke", [...short, ...settings].map((text) => `tokenizerTraining.${text}`));
}

const adversarial = [
  "adversarial.weight=0.1",
  "adversarial.channels=2",
  "adversarial.levels=1",
  "adversarial.start=3",
  "adversarial.gradientPenalty=0.1",
];
const always = ["reconstruction", "codebook", "commitment", "codesUsed", "perplexity"];

const options: readonly { name: string; settings: string[]; metrics: string[] }[] = [
  { name: "gradients", settings: [], metrics: always },
  { name: "moving averages", settings: ["codebook.update=ema"], metrics: always },
  {
    name: "restarts",
    settings: ["codebook.restart=true", "codebook.window=2"],
    metrics: always,
  },
  {
    name: "moving averages, restarts and entropy",
    settings: [
      "codebook.update=ema",
      "codebook.restart=true",
      "codebook.window=2",
      "codebook.entropy=0.1",
    ],
    metrics: [...always, "entropy"],
  },
  {
    name: "moving averages and a discriminator in parts",
    settings: ["codebook.update=ema", ...adversarial, "accumulate=2"],
    metrics: [...always, "adversarial", "discriminator", "gradientPenalty"],
  },
  {
    name: "a discriminator",
    settings: adversarial,
    metrics: [...always, "adversarial", "discriminator", "gradientPenalty"],
  },
];

for (const { name, settings, metrics } of options) {
  Deno.test(`${name}: training in parts is training at once, and its losses are logged`, () =>
    inFolder(async (folder) => {
      await openDevice("wasm"); // the reference device keeps more digits than a checkpoint
      for (const [path, steps] of [["whole", [12]], ["parts", [7, 12]]] as const) {
        await Deno.mkdir(`${folder}/${path}`);
        for (const count of steps) {
          const config = configOf(...settings, `steps=${count}`);
          await train(tokenizerStage(config, data), `${folder}/${path}`);
        }
      }
      const state = async (path: string) =>
        (await lastState(`${folder}/${path}`, "tokenizer")).tensors;
      assertEquals(await state("parts"), await state("whole"));
      const weights = (path: string) => Deno.readFile(`${folder}/${path}/tokenizer.safetensors`);
      assertEquals(await weights("parts"), await weights("whole"));
      const log = await readMetrics(`${folder}/whole/metrics.jsonl`);
      for (const line of log) {
        for (const metric of metrics) assert(Number.isFinite(line[metric]), metric);
      }
      assert(log.at(-1)!.reconstruction! < log[0]!.reconstruction!);
    }));
}

Deno.test("by gradients alone the loss is that of the paper", async () => {
  await openDevice("reference");
  const config = configOf();
  const stage = tokenizerStage(config, data);
  const params = await stage.init();
  const images = imageBatch(data, [0, 1, 2]);
  const keys = zeros([3, 2], { dtype: "u32" });
  const found = stage.loss(params, { images, keys }, {});
  const wanted = vqLoss(config.tokenizer as VqConfig, params as VqParameters, images);
  for (const name of ["loss", "reconstruction", "codebook"] as const) {
    assertAlmostEquals(await found[name]!.item(), await wanted[name].item(), 1e-6);
  }
});

Deno.test("restarts bring codes into use that gradients alone leave", () =>
  inFolder(async (folder) => {
    await openDevice("wasm");
    const used = async (name: string, ...settings: string[]) => {
      await Deno.mkdir(`${folder}/${name}`);
      const config = configOf("codebook.window=4", ...settings);
      await train(tokenizerStage(config, data), `${folder}/${name}`);
      return (await readMetrics(`${folder}/${name}/metrics.jsonl`)).at(-1)!.codesUsed as number;
    };
    const restarted = await used("restarted", "codebook.restart=true");
    assert(restarted > await used("plain"), String(restarted));
  }));

Deno.test("a perceptual loss without weights is refused", () =>
  inFolder(async (folder) => {
    assertThrows(
      () => configOf("perceptual.weight=1"),
      RangeError,
      "tokenizerTraining.perceptual.weights: expected a file of weights",
    );
    await openDevice("wasm");
    const config = configOf("perceptual.weight=1", `perceptual.weights=${folder}/none.safetensors`);
    await assertRejects(() => train(tokenizerStage(config, data), folder), Deno.errors.NotFound);
  }));
