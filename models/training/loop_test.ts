/** Tests of the training loop: what is logged, saved and continued, and what stops it. */
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { NonFiniteError } from "../../lib/debug/nans.ts";
import { closeDevices, openDevice } from "../../lib/device.ts";
import { readSafetensors } from "../../lib/formats/safetensors.ts";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { add, mul, sub } from "../../ops/arithmetic.ts";
import { sqrt } from "../../ops/math.ts";
import { mean } from "../../ops/reduce.ts";
import { square } from "../../ops/power.ts";
import { readConfig } from "../config/read.ts";
import type { TrainingSettings } from "../config/schema.ts";
import { Parameter } from "../layers/parameter.ts";
import { type Stage, train } from "./loop.ts";
import { lastState } from "./testing.ts";
import { readMetrics, trimMetrics } from "./metrics.ts";

type Params = { w: Tensor };

/** Fits w [2, 2] to a target that changes from step to step. */
function stage(settings: Partial<TrainingSettings>): Stage<Params, Tensor> {
  return {
    name: "model",
    seed: 5,
    settings: { ...readConfig("smoke").tokenizerTraining, weightDecay: 0.1, ...settings },
    config: {},
    position: (step) => ({ step }),
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

async function tensors(folder: string) {
  return (await lastState(folder, "model")).tensors;
}

/** The weights to share. */
const shared = (folder: string) => Deno.readFile(`${folder}/model.safetensors`);

const options = { logEvery: 3, checkpointEvery: 4, average: 0.5, schedule: "constant" } as const;

Deno.test("training in parts gives the weights, state and log of training at once", () =>
  inFolder(async (folder) => {
    const whole = `${folder}/whole`, parts = `${folder}/parts`;
    for (const path of [whole, parts]) await Deno.mkdir(path);
    await train(stage({ ...options, steps: 11 }), whole);
    for (const steps of [4, 8, 11]) await train(stage({ ...options, steps }), parts);
    assertEquals(await tensors(parts), await tensors(whole));
    assertEquals(await shared(parts), await shared(whole));
    const log = async (path: string) =>
      (await readMetrics(`${path}/metrics.jsonl`)).map(({ step, loss }) => [step, loss]);
    assertEquals(await log(parts), await log(whole));
    assertEquals((await log(whole)).map(([step]) => step), [3, 4, 6, 8, 9, 11]);
  }));

Deno.test("weights are those of the moving average", () =>
  inFolder(async (folder) => {
    const { w } = await train(stage({ ...options, steps: 5 }), folder);
    const state = await tensors(folder);
    const { tensors: weights } = await readSafetensors(`${folder}/model.safetensors`);
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
      ...stage({ steps: 4, skipLimit: 4 }),
      loss: ({ w }: Params) => ({ loss: mean(mul(w, NaN)) }),
    };
    const error = await assertRejects(() => train(broken, folder), NonFiniteError);
    assertStringIncludes(error.message, "finite loss but found NaN");
    const files = [...Deno.readDirSync(folder)].map(({ name }) => name);
    assertEquals(files.filter((name) => !/tfevents/.test(name)), ["metrics.jsonl"]);
  }));

Deno.test("steps without a finite loss or gradient are skipped and counted", () =>
  inFolder(async (folder) => {
    // 1 in 3 batches is bad; a square root of 0 has a finite value but no finite gradient.
    const bad = [NaN, Infinity, 0];
    const target = (step: number) =>
      step % 3 === 1 ? bad[Math.floor(step / 3) % 3]! : 1 + step / 100;
    const training = (only: (step: number) => boolean, settings: Partial<TrainingSettings>) => {
      const steps = Array.from({ length: 12 }, (_, step) => step).filter(only);
      return {
        ...stage({ ...options, logEvery: 3, checkpointEvery: 12, ...settings }),
        batches: () => Promise.resolve((step: number) => tensor(target(steps[step]!))),
        loss: ({ w }: Params, x: Tensor) => ({ loss: mean(mul(sqrt(mul(w, x)), w)) }),
      };
    };
    const { w } = await train(training(() => true, { steps: 12, skipLimit: 2 }), folder);
    assert((await w.toArray() as number[][]).flat().every(Number.isFinite));
    const log = await readMetrics(`${folder}/metrics.jsonl`);
    assertEquals(log.map(({ skipped }) => skipped), [1, 1, 1, 1]);
    assert(log.every(({ loss }) => Number.isFinite(loss)));
    const stops = training((step) => step % 3 === 1, { steps: 4, skipLimit: 3 });
    await Deno.mkdir(`${folder}/stops`);
    await assertRejects(() => train(stops, `${folder}/stops`), Error, "3 skipped steps in a row");
  }));

Deno.test("a training that stops names what made the first NaN: data, weights or an op", () =>
  inFolder(async (folder) => {
    const stops = async (parts: Partial<Stage<Params, Tensor>>, message: string) => {
      const settings = { ...options, steps: 9, skipLimit: 3, checkpointEvery: 9 };
      const training = { ...stage(settings), ...parts };
      const error = await assertRejects(() => train(training, folder), NonFiniteError);
      assertStringIncludes(error.message, "after 3 skipped steps in a row");
      assertStringIncludes(error.message, message);
    };
    const data = (step: number) => tensor([1, step < 2 ? 1 : NaN]);
    await stops(
      { batches: () => Promise.resolve(data) },
      "up to step 5 of the model: debugNans: found NaN at [1] of argument 0.batch, f32[2]",
    );
    await stops(
      { init: () => ({ w: tensor([[1, 2], [NaN, 4]]) }) },
      "up to step 3 of the model: debugNans: found NaN at [1, 0] of argument 0.state.params.w",
    );
    await stops(
      { loss: ({ w }, target) => ({ loss: mean(mul(sqrt(sub(w, 2)), target)) }) },
      "sqrt(f32[2, 2]) -> f32[2, 2] made NaN at [0, 0] from finite inputs (there -1)",
    );
  }));

Deno.test("a skipped step leaves parameters, means and average to the bit", () =>
  inFolder(async (folder) => {
    const steps = (count: number) => ({
      ...stage({ ...options, steps: count, checkpointEvery: count }),
      batches: () => Promise.resolve((step: number) => tensor(step < 3 ? 1 : NaN)),
    });
    const saved: Awaited<ReturnType<typeof tensors>>[] = [];
    for (const count of [3, 5]) {
      await train(steps(count), folder);
      const { "optimizer.step": step, ...others } = await tensors(folder);
      assertEquals(step!.data, Int32Array.of(count));
      saved.push(others);
    }
    assertEquals(saved[1], saved[0]);
  }));

Deno.test("buffers go on after the optimizer: saved, resumed, logged, and as they were in a skipped step", () =>
  inFolder(async (folder) => {
    // Counts good steps, and sets a second parameter, which has no gradient, to the count.
    type Counted = { w: Tensor; seen: Tensor };
    const counting = (steps: number): Stage<Counted, Tensor, { count: Tensor }> => ({
      ...stage({ ...options, weightDecay: 0, average: 0, steps }),
      parameters: () => ({ w: new Parameter([2, 2], "ones"), seen: new Parameter([], "zeros") }),
      init: () => ({ w: tensor([[1, 2], [3, 4]]), seen: tensor(0) }),
      batches: () => Promise.resolve((step) => tensor(step === 2 ? NaN : step)),
      losses: ["loss", "before", "after"],
      loss: ({ w }, target, { count }) => ({ loss: mean(square(sub(w, target))), before: count }),
      buffers: {
        parameters: () => ({ count: new Parameter([], "zeros") }),
        init: () => ({ count: tensor(0) }),
        update(params, { count }) {
          const next = add(count, 1);
          return {
            params: { ...params, seen: next },
            buffers: { count: next },
            metrics: { after: next },
          };
        },
      },
    });
    for (const steps of [4, 7]) {
      const { seen } = await train(counting(steps), folder);
      assertEquals(await seen.item(), steps - 1);
    }
    const state = await tensors(folder);
    assertEquals(Array.from(state["buffers.count"]!.data as Float32Array), [6]);
    const last = (await readMetrics(`${folder}/metrics.jsonl`)).at(-1)!;
    assertEquals([last.before, last.after], [5, 6]);
  }));

Deno.test("a run whose data or keys are others is not continued", () =>
  inFolder(async (folder) => {
    await train(stage({ ...options, steps: 4 }), folder);
    const other = { ...stage({ ...options, steps: 8 }), position: () => ({ step: 3 }) };
    await assertRejects(
      () => train(other, folder),
      RangeError,
      'continue the model at {"step":4} but found its data and keys at {"step":3}',
    );
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

Deno.test("pictures come every so many steps, from the average, and change nothing", () =>
  inFolder(async (folder) => {
    const draws: unknown[] = [];
    const drawing = (every: number): Stage<Params, Tensor> => ({
      ...stage({ ...options, steps: 7 }),
      pictures: {
        every,
        async draw({ w }) {
          draws.push(await add(w, 0).toArray());
          return { width: 1, height: 1, channels: 1, data: new Uint8Array(1) };
        },
      },
    });
    const [never, often] = [`${folder}/never`, `${folder}/often`];
    for (const path of [never, often]) await Deno.mkdir(path);
    await train(drawing(0), never);
    assertEquals(draws, []);
    const { w } = await train(drawing(2), often);
    const files = [...Deno.readDirSync(`${often}/samples`)].map(({ name }) => name).sort();
    assertEquals(files, ["step-000002.png", "step-000004.png", "step-000006.png"]);
    assert(String(draws[2]) !== String(await w.toArray()), "of step 6, not of step 7");
    assertEquals(
      await tensors(often),
      await tensors(never),
    );
    const last = (await readMetrics(`${often}/metrics.jsonl`)).at(-1)!;
    assert(last.deviceBytes > 0 && last.hostBytes > 1e7 && last.time > 1.6e9);
  }));

Deno.test("a loss of several values is logged as a list, of a batch in parts as well", () =>
  inFolder(async (folder) => {
    const logs: (readonly number[])[][] = [];
    for (const accumulate of [1, 2]) {
      const path = `${folder}/${accumulate}`;
      await Deno.mkdir(path);
      await train({
        ...stage({ ...options, steps: 6, accumulate }),
        batches: () => Promise.resolve((step) => tensor([[step, -step], [step, -step]])),
        loss: ({ w }, target) => {
          const each = mean(square(sub(w, target)), { axes: 0 });
          return { loss: mean(each), each };
        },
        losses: ["loss", { name: "each", length: 2 }],
      }, path);
      const log = await readMetrics(`${path}/metrics.jsonl`);
      logs.push(log.map(({ each }) => each as number[]));
      for (const { loss, each } of log) {
        const [a, b] = each as number[];
        assertAlmostEquals((a! + b!) / 2, loss, 1e-4 * loss);
      }
    }
    const [whole, parts] = logs;
    assertEquals(whole!.map(({ length }) => length), [2, 2, 2]);
    whole!.flat().forEach((value, i) => assertAlmostEquals(parts!.flat()[i]!, value, 1e-4 * value));
  }));
