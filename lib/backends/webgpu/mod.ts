/** The WebGPU backend: every plan is one queue submission of generated and hand-written WGSL. */
import type { Backend } from "../backend.ts";
import { byteBudget } from "../byte_budget.ts";
import { newCounters } from "../counters.ts";
import { environment } from "../../environment.ts";
import { openDevice } from "./device.ts";
import { prepare, type Runtime } from "./executable.ts";
import { openMemory, type WebgpuBuffer } from "./memory.ts";
import { openPipelines } from "./pipelines.ts";
import { openTemporaries } from "./temporaries.ts";
import { openTuning } from "./tuning.ts";

/** The most buffers that one kernel is given, whatever the device allows. */
const buffersPerKernel = 48;

/**
 * Opens the WebGPU device of this machine.
 *
 * @param options `allowSoftware`: also take an adapter that runs on the processor (default false);
 * `hardwareShaders`: give that adapter the shaders of a hardware one, to test them; `remember`:
 * whether the fastest kernels are read from the user's cache folder and kept there (by default on
 * hardware adapters, unless the environment has `TESSERA_TUNE=off`).
 * @returns The backend, or undefined where there is no such adapter.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openWebgpu } from "./mod.ts";
 *
 * const backend = await openWebgpu({ allowSoftware: true });
 * if (backend) {
 *   const type = { shape: [2], dtype: "f32" } as const;
 *   const buffer = backend.allocate(8, "example");
 *   backend.write(buffer, type, Float32Array.of(1, 2));
 *   assertEquals(await backend.read(buffer, type), Float32Array.of(1, 2));
 *   backend.close();
 * }
 * ```
 */
export async function openWebgpu(
  options: {
    readonly allowSoftware?: boolean;
    readonly hardwareShaders?: boolean;
    readonly remember?: boolean;
    readonly maximumBytes?: number;
  } = {},
): Promise<Backend | undefined> {
  const gpu = await openDevice(options.allowSoftware ?? false, options.hardwareShaders ?? false);
  if (!gpu) return undefined;
  const { limits } = gpu.device;
  const counters = newCounters();
  const memory = await openMemory(gpu, counters, byteBudget(options.maximumBytes));
  const pipelines = openPipelines(gpu);
  const { remember = !gpu.target.software } = options;
  const tuning = await openTuning(
    gpu,
    pipelines,
    remember && environment("TESSERA_TUNE") !== "off",
  );
  const runtime: Runtime = {
    gpu,
    memory,
    pipelines,
    tuning,
    temporaries: openTemporaries(memory),
    counters,
  };
  return {
    name: "webgpu",
    description: gpu.description,
    features: { f16: gpu.target.features.f16 },
    counters,
    limits: {
      buffersPerKernel: Math.min(limits.maxStorageBuffersPerShaderStage, buffersPerKernel),
      bytesPerBuffer: Math.min(limits.maxBufferSize, limits.maxStorageBufferBindingSize),
    },
    fuses: true,
    acceptsViews: ({ run }) => run.kind === "kernel" && run.acceptsViews === true && !!run.wgsl,
    allocate: memory.allocate,
    release: (buffer) => memory.release(buffer as WebgpuBuffer),
    write: (buffer, type, data) => memory.write(buffer as WebgpuBuffer, type, data),
    read: (buffer, type) => memory.read(buffer as WebgpuBuffer, type),
    prepare: (plan) => prepare(runtime, plan),
    ...(!gpu.target.software && { tune: tuning.tune }),
    async synchronize() {
      await gpu.device.queue.onSubmittedWorkDone();
      await gpu.settled();
      gpu.check();
    },
    close: gpu.close,
  };
}
