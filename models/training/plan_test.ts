/** Tests of planning: what is predicted is what steps then take. */
import { assert, assertEquals } from "@std/assert";
import { closeDevices, openDevice } from "../../lib/device.ts";
import { treeLeaves } from "../../lib/tree.ts";
import type { Tensor } from "../../lib/tensor.ts";
import { zeros } from "../../ops/create.ts";
import { readConfig } from "../config/read.ts";
import { generateShapes } from "../data/shapes.ts";
import { firstState, type Stage } from "./loop.ts";
import { planRun, planStage } from "./plan.ts";
import { modelStage, tokensOf } from "./model_stage.ts";
import { tokensInMemory } from "./tokens.ts";
import { tokenizerStage } from "./tokenizer_stage.ts";
import { metricNames, trainingStep } from "./step.ts";

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

/** What two steps take at most, and the numbers that they train. */
async function measure<P, Batch>(stage: Stage<P, Batch>) {
  const { counters } = await openDevice("wasm");
  let state = await firstState(stage);
  let history = zeros([stage.settings.logEvery, metricNames(stage.losses).length]);
  const step = trainingStep(stage.loss, stage.losses, stage.settings, stage.buffers?.update);
  const batch = await stage.batches();
  for (let i = 0; i < 2; i++) ({ state, history } = step(state, history, await batch(i)));
  await history.data();
  const sizes = treeLeaves<Tensor>(state.params).map(({ size }) => size);
  return { bytes: counters.bytesPeak, parameters: sizes.reduce((sum, size) => sum + size) };
}

Deno.test("what is planned is what steps take, and at most a quarter more for kernels' own workspace", async () => {
  const check = async <P, Batch>(stage: Stage<P, Batch>) => {
    await openDevice("wasm");
    const planned = await planStage(stage);
    closeDevices();
    const found = await measure(stage);
    closeDevices();
    assertEquals(planned.parameters, found.parameters);
    const ratio = found.bytes / planned.bytes.total;
    assert(ratio >= 1 && ratio < 1.25, `${stage.name}: ${ratio} of ${planned.bytes.total} bytes`);
  };
  await check(tokenizerStage(config, data));
  await check(modelStage(config, data.count, open));
  const recompute = readConfig("smoke", ["training.recompute=true"]);
  await check(modelStage(recompute, data.count, open));
});

Deno.test("recomputation saves memory and costs arithmetic", async () => {
  await openDevice("wasm");
  const deep = ["model.encoderLayers=3", "model.decoderLayers=3"];
  const [, stored] = await planRun(readConfig("smoke", deep));
  const [, computed] = await planRun(readConfig("smoke", [...deep, "training.recompute=true"]));
  assert(computed!.bytes.temporaries < stored!.bytes.temporaries);
  assert(computed!.flops > stored!.flops);
  closeDevices();
});
