/** Tests of steps in parts: they do what a step on the whole batch does, alone or shared among processes. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { testOnDevices } from "../../tests/devices.ts";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { treeLeaves } from "../../lib/tree.ts";
import { openDevice } from "../../lib/device.ts";
import { add, div, mul, sub } from "../../ops/arithmetic.ts";
import { zeros } from "../../ops/create.ts";
import { adamw } from "../../ops/optimizers/adamw.ts";
import { square } from "../../ops/power.ts";
import { mean, sum } from "../../ops/reduce.ts";
import { readConfig } from "../config/read.ts";
import { generateShapes } from "../data/shapes.ts";
import {
  type GradientSums,
  partialPrograms,
  type SharedStep,
  stepInParts,
  type StepOf,
} from "./accumulate.ts";
import type { Stage } from "./loop.ts";
import { modelStage, tokensOf } from "./model_stage.ts";
import { tokensInMemory } from "./tokens.ts";
import { type LossFunction, metricNames, type TrainingState } from "./step.ts";
import { tokenizerStage } from "./tokenizer_stage.ts";

/** A run's config without what is drawn anew for every part. */
const configure = (...settings: string[]) =>
  readConfig("smoke", [
    "model.embeddingDropout=0",
    "model.residualDropout=0",
    "model.ffnDropout=0",
    ...settings,
  ]);
const data = generateShapes({ count: 16, size: 8, classes: 4, seed: 0 });

function stages(settings: readonly string[]) {
  const config = configure(...settings);
  const count = data.count * tokensOf(config.model);
  const codes = Int32Array.from({ length: count }, (_, i) => (i * 7) % 16);
  return {
    model: modelStage(
      config,
      data.count,
      () => Promise.resolve(tokensInMemory(codes, data.labels)),
    ),
    tokenizer: tokenizerStage(config, data),
  };
}

/** State and metrics after some steps. */
async function train<P, Batch>(stage: Stage<P, Batch>, steps: number) {
  const params = await stage.init();
  const average = await stage.init();
  let state: TrainingState<P> = { params, optimizer: adamw.init(params), average };
  const columns = metricNames(stage.losses).length;
  let history = zeros([steps, columns]);
  const step = stepInParts(stage);
  const batch = await stage.batches();
  for (let i = 0; i < steps; i++) {
    ({ state, history } = await step(state, history, (part) => batch(i, part)));
  }
  const leaves = treeLeaves<Tensor>([state.optimizer.mean, state.average]);
  return {
    history: await history.data() as Float32Array,
    state: await Promise.all(leaves.map((x) => x.data())) as Float32Array[],
  };
}

/** The largest difference of arrays, relative to the largest element of each. */
function difference(found: readonly Float32Array[], wanted: readonly Float32Array[]): number {
  assertEquals(found.map(({ length }) => length), wanted.map(({ length }) => length));
  return Math.max(...wanted.map((array, i) => {
    const scale = array.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    return array.reduce((most, x, j) => Math.max(most, Math.abs(x - found[i]![j]!)), 0) /
      (scale || 1);
  }));
}

testOnDevices("parts of a batch make the step of the whole batch", async () => {
  // Gradients that are zero but for rounding are what epsilon is for: they would move weights as far as any other.
  const settings = ["training.epsilon=0.001", "tokenizerTraining.epsilon=0.001"];
  const tolerance = 2e-5; // f32, values of two steps
  for (const recipe of ["random-4-random", "mar"]) {
    for (const stage of ["model", "tokenizer"] as const) {
      if (stage === "tokenizer" && recipe === "mar") continue;
      const run = (parts: number) => {
        const all = stages([
          ...settings,
          `recipe=${recipe}`,
          `training.accumulate=${parts}`,
          `tokenizerTraining.accumulate=${parts}`,
        ]);
        return train(all[stage] as Stage<unknown, unknown>, 2);
      };
      const whole = await run(1), parts = await run(4);
      const found = difference([parts.history, ...parts.state], [whole.history, ...whole.state]);
      assert(found < tolerance, `${stage} ${recipe}: ${found}`);
    }
  }
}, ["wasm"]);

type Params = { readonly w: Tensor };
type Masked = { readonly x: Tensor; readonly mask: Tensor };

