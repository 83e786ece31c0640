/** Plans on a WebGPU device: compiled once, then replayed as one queue submission. */
import { bytesPerElement, type DType } from "../../dtype.ts";
import type { KernelStep, LoopStep, Plan, PlanBuffer, Step } from "../../compiler/plan.ts";
import type { WgslDispatch } from "../../op.ts";
import type { DeviceBuffer, DeviceCounters, Executable, RunListener } from "../backend.ts";
import { type Gpu, wholeWords } from "./device.ts";
import { type LoopWgsl, loopWgsl } from "./loop_wgsl.ts";
import type { Allocation, Memory, WebgpuBuffer } from "./memory.ts";
import type { Pipeline, Pipelines } from "./pipelines.ts";
import { type NumberedStep, putSideBySide } from "./side_by_side.ts";
import { partsOf, splitReduction } from "./split_reduction.ts";
import type { Temporaries } from "./temporaries.ts";
import type { Trial, Tuning } from "./tuning.ts";
import { createTimestamps, type Timestamps } from "./timestamps.ts";

/** A dispatch, or a copy of a whole buffer, on buffers of the plan. */
type Command =
  | {
    readonly kind: "dispatch";
    /** The steps of the plan that it belongs to, and the first of them. */
    readonly steps: readonly number[];
    readonly step: number;
    readonly name: string;
    readonly pipeline: Pipeline;
    readonly workgroups: readonly [number, number, number];
    /** Buffer id of each binding, and whether it is written. */
    readonly bindings: readonly { readonly buffer: number; readonly written: boolean }[];
    readonly groups: Map<string, GPUBindGroup>;
  }
  | {
    readonly kind: "copy";
    readonly step: number;
    readonly from: number;
    readonly to: number;
    readonly bytes: number;
  };

/** The parts of the backend that running a plan takes. */
export interface Runtime {
  readonly gpu: Gpu;
  readonly memory: Memory;
  readonly pipelines: Pipelines;
  readonly temporaries: Temporaries;
  readonly tuning: Tuning;
  readonly counters: DeviceCounters;
}

/** Bindings of past runs that are kept, for callers that pass other buffers in turn. */
const keptVariants = 16;

/** Slots that the parts of reductions take in turn, so that those of several may be there at once. */
const scratchSlots = 64;

