/**
 * The demo's two training steps, on random codes and generated images of MNIST's size: how long they take,
 * the model's beside peers that train to the same losses; how much of that goes into matrix products; and how
 * near they come to a product of two matrices measured beside them.
 */
import { readConfig } from "../models/config/read.ts";
import type { RunConfig } from "../models/config/schema.ts";
import { generateShapes } from "../models/data/shapes.ts";
import { tokenizerStage } from "../models/training/tokenizer_stage.ts";
import { planCost, profile, recipeName } from "../mod.ts";
import { gemm } from "./gemm.ts";
import {
  comparison,
  type Contestant,
  measurement,
  ownPeers,
  quantile,
  type Row,
  run,
  takeTurns,
} from "./harness.ts";
import { jaxFmtTraining } from "./peers/jax_fmt.ts";
import { torch } from "./peers/torch.ts";
import {
  decidedParameters,
  firstSteps,
  fmtCase,
  fmtStage,
  type Trainer,
  trainer,
} from "./training.ts";

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

async function rowsOf(
  name: string,
  step: Trainer,
  peers: readonly (Contestant | string)[],
): Promise<Row[]> {
  const rows = await run(
    {
      bench: "demo",
      case: `${name} step`,
      unit: "ms",
      ours: step.contestant,
      peers,
      tolerance: 1e-4,
    },
    20,
    2,
  );
  const [times, peakTimes] = await takeTurns([step.contestant, gemm(peakSize)], 20, 2);
  const speed = planCost(step.plan).flops / 1e6 / quantile(times!, 0.5);
  const peak = 2 * peakSize ** 3 / 1e6 / quantile(peakTimes!, 0.5);
  return [
    ...rows,
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

async function modelRows({ model, recipe, training }: RunConfig): Promise<Row[]> {
  if (model.kind !== "fmt") throw new TypeError(`expected an fmt but found ${model.kind}`);
  const stage = fmtStage(model, recipeName(recipe), training.batchSize);
  const params = decidedParameters(model);
  const weights = await Deno.makeTempFile({ suffix: ".safetensors" });
  const given = await fmtCase(model, stage, params, weights);
  const peers = [
    await torch({ case: "fmt training", times: firstSteps, ...given }),
    ...await ownPeers(() => jaxFmtTraining(given, firstSteps)),
  ];
  await Deno.remove(weights);
  return await rowsOf("FMT", await trainer(stage, { params, sameBatch: true }), peers);
}

async function tokenizerRows(config: RunConfig): Promise<Row[]> {
  const { size, classes } = config.data;
  const shapes = generateShapes({ count: 1024, size, classes: 8, seed: 0 });
  return await rowsOf(
    "tokenizer",
    await trainer(tokenizerStage(config, { ...shapes, classes })),
    [],
  );
}

/** The rows of this benchmark. */
export async function rows(): Promise<Row[]> {
  const config = readConfig("mnist");
  return [...await modelRows(config), ...await tokenizerRows(config)];
}
