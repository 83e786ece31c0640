/** The devices that tests run on, and a test on each of them. */
import type { Backend, DeviceName } from "../lib/backends/backend.ts";
import { openDevice, use } from "../lib/device.ts";

const opened = new Map<DeviceName, Backend>();

/** Opens every device that there is here; WebGPU must be there if TESSERA_REQUIRE_WEBGPU is set. */
for (const name of ["reference", "wasm", "webgpu"] as const) {
  try {
    opened.set(name, await openDevice(name));
  } catch (error) {
    if (name !== "webgpu" || Deno.env.get("TESSERA_REQUIRE_WEBGPU")) throw error;
  }
}

/** The names of the devices that tests run on. */
export const devices: readonly DeviceName[] = ["reference", "wasm", "webgpu"];

/**
 * Declares one test per device; where a device is missing, its test is shown as ignored.
 *
 * @param name The sentence that the test proves.
 * @param body The test.
 * @param on The devices; all by default.
 */
export function testOnDevices(
  name: string,
  body: (device: Backend) => Promise<void> | void,
  on: readonly DeviceName[] = devices,
): void {
  for (const device of on) {
    Deno.test({
      name: `${name} (${device})`,
      ignore: !opened.has(device),
      // Worker threads and the GPU queue outlive a test.
      sanitizeOps: false,
      sanitizeResources: false,
      fn: () => body(use(opened.get(device)!)),
    });
  }
}
