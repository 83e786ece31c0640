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
    if (!await device.popErrorScope()) return directive;
  }
  return undefined;
}

/** How long a lost device may take to say so. */
const noticeMs = 500;

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
