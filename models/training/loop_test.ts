/** Tests of the training loop: what is logged, saved and continued, and what stops it. */
import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { closeDevices, openDevice } from "../../lib/device.ts";
import { readSafetensors } from "../../lib/formats/safetensors.ts";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { mul, sub } from "../../ops/arithmetic.ts";
import { mean } from "../../ops/reduce.ts";
import { square } from "../../ops/power.ts";
import { readConfig } from "../config/read.ts";
import type { TrainingSettings } from "../config/schema.ts";
import { Parameter } from "../layers/parameter.ts";
import { type Stage, train } from "./loop.ts";
import { readMetrics, trimMetrics } from "./metrics.ts";

type Params = { w: Tensor };

/** Fits w [2, 2] to a target that changes from step to step. */
function stage(settings: Partial<TrainingSettings>): Stage<Params, Tensor> {
  return {
    name: "model",
    seed: 5,
    settings: { ...readConfig("smoke").tokenizerTraining, weightDecay: 0.1, ...settings },
    files: { weights: "w.safetensors", state: "state.safetensors" },
    parameters: () => ({ w: new Parameter([2, 2], "ones") }),
    init: () => ({ w: tensor([[1, 2], [3, 4]]) }),
    batches: () => Promise.resolve((step) => tensor([Math.sin(step), Math.cos(step)])),
    loss: ({ w }, target) => ({ loss: mean(square(sub(w, target))) }),
    losses: ["loss"],
    rate: { name: "tokensPerSecond", perStep: 1 },
  };
}

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  await openDevice("wasm"); // the reference device keeps more digits than a checkpoint
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    closeDevices();
    await Deno.remove(folder, { recursive: true });
  }
}

async function tensors(path: string) {
  return (await readSafetensors(path)).tensors;
}

const options = { logEvery: 3, checkpointEvery: 4, average: 0.5, schedule: "constant" } as const;

Deno.test("training in parts gives the weights, state and log of training at once", () =>
  inFolder(async (folder) => {
    const whole = `${folder}/whole`, parts = `${folder}/parts`;
    for (const path of [whole, parts]) await Deno.mkdir(path);
    await train(stage({ ...options, steps: 11 }), whole);
    for (const steps of [4, 8, 11]) await train(stage({ ...options, steps }), parts);
    for (const file of ["w.safetensors", "state.safetensors"]) {
      assertEquals(await tensors(`${parts}/${file}`), await tensors(`${whole}/${file}`));
    }
    const log = async (path: string) =>
      (await readMetrics(`${path}/metrics.jsonl`)).map(({ step, loss }) => [step, loss]);
    assertEquals(await log(parts), await log(whole));
    assertEquals((await log(whole)).map(([step]) => step), [3, 4, 6, 8, 9, 11]);
  }));

Deno.test("weights are those of the moving average", () =>
  inFolder(async (folder) => {
    const { w } = await train(stage({ ...options, steps: 5 }), folder);
    const state = await tensors(`${folder}/state.safetensors`);
    const weights = await tensors(`${folder}/w.safetensors`);
    assertEquals(weights.w!.data, state["average.w"]!.data);
    assertEquals<unknown>(await w.data(), weights.w!.data);
    assert(String(weights.w!.data) !== String(state["params.w"]!.data));
  }));

Deno.test("a line of the log has the mean loss since the last, and the last learning rate", () =>
  inFolder(async (folder) => {
    const settings = { ...options, steps: 6, schedule: "linear", finalRate: 0, warmup: 2 } as const;
    await train(stage({ ...settings, logEvery: 1, checkpointEvery: 6 }), `${folder}`);
    const single = await readMetrics(`${folder}/metrics.jsonl`);
    await Deno.mkdir(`${folder}/other`);
    await train(stage({ ...settings, logEvery: 6 }), `${folder}/other`);
    const [, last] = await readMetrics(`${folder}/other/metrics.jsonl`);
    const tail = single.slice(4);
    assertAlmostEquals(last!.loss, (tail[0]!.loss + tail[1]!.loss) / 2, 1e-4); // of about 10
    single.forEach(({ learningRate }, step) => {
      const rate = 2e-3 * (1 - step / 6) * Math.min(1, (step + 1) / 2);
      assertAlmostEquals(learningRate, rate, 1e-8);
    });
  }));

Deno.test("a loss that is no number stops the training before it is saved", () =>
  inFolder(async (folder) => {
    const broken = {
      ...stage({ steps: 4 }),
      loss: ({ w }: Params) => ({ loss: mean(mul(w, NaN)) }),
    };
    await assertRejects(() => train(broken, folder), Error, "finite loss but found NaN");
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name), ["metrics.jsonl"]);
  }));

Deno.test("a log is cut back to the step that training continues from", () =>
  inFolder(async (folder) => {
    const path = `${folder}/metrics.jsonl`;
    const line = (stage: string, step: number) => JSON.stringify({ stage, step });
    const all = [line("tokenizer", 9), line("model", 2), line("model", 4), '{"stage":"mod'];
    await Deno.writeTextFile(path, all.join("\n"));
    await trimMetrics(path, "model", 2);
    assertEquals((await Deno.readTextFile(path)).trim().split("\n"), all.slice(0, 2));
    await trimMetrics(path, "tokenizer", 0);
    assertEquals(await Deno.readTextFile(path), "");
  }));
