/** A WebGPU device: how it is opened, what it can do, and how its errors reach the caller. */
import type { WgslTarget } from "../../op.ts";
import { DeviceLostError, OutOfMemoryError } from "../errors.ts";

/** An open device. */
export interface Gpu {
  readonly device: GPUDevice;
  readonly target: WgslTarget;
  readonly description: string;
  /** Tells this adapter, driver and host from others whose kernels run at other speeds. */
  readonly identity: string;
  /** The `enable` lines that some WGSL needs on this host; kernels are written without them. */
  directives(code: string): string;
  /** Remembers an error that came up asynchronously; the next `check` throws the first of them. */
  fail(error: Error): void;
  /** Throws what went wrong since the last check. */
  check(): void;
  /** Throws what is behind an error of the host's: that the device was lost, if it was. */
  explain(error: unknown): Promise<never>;
  /** Lets `settled` wait for a check of the device that is still under way. */
  watch(pending: Promise<unknown>): void;
  /** Resolves when everything watched has come to an end. */
  settled(): Promise<void>;
  /** Ends the device. */
  close(): void;
}

const raisedLimits = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupSizeY",
  "maxComputeWorkgroupSizeZ",
  "maxComputeWorkgroupsPerDimension",
  "maxComputeWorkgroupStorageSize",
] as const;

/**
 * Opens the device that the host prefers, with every limit and optional feature that it has.
 *
 * @param allowSoftware Whether an adapter that runs on the processor will do.
 * @param hardwareShaders Whether kernels are to take every adapter for a hardware one.
 * @returns The device, or undefined where there is none.
 */
export async function openDevice(
  allowSoftware: boolean,
  hardwareShaders = false,
): Promise<Gpu | undefined> {
  const adapter = await globalThis.navigator?.gpu?.requestAdapter({
    powerPreference: "high-performance",
  });
  if (!adapter) return undefined;
  const info = adapter.info;
  const software = info.isFallbackAdapter;
  if (software && !allowSoftware) return undefined;

  const requiredLimits: Record<string, number> = {};
  for (const name of raisedLimits) requiredLimits[name] = adapter.limits[name];
  const listed = (["shader-f16", "timestamp-query"] as const).filter((f) =>
    adapter.features.has(f)
  );
  // Some hosts offer subgroups without listing them: only asking tells.
  const device = await adapter.requestDevice({
    requiredLimits,
    requiredFeatures: [...listed, "subgroups" as GPUFeatureName],
  }).catch(() => adapter.requestDevice({ requiredLimits, requiredFeatures: listed }));

  const enableSubgroups = await subgroupDirective(device);
  const description = [info.description, info.vendor, info.architecture].filter(Boolean).join(", ");
  return {
    device,
    target: {
      features: {
        f16: device.features.has("shader-f16"),
        subgroups: enableSubgroups !== undefined,
        largestSubgroup: info.subgroupMaxSize ?? 128,
      },
      software: software && !hardwareShaders,
      limits: device.limits,
    },
    description: `${description || "WebGPU"}${software ? " (software)" : ""}`,
    identity: JSON.stringify([
      ...[info.vendor, info.architecture, info.device, info.description],
      raisedLimits.map((name) => device.limits[name]),
      [...device.features].sort(),
    ]),
    directives(code) {
      const f16 = /\bf16\b/.test(code) && !/\benable f16;/.test(code) ? "enable f16;\n" : "";
      return f16 + (/\bsubgroup[A-Z_]/.test(code) ? enableSubgroups ?? "" : "");
    },
    ...watchErrors(device),
  };
}

