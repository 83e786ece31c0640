/** Tests of planning: what is predicted is what steps then take. */
import { assert, assertEquals } from "@std/assert";
import type { DeviceName } from "../../lib/backends/backend.ts";
import { closeDevices, openDevice } from "../../lib/device.ts";
import { treeLeaves } from "../../lib/tree.ts";
import type { Tensor } from "../../lib/tensor.ts";
import { zeros } from "../../ops/create.ts";
import { readConfig } from "../config/read.ts";
import { generateShapes } from "../data/shapes.ts";
import { stepInParts } from "./accumulate.ts";
import { firstState, type Stage } from "./loop.ts";
import { planRun, planStage } from "./plan.ts";
import { modelStage, tokensOf } from "./model_stage.ts";
import { tokensInMemory } from "./tokens.ts";
import { tokenizerStage } from "./tokenizer_stage.ts";
import { metricNames } from "./step.ts";

const hasWebgpu = await openDevice("webgpu").then(() => true, () => false);
closeDevices();
const config = readConfig("smoke");
const data = generateShapes({ count: 64, size: 8, classes: 4, seed: 0 });
const codes = new Int32Array(data.count * tokensOf(config.model));
const open = () => Promise.resolve(tokensInMemory(codes, data.labels));

Deno.test("planning takes no memory of the device", async () => {
  const { counters } = await openDevice("wasm");
  const plans = await planRun(config);
  assertEquals(plans.map(({ stage }) => stage), ["tokenizer", "model"]);
  assertEquals([counters.allocations, counters.dispatches], [0, 0]);
  closeDevices();
});

/** What three steps take at most, and the numbers that they train: what waits on the host has been everywhere by then. */
async function measure<P, Batch>(stage: Stage<P, Batch>, device: DeviceName) {
  const { counters } = await openDevice(device);
  let state = await firstState(stage);
  const columns = metricNames(stage.losses, stage.settings.precision).length;
  let history = zeros([stage.settings.logEvery, columns]);
  const step = stepInParts(stage);
  const batch = await stage.batches();
  for (let i = 0; i < 3; i++) {
    ({ state, history } = await step(state, history, (part) => batch(i, part)));
  }
  await history.data();
  const sizes = treeLeaves<Tensor>(state.params).map(({ size }) => size);
  return { bytes: counters.bytesPeak, parameters: sizes.reduce((sum, size) => sum + size) };
}

async function check<P, Batch>(stage: Stage<P, Batch>, device: DeviceName, most: number) {
  await openDevice(device);
  const planned = await planStage(stage);
  closeDevices();
  const found = await measure(stage, device);
  closeDevices();
  assertEquals(planned.parameters, found.parameters);
  const ratio = found.bytes / planned.bytes.total;
  assert(ratio >= 1 && ratio < most, `${stage.name}: ${ratio} of ${planned.bytes.total} bytes`);
}

Deno.test("what is planned is what steps take, and at most a quarter more for kernels' own workspace", async () => {
  const model = (...settings: string[]) =>
    modelStage(readConfig("smoke", settings), data.count, open);
  await check(tokenizerStage(config, data), "wasm", 1.25);
  await check(model(), "wasm", 1.25);
  await check(model("training.recompute=true"), "wasm", 1.25);
  await check(model("training.accumulate=4"), "wasm", 1.25);
  await check(model("training.offload=true", "model.dim=64"), "wasm", 1.25);
});

Deno.test({
  name: "what is planned is what steps take on webgpu",
  ignore: !hasWebgpu,
  sanitizeOps: false,
  sanitizeResources: false,
  fn: () => check(tokenizerStage(config, data), "webgpu", 1.25),
});

Deno.test("recomputation saves memory and costs arithmetic", async () => {
  await openDevice("wasm");
  const deep = ["model.encoderLayers=3", "model.decoderLayers=3"];
  const [, stored] = await planRun(readConfig("smoke", deep));
  const [, computed] = await planRun(readConfig("smoke", [...deep, "training.recompute=true"]));
  assert(computed!.bytes.activations < stored!.bytes.activations);
  assert(computed!.flops > stored!.flops);
  closeDevices();
});