/** Compiles a plan. */
export function prepare(runtime: Runtime, plan: Plan): Executable {
  const { gpu, pipelines, counters } = runtime;
  gpu.check();
  counters.compilations++;
  const { device } = gpu;
  const buffers = new Map(plan.buffers.map((buffer) => [buffer.id, buffer]));
  const slotBytes = [...plan.slotBytes];
  const slotOf = new Map([...plan.temporaries].map(([id, { slot }]) => [id, slot]));

  let scratchCount = 0;
  let nextId = 1 + plan.buffers.reduce((most, { id }) => Math.max(most, id), 0);

  /** The step, or the steps into which it is cut; their scratch has slots behind the plan's. */
  const splitLoop = (step: LoopStep): LoopStep[] => {
    const parts = partsOf(step, gpu.target);
    if (parts === 1) return [step];
    return splitReduction(step, parts, (dtype, elements) => {
      const id = nextId++, bytes = elements * bytesPerElement[dtype];
      const type = { shape: [elements], dtype };
      buffers.set(id, { id, type, bytes, label: `parts of ${step.name}` });
      const slot = plan.slotBytes.length + scratchCount++ % scratchSlots;
      slotBytes[slot] = Math.max(slotBytes[slot] ?? 0, bytes);
      slotOf.set(id, slot);
      return id;
    });
  };
  const numbered = plan.steps.flatMap((step, number) =>
    (step.kind === "loop" ? splitLoop(step) : [step]).map((step) => ({ number, step }))
  );
  const alone = new Map<Step, LoopWgsl>();
  const together = putSideBySide(
    numbered,
    (step) => {
      const dispatch = loopDispatch([step], buffers, gpu);
      alone.set(step, dispatch);
      return `${dispatch.workgroups} ${dispatch.code}`;
    },
    (id) => slotOf.has(id) ? `slot ${slotOf.get(id)}` : `buffer ${id}`,
    device.limits.maxStorageBuffersPerShaderStage,
  );

  /** The commands, with the fastest kernels that are known. */
  const compileCommands = (): Command[] =>
    together.flatMap(({ members }): Command[] => {
      const [{ number, step }] = members as [NumberedStep];
      const steps = members.map(({ number }) => number);
      if (step.kind === "copy") {
        const bytes = wholeWords(buffers.get(step.reads[0])!.bytes);
        if (bytes === 0) return [];
        const [from] = step.reads, [to] = step.writes;
        return [{ kind: "copy", step: number, from, to, bytes }];
      }
      const dispatches = step.kind === "loop"
        ? [
          members.length === 1
            ? alone.get(step)!
            : loopDispatch(members.map(({ step }) => step as LoopStep), buffers, gpu),
        ]
        : kernelDispatches(step, buffers, runtime.tuning);
      return dispatches.filter(({ workgroups }) => !workgroups.includes(0)).map((dispatch) => {
        checkWorkgroups(dispatch, gpu);
        const { name, workgroups } = dispatch;
        return {
          kind: "dispatch",
          ...{ steps, step: number, name, workgroups },
          pipeline: pipelines.get(dispatch),
          bindings: dispatch.bindings.map((binding) => ({
            buffer: "buffer" in binding
              ? binding.buffer
              : operandBuffer(step, binding.operand, binding.index),
            written: binding.access === "read_write",
          })),
          groups: new Map(),
        };
      });
    });
  let commands = compileCommands();
  let { revision } = runtime.tuning;

  const slots = runtime.temporaries.take(
    slotBytes,
    (slot) => slotLabel(slot, slotOf, buffers),
  );
  const temporaryOf = new Map(
    [...slotOf].map(([id, slot]) => [id, slots.allocations[slot]!]),
  );
  const variants = new Map<string, readonly (GPUBindGroup | undefined)[]>();
  const stepsOfDispatches = () =>
    commands.flatMap((command) => command.kind === "dispatch" ? [command.steps] : []);
  let stepOfDispatch = stepsOfDispatches();
  /** Takes faster kernels where they have become known. */
  const renew = () => {
    if (revision === runtime.tuning.revision) return;
    ({ revision } = runtime.tuning);
    commands = compileCommands();
    stepOfDispatch = stepsOfDispatches();
    variants.clear();
  };

  const bindGroup = (
    command: Command & { kind: "dispatch" },
    allocationOf: (id: number) => Allocation,
  ) => {
    const bound = command.bindings.map(({ buffer }) => allocationOf(buffer));
    const key = bound.map(({ id }) => id).join();
    let group = command.groups.get(key);
    if (group) return group;
    command.bindings.forEach(({ written, buffer }, i) => {
      const other = bound.findIndex((allocation, j) => j !== i && allocation === bound[i]);
      if (!written || other < 0) return;
      throw new Error(
        `${command.name}: expected ${label(buffers, buffer)} to share no memory with ` +
          `${label(buffers, command.bindings[other]!.buffer)}, as it is written`,
      );
    });
    group = device.createBindGroup({
      layout: command.pipeline.layout,
      entries: bound.map(({ gpu: buffer, capacity }, binding) => {
        const bytes = wholeWords(buffers.get(command.bindings[binding]!.buffer)!.bytes);
        return { binding, resource: { buffer, size: bytes || capacity } };
      }),
    });
    remember(command.groups, key, group);
    return group;
  };

  const encode = (
    { first, end }: Range,
    groups: readonly (GPUBindGroup | undefined)[],
    allocationOf: (id: number) => Allocation,
    timestamps?: Timestamps,
  ) => {
    const encoder = device.createCommandEncoder();
    let pass: GPUComputePassEncoder | undefined;
    let current: Pipeline | undefined;
    let passes = 0;
    const endPass = () => {
      pass?.end();
      pass = current = undefined;
    };
    for (let i = first; i < end; i++) {
      const command = commands[i]!;
      if (command.kind === "copy") {
        endPass();
        const from = allocationOf(command.from).gpu, to = allocationOf(command.to).gpu;
        encoder.copyBufferToBuffer(from, 0, to, 0, command.bytes);
        continue;
      }
      pass ??= encoder.beginComputePass(
        timestamps && { timestampWrites: timestamps.writes(passes++) },
      );
      if (command.pipeline !== current) pass.setPipeline(command.pipeline.pipeline);
      current = command.pipeline;
      pass.setBindGroup(0, groups[i]!);
      pass.dispatchWorkgroups(...command.workgroups);
      if (timestamps) endPass();
    }
    endPass();
    timestamps?.resolve(encoder);
    return encoder.finish();
  };

  const failed = () =>
    commands.find((command) => command.kind === "dispatch" && command.pipeline.failure) as
      | (Command & { kind: "dispatch" })
      | undefined;
  let validated = false;
  /** A shader that is not valid has already been reported, and makes its uses invalid too. */
  const reportFirstRun = (error: GPUError | null) => {
    if (error && !failed()) gpu.fail(new Error(`webgpu: ${error.message}`, { cause: error }));
  };

  const run = (
    given: readonly DeviceBuffer[],
    { timestamps, listener }: { timestamps?: Timestamps; listener?: RunListener } = {},
  ) => {
    gpu.check();
    renew();
    const failure = failed()?.pipeline.failure;
    if (failure) throw failure;
    const bound = given as readonly WebgpuBuffer[];
    if (bound.length !== plan.bound.length) {
      throw new TypeError(
        `run: expected ${plan.bound.length} buffers but found ${bound.length}`,
      );
    }
    plan.bound.forEach((id, i) => checkBound(bound[i]!, buffers.get(id)!));
    const allocations = new Map(temporaryOf);
    plan.bound.forEach((id, i) => allocations.set(id, bound[i]!.allocation));
    const allocationOf = (id: number): Allocation => {
      const allocation = allocations.get(id);
      if (!allocation) throw new Error(`run: ${label(buffers, id)} has no place in the plan`);
      return allocation;
    };

    const variant = bound.map(({ allocation }) => allocation.id).join();
    const groupsOf = () => {
      let groups = variants.get(variant);
      if (!groups) {
        groups = commands.map((command) =>
          command.kind === "dispatch" ? bindGroup(command, allocationOf) : undefined
        );
        remember(variants, variant, groups);
      }
      return groups;
    };
    const submit = () => {
      const groups = groupsOf();
      for (const range of rangesOf(commands, listener?.after)) {
        device.queue.submit([encode(range, groups, allocationOf, timestamps)]);
        counters.submissions++;
        if (range.step !== undefined) listener!.reached(range.step);
      }
    };
    if (validated) submit();
    else {
      device.pushErrorScope("validation");
      try {
        submit();
      } finally {
        gpu.watch(device.popErrorScope().then(reportFirstRun));
      }
      validated = true;
    }
    counters.dispatches += stepOfDispatch.length;
  };
  /** Copies are not timed: WebGPU takes timestamps around passes only. */
  const profile = async (given: readonly DeviceBuffer[]) => {
    renew();
    const timestamps = createTimestamps(device, stepOfDispatch.length);
    run(given, { timestamps });
    const milliseconds = plan.steps.map(() => 0);
    for (const [pass, duration] of (await timestamps.read()).entries()) {
      const steps = stepOfDispatch[pass]!;
      for (const step of steps) milliseconds[step]! += duration / steps.length;
    }
    return milliseconds;
  };

  return {
    run: (given, listener) => run(given, { listener }),
    ...(device.features.has("timestamp-query") && { profile }),
    dispose() {
      variants.clear();
      for (const command of commands) if (command.kind === "dispatch") command.groups.clear();
      slots.dispose();
    },
  };
}

