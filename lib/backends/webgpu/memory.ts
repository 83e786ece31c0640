/** Device memory of the WebGPU backend: a pool of buffers, and transfers to and from the host. */
import { type HostArray, hostArray } from "../../dtype.ts";
import type { TensorType } from "../../op.ts";
import { sizeOf } from "../../shape.ts";
import type { DeviceBuffer, DeviceCounters } from "../backend.ts";
import { OutOfMemoryError } from "../errors.ts";
import type { Gpu } from "./device.ts";
import { openStaging } from "./staging.ts";

/** A buffer of the device. `id` stays with it when the pool hands it out again. */
export interface Allocation {
  readonly id: number;
  readonly gpu: GPUBuffer;
  readonly capacity: number;
}

/** What the WebGPU backend hands out as device memory. */
export interface WebgpuBuffer extends DeviceBuffer {
  readonly allocation: Allocation;
  released: boolean;
}

/** The memory of one device. */
export interface Memory {
  allocate(bytes: number, label: string): WebgpuBuffer;
  release(buffer: WebgpuBuffer): void;
  write(buffer: WebgpuBuffer, type: TensorType, data: HostArray): void;
  read(buffer: WebgpuBuffer, type: TensorType): Promise<HostArray>;
}

const keptFree = 256 * 2 ** 20;
const unsubmittedWrites = 64 * 2 ** 20;

/** Buffers of at most so many bytes are made so many at once. */
const batchedBytes = 256;
const batch = 32;

/** Opens the memory of a device; buffers together may take at most `maximumBytes`. */
export async function openMemory(
  gpu: Gpu,
  counters: DeviceCounters,
  maximumBytes = Infinity,
): Promise<Memory> {
  const { device } = gpu;
  const largest = Math.min(device.limits.maxBufferSize, device.limits.maxStorageBufferBindingSize);
  const free = new Map<number, Allocation[]>();
  let freeBytes = 0, nextId = 0, written = 0, takenBytes = 0;

  const create = (bytes: number, label: string): Allocation => {
    if (takenBytes + bytes > maximumBytes) trim(0);
    if (takenBytes + bytes > maximumBytes) {
      throw new OutOfMemoryError(
        `webgpu: expected room for ${label} (${bytes} bytes) but found ${takenBytes} bytes in use` +
          ` of at most ${maximumBytes}`,
      );
    }
    takenBytes += bytes;
    counters.allocations++;
    device.pushErrorScope("out-of-memory");
    const buffer = device.createBuffer({
      label,
      size: bytes,
      usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
    });
    gpu.watch(
      device.popErrorScope().then((error) => {
        if (!error) return;
        gpu.fail(
          new OutOfMemoryError(`webgpu: the device has no memory for ${label} (${bytes} bytes)`),
        );
      }),
    );
    return { id: nextId++, gpu: buffer, capacity: bytes };
  };
  /** Ends free buffers until they take at most so many bytes. */
  const trim = (keptBytes: number) => {
    for (const [capacity, list] of free) {
      while (freeBytes > keptBytes && list.length > 0) {
        list.shift()!.gpu.destroy();
        freeBytes -= capacity;
        takenBytes -= capacity;
      }
      if (list.length === 0) free.delete(capacity);
    }
  };
  const staging = await openStaging(gpu);

  return {
    allocate(bytes, label) {
      gpu.check();
      if (bytes > largest) {
        throw new RangeError(
          `webgpu: expected ${label} to have at most ${largest} bytes, the most that the device ` +
            `binds, but found ${bytes}`,
        );
      }
      const capacity = Math.min(sizeClass(bytes), Math.floor(largest / 4) * 4);
      const list = free.get(capacity);
      const reused = list?.pop();
      if (reused) freeBytes -= capacity;
      else if (capacity <= batchedBytes) {
        // Scalar results come one a step: their buffers are made in batches.
        const spare = Array.from({ length: batch - 1 }, () => create(capacity, label));
        free.set(capacity, spare);
        freeBytes += capacity * spare.length;
      }
      counters.bytesLive += bytes;
      counters.bytesPeak = Math.max(counters.bytesPeak, counters.bytesLive);
      return { bytes, allocation: reused ?? create(capacity, label), released: false };
    },

    release(buffer) {
      if (buffer.released) throw new Error("webgpu: expected a buffer that is still in use");
      buffer.released = true;
      const { capacity } = buffer.allocation;
      counters.bytesLive -= buffer.bytes;
      const list = free.get(capacity);
      if (list) list.push(buffer.allocation);
      else free.set(capacity, [buffer.allocation]);
      freeBytes += capacity;
      trim(Math.max(keptFree, counters.bytesLive));
    },

    write(buffer, type, data) {
      gpu.check();
      const length = sizeOf(type.shape);
      if (data.length !== length) {
        throw new RangeError(`webgpu: expected ${length} elements but found ${data.length}`);
      }
      if (length === 0) return;
      const words = type.dtype === "bool" ? Uint32Array.from(data) : inWords(data);
      device.queue.writeBuffer(buffer.allocation.gpu, 0, words as Uint32Array<ArrayBuffer>);
      written += words.byteLength;
      if (written > unsubmittedWrites) {
        device.queue.submit([]); // or the host copies pile up
        written = 0;
      }
    },

    async read(buffer, type) {
      gpu.check();
      const length = sizeOf(type.shape);
      const result = hostArray(type.dtype, length);
      if (length === 0) return result;
      counters.readbacks++;
      const words = type.dtype === "bool" ? new Uint32Array(length) : result;
      const bytes = new Uint8Array(words.buffer as ArrayBuffer);
      try {
        await staging.read(buffer.allocation.gpu, bytes);
      } catch (error) {
        await gpu.explain(error);
      }
      await gpu.settled();
      gpu.check();
      if (words !== result) { for (let i = 0; i < length; i++) result[i] = words[i]! ? 1 : 0; }
      return result;
    },
  };
}

/** Bytes to ask for, so that buffers of nearly the same size can replace each other. */
function sizeClass(bytes: number): number {
  const step = Math.max(256, 2 ** Math.floor(Math.log2(Math.max(1, bytes)) - 3));
  return Math.max(1, Math.ceil(bytes / step)) * step;
}

/** The array as it can be written: whole 4-byte words. */
function inWords(data: HostArray): HostArray {
  if (data.byteLength % 4 === 0) return data;
  const padded = new Float16Array(data.length + 1);
  padded.set(data);
  return padded;
}
