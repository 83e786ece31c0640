/** Finds out by measuring which of several ways to compute something is the fastest on an adapter. */
import type { WgslDispatch, WgslTarget } from "../../op.ts";
import type { TunedKernel } from "../backend.ts";
import type { Gpu } from "./device.ts";
import type { Pipelines } from "./pipelines.ts";
import { createTimestamps } from "./timestamps.ts";
import { type Choices, readChoices, writeChoices } from "./tuning_cache.ts";

/** To be raised when kernels change so much that old measurements no longer tell. */
const kernelVersion = 1;

/** What may be measured: the dispatches of a step for a target, and the sizes of its operands. */
export interface Trial {
  dispatches(target: WgslTarget): readonly WgslDispatch[];
  bytesOf(binding: WgslDispatch["bindings"][number]): number;
}

/** The choices of a device. */
export interface Tuning {
  /** Grows when choices change: what was compiled before may be compiled anew. */
  readonly revision: number;
  /** The device as kernels of a step see it: they take the fastest variants known. */
  targetOf(trial: Trial): WgslTarget;
  /** Measures what has been asked for and not been measured yet. */
  tune(): Promise<TunedKernel[]>;
}

/**
 * Opens the choices of a device, with those remembered of its adapter.
 *
 * @param remember Whether choices are read from the user's cache folder and kept there.
 */
export async function openTuning(
  gpu: Gpu,
  pipelines: Pipelines,
  remember: boolean,
): Promise<Tuning> {
  const adapter = `${kernelVersion} ${gpu.identity}`;
  const choices: Choices = remember ? await readChoices(adapter) : {};
  const asked = new Map<string, { variants: readonly unknown[]; trial: Trial }>();
  let revision = 0;

  /** The remembered choice among the variants of today, else the first. */
  const choose = <V>(problem: string, variants: readonly V[]): V => {
    const known = JSON.stringify(choices[problem]);
    return variants.find((variant) => JSON.stringify(variant) === known) ?? variants[0]!;
  };
  return {
    get revision() {
      return revision;
    },
    targetOf(trial) {
      return {
        ...gpu.target,
        choose(problem, variants) {
          if (!(problem in choices) && variants.length > 1) asked.set(problem, { variants, trial });
          return choose(problem, variants);
        },
      };
    },
    async tune() {
      const found: TunedKernel[] = [];
      for (const [problem, { variants, trial }] of asked) {
        const times: number[] = [];
        for (const variant of variants) {
          const dispatches = trial.dispatches({
            ...gpu.target,
            choose: (other, all) =>
              other === problem ? variant as typeof all[number] : choose(other, all),
          });
          times.push(await measure(gpu, pipelines, dispatches, trial));
        }
        const best = times.indexOf(Math.min(...times));
        choices[problem] = variants[best];
        found.push({
          problem,
          before: { variant: variants[0], milliseconds: times[0]! },
          after: { variant: variants[best], milliseconds: times[best]! },
        });
      }
      asked.clear();
      if (found.length > 0) {
        revision++;
        const news = found.map(({ problem, after }) => [problem, after.variant]);
        if (remember) await writeChoices(adapter, Object.fromEntries(news));
      }
      return found;
    },
  };
}

/** A measurement takes at least so many milliseconds, unless it is repeated so often already. */
const longEnough = 2, mostRepeats = 256;
/** Measurements of which the best counts. */
const attempts = 3;

/** The milliseconds that dispatches take, on buffers of their own. */
async function measure(
  { device, settled, check }: Gpu,
  pipelines: Pipelines,
  dispatches: readonly WgslDispatch[],
  trial: Trial,
): Promise<number> {
  const buffers = new Map<string, GPUBuffer>();
  const bufferOf = (binding: WgslDispatch["bindings"][number]) => {
    const key = `${binding.operand} ${binding.index}`;
    let buffer = buffers.get(key);
    if (!buffer) {
      const size = Math.max(16, Math.ceil(trial.bytesOf(binding) / 4) * 4);
      buffers.set(key, buffer = device.createBuffer({ size, usage: GPUBufferUsage.STORAGE }));
    }
    return buffer;
  };
  const ready = dispatches.filter(({ workgroups }) => !workgroups.includes(0)).map((dispatch) => {
    const { pipeline, layout } = pipelines.get(dispatch);
    const entries = dispatch.bindings.map((entry, binding) => ({
      binding,
      resource: { buffer: bufferOf(entry) },
    }));
    return { dispatch, pipeline, group: device.createBindGroup({ layout, entries }) };
  });
  const once = async (repeats: number): Promise<number> => {
    const timestamps = device.features.has("timestamp-query")
      ? createTimestamps(device, 1)
      : undefined;
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass(timestamps && { timestampWrites: timestamps.writes(0) });
    for (let i = 0; i < repeats; i++) {
      for (const { dispatch, pipeline, group } of ready) {
        pass.setPipeline(pipeline);
        pass.setBindGroup(0, group);
        pass.dispatchWorkgroups(...dispatch.workgroups);
      }
    }
    pass.end();
    timestamps?.resolve(encoder);
    const start = performance.now();
    device.queue.submit([encoder.finish()]);
    if (timestamps) return (await timestamps.read())[0]!;
    await device.queue.onSubmittedWorkDone();
    return performance.now() - start;
  };
  try {
    await once(1); // drivers compile when a shader first runs
    let repeats = 1, time = await once(1);
    while (time < longEnough && repeats < mostRepeats) time = await once(repeats *= 4);
    for (let i = 1; i < attempts; i++) time = Math.min(time, await once(repeats));
    await settled();
    check();
    return time / repeats;
  } finally {
    for (const buffer of buffers.values()) buffer.destroy();
  }
}
