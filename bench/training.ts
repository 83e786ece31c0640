/** Training steps of the project's models as contestants. */
import { saveTree } from "../models/training/checkpoint.ts";
import { tokensInMemory } from "../models/training/tokens.ts";
import { modelStage } from "../models/training/model_stage.ts";
import { firstState, type Stage } from "../models/training/loop.ts";
import { metricNames, trainingStep } from "../models/training/step.ts";
import { readConfig } from "../models/config/read.ts";
import type { RunConfig, TrainingSettings } from "../models/config/schema.ts";
import { type FmtConfig, tokenCount } from "../models/fmt/config.ts";
import type { FmtTrainingInputs } from "../models/fmt/fmt.ts";
import { type FmtParameters, fmtParameters } from "../models/fmt/network.ts";
import { createParameters } from "../models/layers/parameter.ts";
import { mul, type NestedArray, normal, parseRecipe, planOf, randomKey, zeros } from "../mod.ts";
import { type Contestant, finished } from "./harness.ts";
import { uniform } from "./transformer.ts";

/** A training that can be timed. */
export interface Trainer {
  /** Trains a step each turn; the result is the losses of the first steps. */
  readonly contestant: Contestant;
  /** The plan of the step. */
  readonly plan: ReturnType<typeof planOf>;
}

/** Steps whose losses are compared before the timing. */
export const firstSteps = 3;

/**
 * Makes the compiled step of a training, with its state.
 *
 * @param stage What is trained, and on what.
 * @param options First parameters (the stage's own by default), and whether every step has the batch of the first.
 * @returns The step as a contestant, and its plan.
 */
export async function trainer<P, Batch>(
  stage: Stage<P, Batch>,
  { params, sameBatch = false }: { params?: P; sameBatch?: boolean } = {},
): Promise<Trainer> {
  const step = trainingStep(stage.loss, stage.losses, stage.settings, stage.buffers?.update);
  const columns = metricNames(stage.losses).length;
  const batch = await stage.batches();
  let state = await firstState(params ? { ...stage, init: () => params } : stage);
  let history = zeros([firstSteps, columns]);
  let made = 0;
  const train = async () => {
    ({ state, history } = step(state, history, await batch(sameBatch ? 0 : made++)));
  };
  return {
    plan: planOf(step, [state, history, await batch(0)], { donate: [0, 1] }),
    contestant: {
      name: "tessera",
      async result() {
        for (let i = 0; i < firstSteps; i++) await train();
        return (await history.data() as Float32Array).filter((_, i) => i % columns === 0);
      },
      async run() {
        const start = performance.now();
        await train();
        await finished();
        return performance.now() - start;
      },
    },
  };
}

/**
 * The training of a Fully Masked Transformer on random codes by a recipe, without dropout and with a constant
 * learning rate.
 *
 * @param model The model.
 * @param recipe The recipe's name.
 * @param batchSize Images in a step.
 * @returns The stage, to be given to `trainer`.
 */
export function fmtStage(model: FmtConfig, recipe: string, batchSize: number) {
  const config = readConfig("mnist");
  const count = 4 * batchSize;
  const run: RunConfig = {
    ...config,
    data: { source: "shapes", size: 28, count, classes: model.classes },
    model: { ...model, embeddingDropout: 0, residualDropout: 0, ffnDropout: 0 },
    recipe: parseRecipe(recipe),
    training: {
      ...config.training,
      batchSize,
      schedule: "constant",
      warmup: 0,
      learningRate: 1e-4,
    },
  };
  const { classes, vocabulary } = model;
  const labels = Uint8Array.from({ length: count }, (_, i) => i % classes);
  const codes = randomCodes(count * tokenCount(model), vocabulary);
  return modelStage(run, count, () => Promise.resolve(tokensInMemory(codes, labels)));
}

/** A training of a Fully Masked Transformer as peers are told of it. */
export interface FmtCase {
  readonly model: FmtConfig;
  /** A safetensors file of the first parameters. */
  readonly weights: string;
  /** The batch of every step, as `fmtInputs` makes it: rows of numbers by name. */
  readonly inputs: Readonly<Record<string, NestedArray>>;
  readonly settings: TrainingSettings;
}

/**
 * Tells peers of a training.
 *
 * @param stage The training, as `fmtStage` makes it.
 * @param params Its first parameters, which are written to a file.
 * @param weights The file.
 */
export async function fmtCase(
  model: FmtConfig,
  stage: ReturnType<typeof fmtStage>,
  params: FmtParameters,
  weights: string,
): Promise<FmtCase> {
  await saveTree(weights, params, {});
  const { inputs } = await (await stage.batches())(0);
  const rows = await Promise.all(
    Object.entries(inputs as FmtTrainingInputs).map(async ([name, x]) =>
      [name, await x.toArray()] as const
    ),
  );
  return { model, weights, inputs: Object.fromEntries(rows), settings: stage.settings };
}

/** Random tokens, always the same. */
export function randomCodes(count: number, vocabulary: number): Int32Array {
  return Int32Array.from({ length: count }, (_, i) => Math.floor(uniform(3, i) * vocabulary));
}

/**
 * First parameters of a Fully Masked Transformer whose output head is not zero, so that what it predicts depends
 * on everything.
 */
export function decidedParameters(model: FmtConfig, seed = 0): FmtParameters {
  const params = createParameters(fmtParameters(model), randomKey(seed));
  const { shape } = params.output.weight;
  return {
    ...params,
    output: { weight: mul(normal(randomKey(1000 + seed), shape), model.dim ** -0.5) },
  };
}
