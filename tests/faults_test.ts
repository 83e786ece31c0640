/** Tests of faults amid a training: the device is opened again, and the result is that of an undisturbed run. */
import { assertEquals, assertRejects } from "@std/assert";
import { DeviceLostError, OutOfMemoryError } from "../lib/backends/errors.ts";
import { openWasm } from "../lib/backends/wasm/mod.ts";
import { closeDevices, currentDevice, type DeviceChoice, openDevice, use } from "../lib/device.ts";
import { smallTraining } from "./training_process.ts";
import { checkpointNames } from "../models/training/checkpoints.ts";
import { train } from "../models/training/loop.ts";
import { surviveFaults } from "../models/training/recovery.ts";
import { lastState } from "../models/training/testing.ts";

let gpu: GPUDevice | undefined;
const request = "GPUAdapter" in globalThis ? GPUAdapter.prototype.requestDevice : undefined;
if (request) {
  GPUAdapter.prototype.requestDevice = async function (options) {
    return gpu = await request.call(this, options);
  };
}

/** Trains with a fault before some steps; returns the state and what was warned of. */
async function trainAmid(faults: ReadonlyMap<number, () => void>, size = 64) {
  const folder = await Deno.makeTempDir();
  const left = new Map(faults);
  const warnings: string[] = [];
  const stage = smallTraining(12, { checkpointEvery: 5 }, size);
  const batches = async () => {
    const batch = await stage.batches();
    return (step: number) => {
      left.get(step)?.();
      left.delete(step);
      return batch(step);
    };
  };
  await surviveFaults(() => train({ ...stage, batches }, folder), {
    place: async () => (await checkpointNames(folder)).join(),
    warn: (message) => warnings.push(message.replace(/:.*/, "")),
  });
  const state = await lastState(folder, "model");
  await Deno.remove(folder, { recursive: true });
  return { state, warnings };
}

async function onDevice(device: DeviceChoice, body: () => Promise<void>): Promise<void> {
  await openDevice(device);
  try {
    await body();
  } finally {
    closeDevices();
  }
}

Deno.test({
  name: "a WebGPU device that is destroyed is opened again, and the training ends as undisturbed",
  ignore: !await openDevice("webgpu").then(() => true, () => false),
  fn: () =>
    onDevice("webgpu", async () => {
      const { state } = await trainAmid(new Map());
      const lose = () => gpu!.destroy();
      const disturbed = await trainAmid(new Map([[2, lose], [7, lose], [11, lose]]));
      assertEquals(disturbed.warnings, ["DeviceLostError", "DeviceLostError", "DeviceLostError"]);
      assertEquals(disturbed.state, state);
    }),
});
closeDevices();

Deno.test("a device without memory is opened again, and the training ends as undisturbed", () =>
  onDevice("wasm", async () => {
    const { state } = await trainAmid(new Map());
    const fail = () => {
      throw new OutOfMemoryError("full");
    };
    const fill = () => void Object.assign(currentDevice(), { allocate: fail, read: fail });
    const disturbed = await trainAmid(new Map([[3, fill], [9, fill]]));
    assertEquals(disturbed.warnings, ["OutOfMemoryError", "OutOfMemoryError"]);
    assertEquals(disturbed.state, state);

    // The one that takes its place may have as much as it likes.
    const large = await trainAmid(new Map(), 512);
    closeDevices();
    use(await openWasm({ threads: 1, maximumBytes: 2 ** 22 }));
    const small = await trainAmid(new Map(), 512);
    assertEquals(small, { state: large.state, warnings: ["OutOfMemoryError"] });
  }));

Deno.test("a fault that comes again and again is thrown in the end", () =>
  onDevice("wasm", async () => {
    let tries = 0, place = 0;
    const lose = () => {
      // It comes a little further once.
      if (++tries === 3) place++;
      return Promise.reject(new DeviceLostError("gone"));
    };
    const options = { place: () => Promise.resolve(String(place)), warn: () => {} };
    await assertRejects(() => surviveFaults(lose, options), DeviceLostError, "gone");
    assertEquals(tries, 6);
    const other = () => Promise.reject(new TypeError("a bug"));
    await assertRejects(() => surviveFaults(other, options), TypeError, "a bug");
  }));
