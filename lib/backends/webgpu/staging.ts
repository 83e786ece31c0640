/** Buffers through which data comes back from a WebGPU device. */
import { type Gpu, wholeWords } from "./device.ts";

const chunk = 64 * 2 ** 20;

interface Staging {
  readonly buffer: GPUBuffer;
  readonly capacity: number;
}

/** Opens the way back from a device; `read` fills `bytes` from the start of a buffer. */
export async function openStaging(gpu: Gpu) {
  const { device } = gpu;
  const free: Staging[] = [];

  const take = (bytes: number): Staging => {
    const found = free.findIndex(({ capacity }) => capacity >= bytes);
    if (found >= 0) return free.splice(found, 1)[0]!;
    const capacity = Math.min(chunk, 2 ** Math.ceil(Math.log2(Math.max(4096, bytes))));
    // Mapped once, so that asking for a mapped range can never abort the process (Deno).
    const buffer = device.createBuffer({
      size: capacity,
      usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
      mappedAtCreation: true,
    });
    buffer.unmap();
    return { buffer, capacity };
  };
  const give = (used: Staging) => {
    if (free.length < 4) free.push(used);
    else used.buffer.destroy();
  };

  const copy = (source: GPUBuffer, bytes: Uint8Array) => {
    const encoder = device.createCommandEncoder();
    const parts: { staging: Staging; into: Uint8Array }[] = [];
    for (let start = 0; start < bytes.length; start += chunk) {
      const into = bytes.subarray(start, start + chunk);
      const staging = take(into.length);
      encoder.copyBufferToBuffer(source, start, staging.buffer, 0, wholeWords(into.length));
      parts.push({ staging, into });
    }
    device.queue.submit([encoder.finish()]);
    return parts;
  };
  const collect = ({ staging, into }: { staging: Staging; into: Uint8Array }) => {
    const range = staging.buffer.getMappedRange(0, wholeWords(into.length));
    into.set(new Uint8Array(range, 0, into.length));
    staging.buffer.unmap();
  };

  /** Waiting for a mapping costs 10 ms in Deno, though the data is there when `mapAsync` returns. */
  const readAtOnce = (source: GPUBuffer, bytes: Uint8Array) => {
    for (const part of copy(source, bytes)) {
      part.staging.buffer.mapAsync(GPUMapMode.READ).catch(() => {});
      collect(part);
      give(part.staging);
    }
  };
  const readLater = async (source: GPUBuffer, bytes: Uint8Array) => {
    const parts = copy(source, bytes);
    await Promise.all(parts.map(async (part) => {
      await part.staging.buffer.mapAsync(GPUMapMode.READ);
      collect(part);
      give(part.staging);
    }));
  };

  let atOnce = "Deno" in globalThis;
  if (atOnce) {
    const source = device.createBuffer({
      size: 4,
      usage: GPUBufferUsage.COPY_SRC,
      mappedAtCreation: true,
    });
    new Uint32Array(source.getMappedRange())[0] = 0x12345678;
    source.unmap();
    const seen = new Uint32Array(1);
    try {
      readAtOnce(source, new Uint8Array(seen.buffer));
    } catch {
      // The host wants the mapping to be awaited.
    }
    atOnce = seen[0] === 0x12345678;
    if (!atOnce) free.length = 0;
    await device.queue.onSubmittedWorkDone();
    source.destroy();
  }
  return {
    async read(source: GPUBuffer, bytes: Uint8Array): Promise<void> {
      if (atOnce) readAtOnce(source, bytes);
      else await readLater(source, bytes);
    },
  };
}
