/** The WebAssembly device: vector instructions, and threads on a shared memory. */
import type { HostArray } from "../../dtype.ts";
import { hostArray } from "../../dtype.ts";
import type { TensorType } from "../../op.ts";
import { sizeOf } from "../../shape.ts";
import type { Backend, DeviceBuffer, DeviceCounters } from "../backend.ts";
import { byteBudget } from "../byte_budget.ts";
import { newCounters } from "../counters.ts";
import { OutOfMemoryError } from "../errors.ts";
import { openBlas } from "./blas.ts";
import { prepare, type WasmBuffer, type Workspace } from "./executable.ts";
import { doubledTile, gemmTile } from "./gemm_tile.ts";
import { createMemory, type WasmMemory } from "./memory.ts";
import { createPool } from "./threads.ts";

/** Options of `openWasm`. */
export interface WasmOptions {
  /** The number of threads (default the environment variable `TESSERA_THREADS`, or all cores). */
  readonly threads?: number;
  /** Whether large products may go to a system OpenBLAS (default `TESSERA_BLAS`, or auto). */
  readonly blas?: "auto" | "off";
  /** The most memory that it takes (default the environment variable `TESSERA_MEMORY`, or 4 GiB). */
  readonly maximumBytes?: number;
}

/**
 * Opens the WebAssembly device. Its workers start in the background; until they have, programs run
 * on fewer threads.
 *
 * @param options The number of threads, and whether to use a library for products.
 * @returns The device.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openWasm } from "./mod.ts";
 * const device = await openWasm({ threads: 1 });
 * assertEquals([device.name, device.features.f16], ["wasm", false]);
 * device.close();
 * ```
 */
export function openWasm(
  { threads, blas, maximumBytes }: WasmOptions = {},
): Promise<Backend> {
  const memory = createMemory({ maximumBytes: Math.min(2 ** 32, byteBudget(maximumBytes)) });
  const library = openBlas(memory.memory, blas);
  const pool = createPool(memory, { ...threads !== undefined && { threads }, blas: library });
  const counters = newCounters();
  const limits = { buffersPerKernel: 64, bytesPerBuffer: 2 ** 32 - 1 };
  const blocks = blockPool(memory, counters);
  const workspace = createWorkspace(blocks);
  const tile = gemmTile();
  const host = { memory, pool, workspace, counters, blas: library, tile };
  return Promise.resolve({
    name: "wasm",
    description: `WebAssembly with ${pool.threads} thread${pool.threads === 1 ? "" : "s"}${
      tile === doubledTile ? ", vectors of 256 bits" : ""
    }${library ? ", large products by OpenBLAS" : ""}`,
    features: { f16: false },
    counters,
    limits,
    fuses: true,
    acceptsViews: ({ run }) => run.kind === "kernel" && !!run.wasm && !!run.acceptsViews,
    allocate(bytes, label): WasmBuffer {
      if (bytes > limits.bytesPerBuffer) {
        throw new RangeError(
          `wasm: expected at most ${limits.bytesPerBuffer} bytes for ${label} but found ${bytes}`,
        );
      }
      return { bytes, address: blocks.take(bytes, label) };
    },
    release: (buffer) => blocks.give(buffer as WasmBuffer),
    write(buffer, type, data) {
      wordsOf(memory, buffer, type).set(data as ArrayLike<number>);
    },
    read(buffer, type) {
      counters.readbacks++;
      const result: HostArray = hostArray(type.dtype, sizeOf(type.shape));
      result.set(wordsOf(memory, buffer, type));
      return Promise.resolve(result);
    },
    view: (buffer, type) => type.dtype === "bool" ? undefined : wordsOf(memory, buffer, type),
    prepare(plan) {
      counters.compilations++;
      return prepare(plan, host);
    },
    synchronize: () => Promise.resolve(),
    close: () => pool.close(),
  });
}

/** The elements of a buffer in memory; bools are words. */
function wordsOf(memory: WasmMemory, buffer: DeviceBuffer, { shape, dtype }: TensorType) {
  const views = memory.views();
  if (dtype === "f16") {
    throw new TypeError(`wasm: expected f32 but found f16[${shape}], which it does not have`);
  }
  const words = dtype === "f32" ? views.f32 : dtype === "i32" ? views.i32 : views.u32;
  const start = (buffer as WasmBuffer).address / 4;
  return words.subarray(start, start + sizeOf(shape));
}

/** Blocks of memory; those given back serve later requests of the same size. */
interface BlockPool {
  /** @throws {OutOfMemoryError} If there is no room; the message names `label`. */
  take(bytes: number, label: string): number;
  give(block: WasmBuffer): void;
}

/** Blocks that wait for reuse are returned to the allocator beyond this many bytes. */
const mostIdleBytes = 2 ** 28;

/** Blocks of at most so many bytes are taken from memory so many at once. */
const batchedBytes = 256;
const batch = 32;

function blockPool(memory: WasmMemory, counters: DeviceCounters): BlockPool {
  const idle = new Map<number, number[]>();
  let idleBytes = 0;
  const returnAll = () => {
    for (const addresses of idle.values()) addresses.forEach(memory.free);
    idle.clear();
    idleBytes = 0;
  };
  const allocate = (bytes: number, label: string) => {
    try {
      return memory.malloc(bytes);
    } catch {
      returnAll();
    }
    try {
      return memory.malloc(bytes);
    } catch (cause) {
      const { message } = cause as Error;
      throw new OutOfMemoryError(`wasm: no room for ${label}: ${message}`, { cause });
    }
  };
  return {
    take(bytes, label) {
      let address = idle.get(bytes)?.pop();
      if (address !== undefined) idleBytes -= bytes;
      else {
        address = allocate(bytes, label);
        counters.allocations++;
        // Scalar results come one a step: they are taken in batches.
        for (let i = 1; bytes <= batchedBytes && i < batch; i++) {
          counters.allocations++;
          counters.bytesLive += bytes;
          this.give({ bytes, address: allocate(bytes, label) });
        }
      }
      counters.bytesLive += bytes;
      counters.bytesPeak = Math.max(counters.bytesPeak, counters.bytesLive);
      return address;
    },
    give({ address, bytes }) {
      counters.bytesLive -= bytes;
      const addresses = idle.get(bytes);
      if (addresses) addresses.push(address);
      else idle.set(bytes, [address]);
      idleBytes += bytes;
      if (idleBytes > mostIdleBytes) returnAll();
    },
  };
}

function createWorkspace(blocks: BlockPool): Workspace {
  let block: WasmBuffer | undefined;
  return {
    ensure(bytes) {
      if (bytes <= (block?.bytes ?? 0)) return;
      if (block) blocks.give(block);
      block = undefined;
      block = { bytes, address: blocks.take(bytes, "temporaries") };
    },
    address: () => block?.address ?? 0,
  };
}