/** A mean over the places that a mask leaves. */
const maskedLoss: LossFunction<Params, Masked> = ({ w }, { x, mask }) => {
  const weight = sum(mask);
  return { loss: div(sum(mul(square(sub(x, w)), mask)), weight), weight };
};
const settings = { ...configure().tokenizerTraining, accumulate: 2, clip: 0.5 };

function start() {
  const params: Params = { w: tensor([1, 2, 3]) };
  return { state: { params, optimizer: adamw.init(params) }, history: zeros([3, 4]) };
}

testOnDevices("parts count by their weight", async () => {
  const programs = partialPrograms({ loss: maskedLoss, losses: ["loss"], settings });
  const { state, history } = start();
  let sums = programs.room(state.params);
  const parts: [number[], number[]][] = [[[1, 0, 5], [1, 1, 1]], [[9, 4, 9], [0, 1, 0]]];
  for (const [i, [x, mask]] of parts.entries()) {
    const part = { x: tensor(x), mask: tensor(mask) };
    ({ sums } = programs.gradients(state, part, sums, tensor(i === 0)));
  }
  // (1-1)² + (0-2)² + (5-3)² and (4-2)², over 4 places.
  const { history: metrics } = programs.update(state, history, sums, { batches: [], rests: [] });
  const [loss, , norm] = await metrics.data();
  const gradient = [0, 2 * (2 - 0) / 4 + 2 * (2 - 4) / 4, 2 * (3 - 5) / 4];
  assert(Math.abs(loss! - 12 / 4) < 1e-6, `${loss}`);
  assert(Math.abs(norm! - Math.hypot(...gradient)) < 1e-6, `${norm}`);
});

testOnDevices("optimizer state in the host's memory gives the same steps", async () => {
  const run = async (offload: boolean) => {
    const own = {
      ...settings,
      accumulate: offload ? 1 : 2,
      offload,
      average: 0.5,
      weightDecay: 0.1,
      groups: [{ match: "^b", learningRate: 0.5, weightDecay: 0.2 }],
    };
    type Two = { readonly a: Tensor; readonly b: { readonly c: Tensor } };
    const params = (): Two => ({ a: tensor([[1, 2], [3, 4]]), b: { c: tensor([5, 6]) } });
    const first = params();
    let state: TrainingState<Two> = {
      params: first,
      optimizer: adamw.init(first),
      average: params(),
    };
    let history = zeros([4, 4]);
    const step = stepInParts({
      loss: ({ a, b }: Two, x: Tensor) => ({ loss: mean(square(sub(mul(a, x), b.c))) }),
      losses: ["loss"],
      settings: own,
    });
    for (const value of [1, 2, NaN, 3]) {
      ({ state, history } = await step(state, history, () => tensor(value)));
    }
    const leaves = treeLeaves<Tensor>([state.params, state.optimizer.mean, state.average]);
    assertEquals(await state.optimizer.step.item(), 4);
    assertEquals(leaves.some(({ value }) => value.host !== undefined), offload);
    return await Promise.all([...leaves, history].map((x) => x.data())) as Float32Array[];
  };
  const found = await run(true), wanted = await run(false);
  assertEquals(difference(found.slice(0, -1), wanted.slice(0, -1)) < 1e-6, true);
  const metrics = (rows: Float32Array) => Array.from(rows, (x) => x.toPrecision(5));
  assertEquals(metrics(found.at(-1)!), metrics(wanted.at(-1)!));
});

testOnDevices("a bad part skips its step and leaves no trace in the next", async () => {
  const run = async (good: readonly boolean[]) => {
    let { state, history }: { state: TrainingState<Params>; history: Tensor } = start();
    const step = stepInParts({ loss: maskedLoss, losses: ["loss"], settings });
    for (const isGood of good) {
      const part = ({ index }: { index: number }) => ({
        x: tensor([isGood || index === 0 ? 1 : NaN, index, 0]),
        mask: tensor([1, 1, 1]),
      });
      ({ state, history } = await step(state, history, part));
    }
    const rows = await history.toArray() as number[][];
    return { w: await state.params.w.toArray(), skipped: rows.map((row) => row[3]) };
  };
  const without = await run([true]);
  const withBad = await run([false, true]);
  assertEquals(withBad.skipped, [1, 0, 0]);
  assertEquals(without.skipped, [0, 0, 0]);
  assert((withBad.w as number[]).every(Number.isFinite));
});

