/** What a training step will cost, from its compiled plan: nothing is allocated or run. */
import { planCost } from "../../lib/debug/cost.ts";
import { memoryReport } from "../../lib/debug/memory_report.ts";
import { currentDevice } from "../../lib/device.ts";
import { byteLength } from "../../lib/graph.ts";
import type { Tensor } from "../../lib/tensor.ts";
import { placeholder, planOf } from "../../lib/transforms/jit.ts";
import { treeLeaves, treeMap } from "../../lib/tree.ts";
import { imageSizeOf } from "../config/data.ts";
import type { RunConfig } from "../config/schema.ts";
import { tokenCount } from "../fmt/config.ts";
import { tokenLayout } from "../kinds/tokenizer.ts";
import { countParameters, type Parameter } from "../layers/parameter.ts";
import type { Stage } from "./loop.ts";
import type { StageName } from "./metrics.ts";
import { modelStage } from "./model_stage.ts";
import { metricNames, type TrainingState, trainingStep } from "./step.ts";
import { tokensInMemory } from "./tokens.ts";
import { tokenizerStage, trainsTokenizer } from "./tokenizer_stage.ts";

/** What a step of a training needs. */
export interface StepPlan {
  readonly stage: StageName;
  /** Numbers that are trained. */
  readonly parameters: number;
  /** Floating-point operations of a step. */
  readonly flops: number;
  /** Memory on the device, by what it is for. */
  readonly bytes: {
    readonly parameters: number;
    readonly optimizer: number;
    readonly average: number;
    readonly batch: number;
    /** Buffers, metrics, constants and results. */
    readonly other: number;
    /** All that lives only within a step: activations, gradients. */
    readonly temporaries: number;
    /** All of these together; workspace of single kernels comes on top of it. */
    readonly total: number;
  };
}

/**
 * Plans the trainings of a run for the current device.
 *
 * @param config The configuration.
 * @returns What a step of each needs, in their order.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice } from "../../lib/device.ts";
 * import { readConfig } from "../config/read.ts";
 * import { planRun } from "./plan.ts";
 *
 * const device = await openDevice("wasm");
 * const [, model] = await planRun(readConfig("smoke", ["training.average=0"]));
 * assertEquals(model!.bytes.parameters, 4 * model!.parameters);
 * assertEquals(model!.bytes.average, 0);
 * assertEquals(device.counters.allocations, 0);
 * device.close();
 * ```
 */
export async function planRun(config: RunConfig): Promise<StepPlan[]> {
  const { data, tokenizer, tokenizerTraining, training } = config;
  const { height, width, channels } = imageSizeOf(data);
  const { grid, scales, values } = tokenLayout(tokenizer, { height, width, channels });
  const perImage = tokenCount({ grid, scales });
  const tokens = values.kind === "codes"
    ? new Int32Array(training.batchSize * perImage)
    : new Float32Array(training.batchSize * perImage * values.channels);
  const count = tokenizerTraining.batchSize;
  const images = {
    images: new Uint8Array(count * height * width * channels),
    labels: new Uint8Array(count),
    ...{ count, height, width, channels, classes: data.classes },
  };
  const labels = new Uint8Array(training.batchSize);
  const ofModel = modelStage(
    config,
    training.batchSize,
    () => Promise.resolve(tokensInMemory(tokens, labels)),
  );
  if (!trainsTokenizer(config)) return [await planStage(ofModel)];
  return [await planStage(tokenizerStage(config, images)), await planStage(ofModel)];
}

/**
 * Plans one training for the current device.
 *
 * @param stage The training, whose batches have the shapes of the real ones.
 * @returns What a step of it needs.
 */
export async function planStage<P, Batch, Buffers>(
  stage: Stage<P, Batch, Buffers>,
): Promise<StepPlan> {
  const { name, settings, losses } = stage;
  const placeholders = (described: unknown) =>
    treeMap(({ shape }: Parameter) => placeholder(shape), described);
  const parameters = () => placeholders(stage.parameters()) as P;
  const state: TrainingState<P, Buffers> = {
    params: parameters(),
    optimizer: { step: placeholder([], "i32"), mean: parameters(), variance: parameters() },
    ...(settings.average > 0 ? { average: parameters() } : {}),
    ...(stage.buffers ? { buffers: placeholders(stage.buffers.parameters()) as Buffers } : {}),
  };
  const history = placeholder([settings.logEvery, metricNames(losses, settings.precision).length]);
  const batchAt = await stage.batches();
  const batch = treeMap(({ shape, dtype }: Tensor) => placeholder(shape, dtype), await batchAt(0));
  const step = trainingStep(stage.loss, losses, settings, stage.buffers?.update);
  const plan = planOf(step, [state, history, batch], { donate: [0, 1] });

  const report = memoryReport(plan);
  // WebAssembly's memory is one piece; elsewhere temporaries share whole buffers.
  const temporaries = currentDevice().name === "wasm" ? report.packed : report.shared;
  const known = {
    parameters: bytesOf(state.params),
    optimizer: bytesOf(state.optimizer),
    average: bytesOf(state.average ?? []),
    batch: bytesOf(batch),
  };
  const outside = report.arguments + report.results;
  const other = outside - Object.values(known).reduce((sum, bytes) => sum + bytes);
  return {
    stage: name,
    parameters: countParameters(stage.parameters()),
    flops: planCost(plan).flops,
    bytes: { ...known, other, temporaries, total: outside + temporaries },
  };
}

function bytesOf(tree: unknown): number {
  return treeLeaves<Tensor>(tree).reduce((sum, { value }) => sum + byteLength(value), 0);
}
