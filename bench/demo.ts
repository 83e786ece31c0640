/**
 * The demo's two training steps, on generated images of MNIST's size: how long they take, how much of that
 * goes into matrix products, and how near they come to a product of two matrices measured beside them.
 */
import { generateShapes } from "../models/data/shapes.ts";
import type { ImageDataset } from "../models/data/dataset.ts";
import { readConfig } from "../models/config/read.ts";
import { modelStage, tokenizerStage } from "../models/training/stages.ts";
import { tokenCount } from "../models/fmt/config.ts";
import { planCost, profile } from "../mod.ts";
import { gemm } from "./gemm.ts";
import { comparison, measurement, quantile, type Row, takeTurns } from "./harness.ts";
import { randomCodes, type Trainer, trainer } from "./training.ts";

const products = [
  "matmul",
  "attention",
  "attentionGradient",
  "conv2d",
  "conv2dInputGradient",
  "conv2dWeightGradient",
  "linearCrossEntropy",
  "linearCrossEntropyGradient",
];
const peakSize = 1024;
const profiledSteps = 5;

/** The share of a step's time that kernels of products take. */
async function productShare({ contestant }: Trainer): Promise<number> {
  const kernels = await profile(async () => {
    for (let i = 0; i < profiledSteps; i++) await contestant.run();
  });
  return kernels.filter(({ name }) => name.split("+").some((op) => products.includes(op)))
    .reduce((sum, { share }) => sum + share, 0);
}

async function rowsOf(name: string, step: Trainer): Promise<Row[]> {
  const product = gemm(peakSize);
  const [times, peakTimes] = await takeTurns([step.contestant, product]);
  const ms = quantile(times!, 0.5);
  const speed = planCost(step.plan).flops / 1e6 / ms;
  const peak = 2 * peakSize ** 3 / 1e6 / quantile(peakTimes!, 0.5);
  return [
    measurement("demo", `${name} step`, "ms", ms),
    measurement(
      "demo",
      `${name} step: share of products`,
      "share of time",
      await productShare(step),
    ),
    comparison(
      measurement("demo", `${name} step: speed`, "GFLOP/s", speed),
      `our product of ${peakSize}`,
      peak,
      true,
    ),
  ];
}

/** The rows of this benchmark. */
export async function rows(): Promise<Row[]> {
  const config = readConfig("mnist");
  const shapes = generateShapes({ count: 1024, size: config.data.size, classes: 8, seed: 0 });
  const data: ImageDataset = { ...shapes, classes: config.data.classes };
  const codes = randomCodes(data.count * tokenCount(config.model), config.model.vocabulary);
  return [
    ...await rowsOf("FMT", await trainer(modelStage(config, data, () => Promise.resolve(codes)))),
    ...await rowsOf("tokenizer", await trainer(tokenizerStage(config, data))),
  ];
}