/** The directive with which subgroup functions compile here ("" if none), or undefined. */
async function subgroupDirective(device: GPUDevice): Promise<string | undefined> {
  if (!device.features.has("subgroups" as GPUFeatureName)) return undefined;
  for (const directive of ["enable subgroups;\n", ""]) {
    device.pushErrorScope("validation");
    device.createShaderModule({
      code: `${directive}@compute @workgroup_size(8) fn main() { _ = subgroupAdd(1u); }`,
    });
    if (await device.popErrorScope()) continue;
    return await subgroupsAreInOrder(device, directive) ? directive : undefined;
  }
  return undefined;
}

/** How long a lost device may take to say so. */
const noticeMs = 500;

/** Whether the threads of a workgroup fill one subgroup after the other, as kernels rely on. */
async function subgroupsAreInOrder(device: GPUDevice, directive: string): Promise<boolean> {
  const code = `${directive}@group(0) @binding(0) var<storage, read_write> wrong: array<u32>;
@compute @workgroup_size(128) fn main(@builtin(local_invocation_index) local: u32,
  @builtin(subgroup_size) size: u32, @builtin(subgroup_invocation_id) id: u32) {
  let first = subgroupMin(local);
  let last = subgroupMax(local);
  if (local % size != id || first != local - id || last != min(first + size, 128u) - 1u) {
    wrong[0] = 1u;
  }
}`;
  device.pushErrorScope("validation");
  const { STORAGE, COPY_SRC, COPY_DST, MAP_READ } = GPUBufferUsage;
  const wrong = device.createBuffer({ size: 4, usage: STORAGE | COPY_SRC });
  const staging = device.createBuffer({ size: 4, usage: COPY_DST | MAP_READ });
  const pipeline = device.createComputePipeline({
    layout: "auto",
    compute: { module: device.createShaderModule({ code }) },
  });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(
    0,
    device.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries: [{ binding: 0, resource: { buffer: wrong } }],
    }),
  );
  pass.dispatchWorkgroups(1);
  pass.end();
  encoder.copyBufferToBuffer(wrong, 0, staging, 0, 4);
  device.queue.submit([encoder.finish()]);
  const failed = await device.popErrorScope();
  let inOrder = false;
  if (!failed) {
    await staging.mapAsync(GPUMapMode.READ);
    inOrder = new Uint32Array(staging.getMappedRange())[0] === 0;
  }
  wrong.destroy();
  staging.destroy();
  return inOrder;
}

function watchErrors(
  device: GPUDevice,
): Pick<Gpu, "fail" | "check" | "explain" | "watch" | "settled" | "close"> {
  let failure: Error | undefined;
  let lost: DeviceLostError | undefined;
  const pending = new Set<Promise<unknown>>();
  device.addEventListener("uncapturederror", (event) => {
    event.preventDefault();
    const { error } = event as GPUUncapturedErrorEvent;
    const Failure = error instanceof GPUOutOfMemoryError ? OutOfMemoryError : Error;
    failure ??= new Failure(`webgpu: ${error.message}`, { cause: error });
  });
  device.lost.then(({ reason, message }) => {
    lost = new DeviceLostError(`webgpu: the device was lost (${reason || "unknown"}): ${message}`);
  });
  const check = () => {
    if (lost) throw lost;
    if (!failure) return;
    const error = failure;
    failure = undefined;
    throw error;
  };
  return {
    fail(error) {
      failure ??= error;
    },
    check,
    async explain(error) {
      // The host tells of the loss a while after the first use that fails.
      const { promise: over, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, noticeMs);
      await Promise.race([device.lost, over]);
      clearTimeout(timer);
      check();
      throw error;
    },
    watch(promise) {
      pending.add(promise);
      const done = () => void pending.delete(promise);
      promise.then(done, done);
    },
    async settled() {
      while (pending.size > 0) await Promise.allSettled(pending);
    },
    close() {
      lost = new DeviceLostError("webgpu: the device is closed");
      device.destroy();
    },
  };
}

/** A number of bytes rounded up to whole 4-byte words, as copies and bindings want it. */
export function wholeWords(bytes: number): number {
  return Math.ceil(bytes / 4) * 4;
}
