/** Choosing the device that tensors live and programs run on. */
import type { Backend, DeviceName, TunedKernel } from "./backends/backend.ts";
import { environment } from "./environment.ts";

/** A device by name, or `auto`: a hardware WebGPU adapter where there is one, else wasm. */
export type DeviceChoice = DeviceName | "auto";

const choices: readonly DeviceChoice[] = ["auto", "webgpu", "wasm", "reference"];
const opened = new Map<DeviceName, Backend>();
let current: Backend | undefined;

/**
 * Opens a device and makes it the current one. Reading a tensor opens `auto` by itself; a jitted
 * function must find a device open.
 *
 * @param choice `auto` (the default; the environment variable `TESSERA_DEVICE` overrides it),
 * `webgpu` (takes a software adapter too), `wasm` or `reference`.
 * @returns The device.
 * @throws {RangeError} If the name is none of these, or there is no such device here.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice } from "./device.ts";
 * const device = await openDevice("reference");
 * assertEquals(device.name, "reference");
 * ```
 */
export async function openDevice(choice?: DeviceChoice): Promise<Backend> {
  const wanted = choice ?? (environment("TESSERA_DEVICE") || "auto") as DeviceChoice;
  if (!choices.includes(wanted)) {
    throw new RangeError(
      `openDevice: expected device to be ${choices.join(", ")} but found ${wanted}`,
    );
  }
  if (wanted === "auto") {
    const webgpu = opened.get("webgpu") ?? await open("webgpu", false);
    return use(webgpu ?? opened.get("wasm") ?? (await open("wasm", false))!);
  }
  const device = opened.get(wanted) ?? await open(wanted, true);
  if (!device) {
    throw new RangeError(
      `openDevice: expected a WebGPU adapter but found none (is a Vulkan driver installed?)`,
    );
  }
  return use(device);
}

/** Makes an open device the current one. */
export function use(device: Backend): Backend {
  opened.set(device.name, device);
  return current = device;
}

/**
 * The current device.
 *
 * @throws {Error} If none is open yet.
 */
export function currentDevice(): Backend {
  if (!current) {
    throw new Error("Expected an open device but found none: call `await openDevice()` first");
  }
  return current;
}

/** The current device, opened if there is none. */
export async function ensureDevice(): Promise<Backend> {
  return current ?? await openDevice();
}

/**
 * On a hardware GPU, measures variants of the kernels that have been compiled there so far and were
 * never measured on it; programs take the fastest from their next call on. The choices are kept in
 * the user's cache folder (`$XDG_CACHE_HOME/tessera`). Elsewhere, and where the environment has
 * `TESSERA_TUNE=off`, it does nothing. A training program calls it once, after its first step.
 *
 * @returns What was measured.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice, tuneKernels } from "./device.ts";
 * await openDevice("reference");
 * assertEquals(await tuneKernels(), []);
 * ```
 */
export async function tuneKernels(): Promise<readonly TunedKernel[]> {
  if (environment("TESSERA_TUNE") === "off") return [];
  return await current?.tune?.() ?? [];
}

/**
 * Closes the current device and opens it anew, after a fault of it. Tensors on it can no longer be read.
 *
 * @returns The new device, which is the current one.
 * @throws {RangeError} If it is not there any more.
 *
 * @example
 * ```ts
 * import { assertEquals, assertNotEquals } from "@std/assert";
 * import { closeDevices, openDevice, reopenDevice } from "./device.ts";
 * const device = await openDevice("wasm");
 * assertNotEquals(await reopenDevice(), device);
 * closeDevices();
 * ```
 */
export async function reopenDevice(): Promise<Backend> {
  const device = currentDevice();
  opened.delete(device.name);
  device.close();
  return await openDevice(device.name);
}

/** Closes every open device: memory, workers, queues. Tensors on them can no longer be read. */
export function closeDevices(): void {
  for (const device of opened.values()) device.close();
  opened.clear();
  current = undefined;
}

async function open(name: DeviceName, allowSoftware: boolean): Promise<Backend | undefined> {
  let device: Backend | undefined;
  switch (name) {
    case "webgpu":
      device = await (await import("./backends/webgpu/mod.ts")).openWebgpu({ allowSoftware });
      break;
    case "wasm":
      device = await (await import("./backends/wasm/mod.ts")).openWasm();
      break;
    case "reference":
      device = (await import("./backends/reference.ts")).openReference();
      break;
  }
  if (device) opened.set(name, device);
  return device;
}
