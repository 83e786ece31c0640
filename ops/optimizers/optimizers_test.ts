/** Optimizers against their formulas written out for plain numbers. */
import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { testOnDevices } from "../../tests/devices.ts";
import * as ops from "../mod.ts";

type Params = { matrix: Tensor; bias: Tensor };

const start = { matrix: [1, -2], bias: [0.5, 3] };
const slopes = [{ matrix: [0.3, -4], bias: [2, 0.1] }, { matrix: [-1, 0.2], bias: [0, -5] }];

/** Matrices have two axes and decay; biases have one and do not. */
function tree({ matrix, bias }: { matrix: number[]; bias: number[] }): Params {
  return { matrix: tensor([matrix]), bias: tensor(bias) };
}

async function assertParams(params: Params, expected: typeof start): Promise<void> {
  const found = { matrix: await params.matrix.data(), bias: await params.bias.data() };
  for (const name of ["matrix", "bias"] as const) {
    for (const [i, x] of expected[name].entries()) {
      assertAlmostEquals(found[name][i]!, x, 1e-5, `${name}[${i}]`);
    }
  }
}

testOnDevices("adamw makes the steps of its formula, with decay of matrices alone", async () => {
  const options = { learningRate: 0.1, beta1: 0.8, beta2: 0.9, epsilon: 1e-3, weightDecay: 0.5 };
  const expected = structuredClone(start);
  const mean = { matrix: [0, 0], bias: [0, 0] }, variance = structuredClone(mean);
  let params = tree(start);
  let state = ops.adamw.init(params);
  for (const [step, slope] of slopes.entries()) {
    [params, state] = ops.adamw.update(params, tree(slope), state, options);
    for (const name of ["matrix", "bias"] as const) {
      for (const [i, g] of slope[name].entries()) {
        mean[name][i] = 0.8 * mean[name][i]! + 0.2 * g;
        variance[name][i] = 0.9 * variance[name][i]! + 0.1 * g * g;
        const m = mean[name][i]! / (1 - 0.8 ** (step + 1));
        const v = variance[name][i]! / (1 - 0.9 ** (step + 1));
        const kept = name === "matrix" ? 1 - 0.1 * 0.5 : 1;
        expected[name][i] = expected[name][i]! * kept - 0.1 * m / (Math.sqrt(v) + 1e-3);
      }
    }
  }
  await assertParams(params, expected);
  assertEquals([state.step.dtype, await state.step.item()], ["i32", 2]);
});

testOnDevices("sgd with momentum makes the steps of its formula", async () => {
  const options = { learningRate: 0.1, momentum: 0.9, weightDecay: 0.5 };
  const expected = structuredClone(start);
  const velocity = { matrix: [0, 0], bias: [0, 0] };
  let params = tree(start);
  let state = ops.sgd.init(params);
  for (const slope of slopes) {
    [params, state] = ops.sgd.update(params, tree(slope), state, options);
    for (const name of ["matrix", "bias"] as const) {
      for (const [i, g] of slope[name].entries()) {
        const decayed = name === "matrix" ? g + 0.5 * expected[name][i]! : g;
        velocity[name][i] = 0.9 * velocity[name][i]! + decayed;
        expected[name][i]! -= 0.1 * velocity[name][i]!;
      }
    }
  }
  await assertParams(params, expected);
});

testOnDevices("adamw gives the parameters of a group a rate and a decay of their own", async () => {
  const options = { learningRate: 0.1, weightDecay: 0.5 };
  const update = (rate: number, decay: number, own?: ops.AdamWGroup) =>
    ops.adamw.update(tree(start), tree(slopes[0]!), ops.adamw.init(tree(start)), {
      learningRate: rate,
      weightDecay: decay,
      ...(own ? { groupOf: (path: string) => path === "bias" ? own : undefined } : {}),
    })[0];
  const found = update(0.1, 0.5, { learningRate: 0.2, weightDecay: 0.25 });
  const plain = update(options.learningRate, options.weightDecay);
  assertEquals(await found.matrix.data(), await plain.matrix.data());
  const slower = await update(0.1 * 0.2, 0).bias.data();
  const wanted = Array.from(slower, (x, i) => x - start.bias[i]! * 0.1 * 0.2 * 0.25);
  (await found.bias.data()).forEach((x, i) => assertAlmostEquals(x, wanted[i]!, 1e-6));
});

Deno.test("clipping leaves small gradients as they are, zero ones too", async () => {
  const small = ops.clipByGlobalNorm({ x: tensor([0.3, 0.4]) }, 1);
  assertEquals(await small.x.data(), Float32Array.of(0.3, 0.4));
  const zero = ops.clipByGlobalNorm({ x: tensor([0, 0]) }, 1);
  assertEquals(await zero.x.toArray(), [0, 0]);
});

Deno.test("schedules hold their last rate after their end", async () => {
  const cosine = ops.cosineSchedule(2, 4, 0.25), linear = ops.linearSchedule(2, 4, 0.25);
  for (const [step, curve, line] of [[0, 2, 2], [2, 1.25, 1.25], [4, 0.5, 0.5], [9, 0.5, 0.5]]) {
    assertAlmostEquals(await cosine(step!).item(), curve!, 1e-6);
    assertAlmostEquals(await linear(step!).item(), line!, 1e-6);
  }
});

Deno.test("settings outside their range are refused", () => {
  assertThrows(() => ops.clipByGlobalNorm([], 0), RangeError, "expected limit to be positive");
  assertThrows(() => ops.ema([], [], 2), RangeError, "expected decay to be in 0..1 but found 2");
  assertThrows(() => ops.cosineSchedule(1, 0), RangeError, "cosineSchedule: expected steps");
});