/** Commands that are submitted together, and the step after them that someone waits for. */
interface Range {
  readonly first: number;
  readonly end: number;
  readonly step?: number;
}

/** All commands, cut after the steps that someone waits for. */
function rangesOf(commands: readonly Command[], after: ReadonlySet<number> = new Set()): Range[] {
  const ranges: Range[] = [];
  let first = 0;
  for (const step of [...after].sort((a, b) => a - b)) {
    let end = first;
    while (end < commands.length && commands[end]!.step <= step) end++;
    ranges.push({ first, end, step });
    first = end;
  }
  const isWhole = first === commands.length && ranges.length > 0;
  return isWhole ? ranges : [...ranges, { first, end: commands.length }];
}

function remember<V>(cache: Map<string, V>, key: string, value: V) {
  if (cache.size >= keptVariants) cache.delete(cache.keys().next().value!);
  cache.set(key, value);
}

function loopDispatch(
  steps: readonly LoopStep[],
  buffers: Map<number, PlanBuffer>,
  gpu: Gpu,
): LoopWgsl {
  const operand = (id: number): { buffer: number; dtype: DType } => ({
    buffer: id,
    dtype: buffers.get(id)!.type.dtype,
  });
  const members = steps.map(({ reads, writes }) => ({
    reads: reads.map(operand),
    writes: writes.map(operand),
  }));
  return loopWgsl(steps[0]!.name, steps[0]!.kernel, members, gpu.target);
}

