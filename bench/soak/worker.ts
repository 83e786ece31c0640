/**
 * Trains a run, and loses its device whenever a line comes in on standard input.
 *
 *     deno run -A bench/soak/worker.ts FOLDER CONFIG_JSON DEVICE
 *
 * It tells on standard output, a line each: `start STEP`, where it goes on; `fault`, once the device is gone; `warn …`.
 */
import process from "node:process";
import { currentDevice, type DeviceChoice, openDevice, OutOfMemoryError } from "../../mod.ts";
import { readConfig } from "../../models/config/read.ts";
import { trainRun } from "../../models/training/run.ts";

const [folder, config, device] = Deno.args as [string, string, DeviceChoice];

let gpu: GPUDevice | undefined;
if ("GPUAdapter" in globalThis) {
  const request = GPUAdapter.prototype.requestDevice;
  GPUAdapter.prototype.requestDevice = async function (options) {
    return gpu = await request.call(this, options);
  };
}

/** A GPU is destroyed; WebAssembly's memory, which cannot be lost, is full. */
function breakDevice(): void {
  console.log("fault");
  if (gpu) return gpu.destroy();
  const fail = () => {
    throw new OutOfMemoryError("wasm: injected by the soak test");
  };
  // The device that takes its place is another object.
  Object.assign(currentDevice(), { allocate: fail, read: fail });
}

const stop = new AbortController();
process.once("SIGTERM", () => stop.abort("SIGTERM"));
await openDevice(device);
void (async () => {
  for await (const _ of Deno.stdin.readable) breakDevice();
  Deno.exit(1); // the soak test is gone
})();

let isFirst = true;
try {
  await trainRun(
    readConfig(JSON.parse(config)),
    folder,
    ({ stage, step }) => {
      if (stage !== "model" || !isFirst) return;
      isFirst = false;
      console.log(`start ${step}`);
    },
    stop.signal,
    (message) => console.log(`warn ${message}`),
  );
} catch (error) {
  if (error !== stop.signal.reason || !stop.signal.aborted) throw error;
}
Deno.exit(0);
