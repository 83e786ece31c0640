/**
 * Small trainings, and one of them in a process of its own, for tests that kill it:
 *
 *     deno run -A tests/training_process.ts KIND FOLDER STEPS DEVICE
 *
 * It says `start STEP` once it trains, and `done` at the end.
 */
import { type DeviceChoice, openDevice } from "../lib/device.ts";
import type { Tensor } from "../lib/tensor.ts";
import { normal } from "../ops/distributions.ts";
import { foldIn, key as randomKey } from "../ops/random.ts";
import { mul, sub } from "../ops/arithmetic.ts";
import { mean } from "../ops/reduce.ts";
import { square } from "../ops/power.ts";
import { readConfig } from "../models/config/read.ts";
import type { TrainingSettings } from "../models/config/schema.ts";
import { Parameter } from "../models/layers/parameter.ts";
import { type Stage, train } from "../models/training/loop.ts";
import { modelStage } from "../models/training/model_stage.ts";
import { tokensInMemory } from "../models/training/tokens.ts";

type Parameters = { readonly w: Tensor; readonly scale: Tensor };

/** Fits a matrix to noise that differs from step to step; it makes a checkpoint after each. */
export function smallTraining(
  steps: number,
  settings: Partial<TrainingSettings> = {},
  size = 64,
): Stage<Parameters, Tensor> {
  const key = (step: number) => foldIn(randomKey(3), step);
  return {
    name: "model",
    seed: 3,
    settings: {
      ...readConfig("smoke").training,
      steps,
      checkpointEvery: 1,
      average: 0.9,
      ...settings,
    },
    config: {},
    position: (step) => ({ step }),
    parameters: () => ({
      w: new Parameter([size, size], "ones"),
      scale: new Parameter([size], "ones"),
    }),
    init: () => ({ w: normal(randomKey(4), [size, size]), scale: normal(randomKey(5), [size]) }),
    batches: () => Promise.resolve((step) => normal(key(step), [size, size])),
    loss: ({ w, scale }, target) => ({ loss: mean(square(sub(mul(w, scale), target))) }),
    losses: ["loss"],
    rate: { name: "imagesPerSecond", perStep: 1 },
  };
}

/** The training of a small Fully Masked Transformer, with dropout, on codes that are given. */
export function modelTraining(steps: number, settings: readonly string[] = []) {
  const config = readConfig("smoke", [
    "training.checkpointEvery=50",
    "training.batchSize=4",
    ...settings,
    `training.steps=${steps}`,
  ]);
  const codes = Int32Array.from({ length: 32 * 16 }, (_, i) => (i * i) % 16);
  const labels = Uint8Array.from({ length: 32 }, (_, i) => i % 4);
  return modelStage(config, 32, () => Promise.resolve(tokensInMemory(codes, labels)));
}

if (import.meta.main) {
  const [kind, folder, steps, device] = Deno.args as [string, string, string, DeviceChoice];
  await openDevice(device);
  await Deno.mkdir(folder, { recursive: true });
  let isFirst = true;
  const report = ({ step }: { step: number }) => {
    if (isFirst) console.log(`start ${step}`);
    isFirst = false;
  };
  if (kind === "small") await train(smallTraining(Number(steps)), folder, report);
  else await train(modelTraining(Number(steps)), folder, report);
  console.log("done");
  Deno.exit(0);
}