function kernelDispatches(
  step: KernelStep,
  buffers: Map<number, PlanBuffer>,
  tuning: Tuning,
): readonly WgslDispatch[] {
  const { wgsl } = step.op.run;
  if (!wgsl) throw new TypeError(`${step.op.name}: expected the op to have a WGSL kernel`);
  const trial: Trial = {
    dispatches: (target) => wgsl(step.spec, target),
    bytesOf: ({ operand, index }) => buffers.get(operandBuffer(step, operand, index))!.bytes,
  };
  return trial.dispatches(tuning.targetOf(trial));
}

function operandBuffer(
  step: Exclude<Step, { kind: "copy" }>,
  operand: "input" | "output" | "scratch",
  index: number,
): number {
  const ids = operand === "input"
    ? step.reads
    : operand === "output"
    ? step.writes
    : step.kind === "kernel"
    ? step.scratch
    : [];
  const id = ids[index];
  if (id === undefined) throw new RangeError(`${step.name}: there is no ${operand} ${index}`);
  return id;
}

function checkWorkgroups(
  { name, workgroups }: Pick<WgslDispatch, "name" | "workgroups">,
  gpu: Gpu,
) {
  const most = gpu.target.limits.maxComputeWorkgroupsPerDimension;
  if (workgroups.every((count) => Number.isInteger(count) && count <= most)) return;
  throw new RangeError(
    `${name}: expected at most ${most} workgroups per axis but found ${workgroups.join(" x ")}`,
  );
}

function checkBound(buffer: WebgpuBuffer, wanted: PlanBuffer) {
  if (buffer.released) throw new Error(`run: the buffer of ${wanted.label} was released`);
  if (buffer.allocation.capacity < wanted.bytes) {
    throw new RangeError(
      `run: expected ${wanted.label} to have ${wanted.bytes} bytes but found ${buffer.bytes}`,
    );
  }
}

function label(buffers: Map<number, PlanBuffer>, id: number): string {
  return buffers.get(id)?.label ?? `buffer ${id}`;
}

/** Names the largest value in a slot. */
function slotLabel(
  slot: number,
  slotOf: ReadonlyMap<number, number>,
  buffers: ReadonlyMap<number, PlanBuffer>,
): string {
  const held = [...slotOf].filter(([, other]) => other === slot).map(([id]) => buffers.get(id)!);
  return held.sort((a, b) => b.bytes - a.bytes)[0]?.label ?? `slot ${slot}`;
}
