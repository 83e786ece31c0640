/** Going on after a fault of the device: it is opened anew, and what was under way begins again from what was saved. */
import { isDeviceFault } from "../../lib/backends/errors.ts";
import { currentDevice, reopenDevice } from "../../lib/device.ts";

/** How often in a row something is tried again without having come any further. */
const mostInVain = 3;

/**
 * Does something that may be begun again where the current device is lost or has no memory left.
 *
 * @param body What to do; it goes on from what it has saved, and holds no tensors from before.
 * @param options `place`: how far it has come, as a text; `warn`: told of each fault.
 * @returns The result of `body`.
 * @throws {DeviceLostError} or {OutOfMemoryError} after the third fault in a row at one place; whatever else `body` throws.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { closeDevices, openDevice, OutOfMemoryError } from "../../mod.ts";
 * import { surviveFaults } from "./recovery.ts";
 *
 * await openDevice("wasm");
 * let tries = 0;
 * const body = () => {
 *   if (tries++ === 0) throw new OutOfMemoryError("full");
 *   return Promise.resolve("done");
 * };
 * const options = { place: () => Promise.resolve(""), warn: () => {} };
 * assertEquals([await surviveFaults(body, options), tries], ["done", 2]);
 * closeDevices();
 * ```
 */
export async function surviveFaults<T>(
  body: () => Promise<T>,
  { place, warn = console.warn }: {
    readonly place: () => Promise<string>;
    readonly warn?: (message: string) => void;
  },
): Promise<T> {
  let inVain = 0;
  for (let before = await place();;) {
    try {
      return await body();
    } catch (error) {
      if (!isDeviceFault(error)) throw error;
      const now = await place();
      inVain = now === before ? inVain + 1 : 1;
      before = now;
      if (inVain > mostInVain) throw error;
      const { name } = currentDevice();
      warn(
        `${error.name}: ${error.message}. Opening ${name} again, and going on from what is saved`,
      );
      await reopenDevice();
    }
  }
}