testOnDevices("processes that share a step end with the weights of one alone", async () => {
  const batch = ({ index, count }: { index: number; count: number }) => {
    assertEquals(count, 4);
    return { x: tensor([index, 2, -index]), mask: tensor([1, Number(index > 0), 1]) };
  };
  const loss = { loss: maskedLoss, losses: ["loss"] };
  const { state, history } = start();
  const alone = await stepInParts({ ...loss, settings: { ...settings, accumulate: 4 } })(
    state,
    history,
    batch,
  );
  // The mean over two processes, each of which waits for the other.
  const given: GradientSums<Params>[] = [];
  const { promise: both, resolve } = Promise.withResolvers<void>();
  const reduce = async (sums: GradientSums<Params>) => {
    if (given.push(sums) === 2) resolve();
    await both;
    const mean = (a: Tensor, b: Tensor) => tensorMean(a, b);
    const [a, b] = given as [GradientSums<Params>, GradientSums<Params>];
    return {
      gradients: { w: await mean(a.gradients.w, b.gradients.w) },
      losses: [await mean(a.losses[0]!, b.losses[0]!)],
      weight: await mean(a.weight, b.weight),
    };
  };
  const results = await Promise.all([0, 1].map((rank) => {
    const { state, history } = start();
    const shared = { rank, size: 2, reduce, gather: () => Promise.reject() };
    return stepInParts({ ...loss, settings }, shared)(state, history, batch);
  }));
  const wanted = [await alone.state.params.w.data(), await alone.history.data()] as Float32Array[];
  for (const { state, history } of results) {
    const found = [await state.params.w.data(), await history.data()] as Float32Array[];
    assert(difference(found, wanted) < 1e-6);
  }
});

Deno.test("what moves buffers sees all parts of a batch, also those of other processes", async () => {
  await openDevice("wasm");
  const training: StepOf<Params, Tensor, Tensor> = {
    loss: ({ w }, x, seen) => ({ loss: mean(square(sub(x, w))), seen: add(x, seen) }),
    losses: ["loss", "total"],
    settings,
    buffers: {
      update: (params, seen, found, batch) => {
        const total = add(sum(found.seen!), sum(mul(batch, 100)));
        return { params, buffers: add(seen, 1), metrics: { total } };
      },
    },
  };
  const params: Params = { w: tensor([1, 2, 3]) };
  const run = async (shared?: SharedStep<Params>) => {
    const { state, history } = await stepInParts(training, shared)(
      { params, optimizer: adamw.init(params), buffers: tensor(0.5) },
      zeros([1, 5]),
      ({ index }) => tensor([[index, 1, 2]]),
    );
    assertEquals(await state.buffers!.item(), 1.5);
    return (await history.data())[1];
  };
  assertEquals(await run(), 7 + 6 * 0.5 + 700);
  // Of two processes the second, to which the first tells what it has seen of its parts 0 and 1.
  const ofFirst = [0, 1].map((index) => ({ seen: tensor([[index + 0.5, 1.5, 2.5]]) }));
  const shared: SharedStep<Params> = {
    rank: 1,
    size: 2,
    reduce: (sums) => sums,
    gather: (own) => Promise.resolve([...ofFirst, ...own]),
  };
  assertEquals(await run(shared), (0 + 1 + 2 + 3 + 4 * 3) + 12 * 0.5 + 100 * (6 + 4 * 3));
});

/** Their mean, by way of the host. */
async function tensorMean(a: Tensor, b: Tensor): Promise<Tensor> {
  const other = await b.data();
  const mean = (await a.data() as Float32Array).map((x, i) => (x + other[i]!) / 2);
  return tensor(mean, { shape: a.shape });
}

Deno.test("the number of parts must divide the batch", () => {
  assertThrows(
    () => configure("training.accumulate=3"),
    RangeError,
    "training.accumulate: expected a divisor of batchSize 8 but found 3",
  );
});
