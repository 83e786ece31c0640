/** What a device must do for the runtime: memory, transfers, and running compiled plans. */
import type { HostArray } from "../dtype.ts";
import type { Op, TensorType } from "../op.ts";
import type { Plan } from "../compiler/plan.ts";

/** The devices there are. */
export type DeviceName = "webgpu" | "wasm" | "reference";

/** A piece of device memory; what it is inside is the backend's own business. */
export interface DeviceBuffer {
  readonly bytes: number;
}

/** Who is told while a plan runs. */
export interface RunListener {
  /** Numbers of steps after which it wants to be told. */
  readonly after: ReadonlySet<number>;
  /** Called after each of them, perhaps after others too: all steps up to this one have run or are enqueued. */
  reached(step: number): void;
}

/** A plan made ready to run. */
export interface Executable {
  /**
   * Runs (or enqueues) every step.
   *
   * @param buffers One buffer for each entry of `plan.bound`, in that order.
   * @param listener Told in between.
   */
  run(buffers: readonly DeviceBuffer[], listener?: RunListener): void;
  /**
   * The same, and the milliseconds that each step of the plan took; missing where the device cannot
   * tell.
   */
  profile?(buffers: readonly DeviceBuffer[]): Promise<readonly number[]>;
  /** Releases temporaries and code. */
  dispose(): void;
}

/** Counters that tests and reports read; all only ever grow, but for `bytesLive`. */
export interface DeviceCounters {
  /** Pieces of memory taken from the device (not those reused). */
  allocations: number;
  /** Bytes in use now, and the most there ever were. */
  bytesLive: number;
  bytesPeak: number;
  /** Kernels run, and queue submissions (1 per run plan on devices without a queue). */
  dispatches: number;
  submissions: number;
  /** Times that data came back to the host. */
  readbacks: number;
  /** Plans compiled. */
  compilations: number;
}

/** A kernel of which variants were measured. */
export interface TunedKernel {
  /** Names all that its speed depends on: op, shape, layout, types. */
  readonly problem: string;
  /** The variant taken so far and the fastest one, with the milliseconds of a run. */
  readonly before: { readonly variant: unknown; readonly milliseconds: number };
  readonly after: { readonly variant: unknown; readonly milliseconds: number };
}

/** A device. */
export interface Backend {
  readonly name: DeviceName;
  /** One line on what the device is, for reports. */
  readonly description: string;
  readonly features: { readonly f16: boolean };
  readonly counters: DeviceCounters;
  /** The largest number of buffers that one kernel may touch, and of bytes in one buffer. */
  readonly limits: { readonly buffersPerKernel: number; readonly bytesPerBuffer: number };
  /** Whether kernels of this op take strided inputs here. */
  acceptsViews(op: Op): boolean;
  /** Whether steps may be fused (the reference backend runs op by op). */
  readonly fuses: boolean;
  /**
   * @throws {OutOfMemoryError} If the device has no memory left; {RangeError} if it cannot hold that many bytes at
   * all; {DeviceLostError} if it is lost. The message names `label`.
   */
  allocate(bytes: number, label: string): DeviceBuffer;
  /** Gives a buffer back; it may be reused for anything enqueued later. */
  release(buffer: DeviceBuffer): void;
  /** Writes host data (bool as bytes 0/1) in the device's own layout of the type. */
  write(buffer: DeviceBuffer, type: TensorType, data: HostArray): void;
  /** Reads a value back. */
  read(buffer: DeviceBuffer, type: TensorType): Promise<HostArray>;
  /**
   * The elements where they lie, for f32, i32 and u32 on a device whose memory is the host's. Valid
   * until memory is allocated.
   */
  view?(buffer: DeviceBuffer, type: TensorType): HostArray | undefined;
  /** Compiles a plan. */
  prepare(plan: Plan): Executable;
  /**
   * Measures variants of the kernels that were compiled and not measured before; programs take the
   * fastest from then on. Missing where there is nothing to choose.
   *
   * @returns What was measured.
   */
  tune?(): Promise<readonly TunedKernel[]>;
  /** Waits until everything enqueued has run. */
  synchronize(): Promise<void>;
  /** Ends the device: memory, workers, queue. */
  close(): void;
}
