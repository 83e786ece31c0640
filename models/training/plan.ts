/** What a training step will cost, from its compiled plan: nothing is allocated or run. */
import { planCost } from "../../lib/debug/cost.ts";
import { memoryReport } from "../../lib/debug/memory_report.ts";
import { currentDevice } from "../../lib/device.ts";
import { byteLength } from "../../lib/graph.ts";
import type { Plan } from "../../lib/compiler/plan.ts";
import { Tensor } from "../../lib/tensor.ts";
import { showType } from "../../lib/shape.ts";
import { placeholder, planOf } from "../../lib/transforms/jit.ts";
import { tracing } from "../../lib/transforms/trace.ts";
import { treeLeaves, treeMap } from "../../lib/tree.ts";
import { imageSizeOf } from "../config/data.ts";
import type { RunConfig } from "../config/schema.ts";
import { tokenCount } from "../fmt/config.ts";
import { tokenLayout } from "../kinds/tokenizer.ts";
import { countParameters, type Parameter } from "../layers/parameter.ts";
import { partialPrograms } from "./accumulate.ts";
import type { Stage } from "./loop.ts";
import type { StageName } from "./metrics.ts";
import { modelStage } from "./model_stage.ts";
import { checkPrecision, type LossScale, lossScaling } from "./precision.ts";
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
    readonly gradients: number;
    /** What lives within a step, but for gradients and scratch, where most is needed; and the gaps between. */
    readonly activations: number;
    /** What kernels work in at that moment. */
    readonly scratch: number;
    readonly batch: number;
    /** Buffers, metrics, constants and results. */
    readonly other: number;
    /** Of optimizer and average, what waits in the host's memory. */
    readonly onHost: number;
    /** All that is on the device together; on `wasm`, what single kernels borrow comes on top of it. */
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
  return await Promise.all(emptyStages(config).map(planStage));
}

/**
 * The trainings of a run on images and tokens that are all zero, and as many of them as a step takes: enough to see
 * what a step costs.
 *
 * @param config The configuration.
 * @returns The trainings in their order.
 * @throws {RangeError} If the current device does not have the type that one is to be computed in.
 */
export function emptyStages(config: RunConfig): Stage<unknown, unknown, unknown>[] {
  const { data, tokenizer, tokenizerTraining, training } = config;
  checkPrecision({ tokenizerTraining, training });
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
  const stages = trainsTokenizer(config) ? [tokenizerStage(config, images), ofModel] : [ofModel];
  return stages as unknown as Stage<unknown, unknown, unknown>[];
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
    ...(settings.precision === "f16"
      ? { lossScale: placeholders(lossScaling.parameters()) as LossScale }
      : {}),
    ...(stage.buffers ? { buffers: placeholders(stage.buffers.parameters()) as Buffers } : {}),
  };
  const history = placeholder([settings.logEvery, metricNames(losses, settings.precision).length]);
  const { accumulate: count, offload = false } = settings;
  const isWhole = count === 1 && !offload;
  const batchAt = await stage.batches();
  const batch = treeMap(
    ({ shape, dtype }: Tensor) => placeholder(shape, dtype),
    await batchAt(0, { index: 0, count }),
  );
  const plans = isWhole
    ? [planOf(
      trainingStep(stage.loss, losses, settings, stage.buffers?.update),
      [state, history, batch],
      { donate: [0, 1] },
    )]
    : plansInParts(stage, state, history, batch);
  if (offload) plans.pop(); // its update goes tensor by tensor

  const known = {
    parameters: bytesOf(state.params),
    optimizer: bytesOf(state.optimizer),
    average: bytesOf(state.average ?? []),
    batch: bytesOf(batch),
  };
  const within = plans.map(temporariesOf).reduce((a, b) => total(a) > total(b) ? a : b);
  const sums = isWhole ? 0 : bytesOf(state.params);
  const gradients = within.gradients + sums;
  // What programs are given besides, and what they return in memory of its own.
  const given = plans.map(memoryReport).reduce(
    (sum, { arguments: a, results }) => sum + a + results,
    0,
  );
  const twice = isWhole || offload
    ? 0
    : known.parameters + sums + bytesOf([state.lossScale, state.buffers]);
  const away = known.optimizer + known.average;
  const kept = total(known) + sums - (offload ? away : 0);
  const visiting = offload ? visitors(state) : 0;
  const bytes = { ...known, ...within, gradients, other: given - twice - kept + visiting };
  const onHost = offload ? away : 0;
  return {
    stage: name,
    parameters: countParameters(stage.parameters()),
    flops: plans.reduce((sum, plan, i) => sum + (i === 0 ? count : 1) * planCost(plan).flops, 0),
    bytes: { ...bytes, onHost, total: total(bytes) - onHost },
  };
}

/** What the update takes tensor by tensor: room for those of each shape that come, and for the largest that leave. */
function visitors<P>({ params, average }: TrainingState<P>): number {
  const shapes = new Map(
    treeLeaves<Tensor>(params).map(({ value }) => [showType(value), byteLength(value)]),
  );
  return (average ? 3 : 2) * (total(Object.fromEntries(shapes)) + Math.max(...shapes.values()));
}

/** The plans of a step in parts: of each part, and of the update. */
function plansInParts<P, Batch, Buffers>(
  stage: Stage<P, Batch, Buffers>,
  state: TrainingState<P, Buffers>,
  history: Tensor,
  batch: Batch,
): Plan[] {
  const { gradients, update, room } = partialPrograms(stage);
  const { params, lossScale, buffers } = state;
  const own = { params, ...(lossScale ? { lossScale } : {}), ...(buffers ? { buffers } : {}) };
  const parts = Array.from({ length: stage.settings.accumulate }, () => batch);
  const isFirst = placeholder([], "bool");
  const { sums, rest } = tracing(() => gradients(own, batch, room(params), isFirst));
  const seen = buffers
    ? { batches: parts, rests: parts.map(() => rest) }
    : { batches: [], rests: [] };
  return [
    planOf(gradients, [own, batch, sums, isFirst], { donate: [2] }),
    planOf(update, [state, history, sums, seen], { donate: [0, 1] }),
  ];
}

/** What lives within a program, where it needs most. */
function temporariesOf(plan: Plan) {
  const { packed, shared, temporaries } = memoryReport(plan);
  // WebAssembly's memory is one piece; elsewhere temporaries share whole buffers.
  const bytes = currentDevice().name === "wasm" ? packed : shared;
  // Gradients are what is read to write what stays.
  const bound = new Set(plan.bound);
  const updates = plan.steps.filter(({ writes }) => writes.some((id) => bound.has(id)));
  const applied = new Set(updates.flatMap(({ reads }) => reads));
  const sum = (rows: typeof temporaries) => rows.reduce((total, { bytes }) => total + bytes, 0);
  const scratch = sum(temporaries.filter(({ label }) => label.endsWith(" scratch")));
  const gradients = sum(temporaries.filter(({ id }) => applied.has(id)));
  return { gradients, scratch, activations: bytes - gradients - scratch };
}

function total(bytes: Readonly<Record<string, number>>): number {
  return Object.values(bytes).reduce((sum, bytes) => sum + bytes, 0);
}

function bytesOf(tree: unknown): number {
  return treeLeaves(tree).reduce<number>(
    (sum, x) => sum + (x instanceof Tensor ? byteLength(x.value) : 0),
    0,
  );
}
