/** What can happen to a device while it works; a program can open it again and go on from what it saved. */

/** Thrown by every use of a device after its driver has dropped it, or after it was closed. */
export class DeviceLostError extends Error {
  override readonly name = "DeviceLostError";
}

/** Thrown where a device has no memory left, or would take more than it was allowed. */
export class OutOfMemoryError extends RangeError {
  override readonly name = "OutOfMemoryError";
}

/**
 * Whether a program that opens its device again may well go on.
 *
 * @param error What was thrown.
 * @returns Whether it is one of these errors.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { isDeviceFault, OutOfMemoryError } from "./errors.ts";
 * assertEquals([new OutOfMemoryError("full"), new Error("bug")].map(isDeviceFault), [true, false]);
 * ```
 */
export function isDeviceFault(error: unknown): error is DeviceLostError | OutOfMemoryError {
  return error instanceof DeviceLostError || error instanceof OutOfMemoryError;
}
