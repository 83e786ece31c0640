/**
 * How long it takes to trace and compile the training step of a 36-layer FMT-XL (forward, backward,
 * clipping and AdamW) into a plan, before the driver's part. Nothing is allocated or run.
 */
import { metricNames, trainingStep } from "../models/training/step.ts";
import type { FmtParameters } from "../models/fmt/network.ts";
import type { Parameter } from "../models/layers/parameter.ts";
import { parametersOf } from "../models/model.ts";
import { fmt, fmtPresets, placeholder, planOf, type Tensor, treeMap } from "../mod.ts";
import { measurement, quantile, type Row, timed } from "./harness.ts";
import { fmtStage } from "./training.ts";

const batchSize = 8;
const repetitions = 20;

/** The rows of this benchmark. */
export async function rows(): Promise<Row[]> {
  const model = fmt(fmtPresets["FMT-XL"]);
  const stage = fmtStage(model, "sar-ts", batchSize);
  const like = ({ shape, dtype }: Tensor) => placeholder(shape, dtype);
  const parameters = () =>
    treeMap(({ shape }: Parameter) => placeholder(shape), parametersOf(model)) as FmtParameters;
  const optimizer = () => ({
    step: placeholder([], "i32"),
    mean: parameters(),
    variance: parameters(),
  });
  const batch = treeMap(like, await (await stage.batches())(0));
  const history = placeholder([1, metricNames(stage.losses).length]);
  const step = trainingStep(stage.loss, stage.losses, stage.settings);
  const samples = Array.from({ length: repetitions }, () =>
    timed(() => {
      const state = { params: parameters(), optimizer: optimizer() };
      planOf(step, [state, history, batch], { donate: [0, 1] });
    }));
  return [
    measurement("compile", "FMT-XL training step, first", "ms", samples[0]!),
    measurement("compile", "FMT-XL training step, median", "ms", quantile(samples, 0.5)),
  ];
}
