/** Tests of what a tokenizer learns by: each option trains, is resumed exactly, and says what it did. */
import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { openDevice } from "../../lib/device.ts";
import type { Tensor } from "../../lib/tensor.ts";
import { grad } from "../../lib/transforms/vjp.ts";
import { zeros } from "../../ops/create.ts";
import { normal } from "../../ops/distributions.ts";
import { key } from "../../ops/random.ts";
import { inFolder } from "../../tests/command_line.ts";
import { readConfig } from "../config/read.ts";
import { generateShapes } from "../data/shapes.ts";
import { autoencoder } from "../diffusion/autoencoder.ts";
import { type Tokenizer, tokenizerKind } from "../kinds/tokenizer.ts";
import type { Codebook } from "../layers/codebook.ts";
import { llamagenVq } from "../llamagen/vq_config.ts";
import { init as firstParameters } from "../model.ts";
import { multiscaleVq } from "../var/config.ts";
import type { VqConfig } from "../vq/config.ts";
import { vqLoss, type VqParameters } from "../vq/vq.ts";
import { imageBatch } from "./data.ts";
import { firstState, train } from "./loop.ts";
import { readMetrics } from "./metrics.ts";
import { metricNames, trainingStep } from "./step.ts";
import { lastState } from "./testing.ts";
import { tokenizerLoss } from "./tokenizer_loss.ts";
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

Deno.test("every kind of tokenizer learns by all that there is", async () => {
  await openDevice("wasm");
  const levels = { encoderMultipliers: [1, 1], decoderMultipliers: [1, 1], blocks: 1 };
  const small = { imageHeight: 8, imageWidth: 8, encoderChannels: [4], decoderChannels: [4, 4] };
  const models = [
    multiscaleVq({ ...small, codes: 8, scales: [1, 4] }),
    llamagenVq({ channels: 4, groups: 2, latentChannels: 4, codes: 8, ...levels }),
    autoencoder(small),
  ];
  const all = configOf("codebook.update=ema", "codebook.restart=true", ...adversarial);
  const settings = { ...all.tokenizerTraining, accumulate: 1 };
  for (const model of models) {
    const tokenizer = tokenizerKind<Tokenizer>(model).trainable(model);
    const { loss, losses, buffers } = tokenizerLoss(tokenizer, settings, key(0));
    const names = metricNames(losses);
    const init = () => firstParameters(model, key(1));
    const state = await firstState({ init, settings, buffers });
    const images = normal(key(2), [2, tokenizer.imageChannels, 8, 8]);
    const batch = { images, keys: zeros([2, 2], { dtype: "u32" }) };
    const step = trainingStep(loss, losses, settings, buffers?.update);
    const before = tokenizer.codebook && await codesOf(state.params).data();
    const { state: next, history } = step(state, zeros([1, names.length]), batch);
    const metrics = Array.from(await history.data());
    names.forEach((name, i) => assert(Number.isFinite(metrics[i]), `${model.kind} ${name}`));
    assertEquals(metrics[names.indexOf("skipped")], 0);
    assertEquals(names.includes("codesUsed"), tokenizer.codebook !== undefined);
    if (before) assert(String(await codesOf(next.params).data()) !== String(before), model.kind);
  }
});

function codesOf(params: unknown): Tensor {
  return (params as { quantize: Codebook }).quantize.embedding.weight;
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

Deno.test("the entropy loss moves the encoder, and codes where gradients do", async () => {
  await openDevice("reference");
  for (const update of ["gradient", "ema"]) {
    const config = configOf(`codebook.update=${update}`, "codebook.entropy=1");
    const stage = tokenizerStage(config, data);
    const batch = { images: imageBatch(data, [0, 1]), keys: zeros([2, 2], { dtype: "u32" }) };
    const entropy = (params: VqParameters) => stage.loss(params, batch, {}).entropy!;
    const { encoder, quantize } = grad(entropy)(await stage.init() as VqParameters);
    const largest = async (x: Tensor) => Math.max(...(await x.data()).map(Math.abs));
    assert(await largest(encoder.out.weight) > 0);
    assertEquals(await largest(quantize.embedding.weight) > 0, update === "gradient");
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
