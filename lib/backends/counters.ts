/** The counters of a device that has done nothing yet. */
import type { DeviceCounters } from "./backend.ts";

/** All counters at zero. */
export function newCounters(): DeviceCounters {
  return {
    allocations: 0,
    bytesLive: 0,
    bytesPeak: 0,
    dispatches: 0,
    submissions: 0,
    readbacks: 0,
    compilations: 0,
  };
}
