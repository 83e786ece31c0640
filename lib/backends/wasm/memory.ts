/**
 * One shared WebAssembly memory that grows on demand, and the allocation of aligned blocks in it.
 *
 * @module
 */

import { OutOfMemoryError } from "../errors.ts";

/** The most that WebAssembly can address with 32 bits, in pages of 64 KiB. */
const maximumPages = 65536;
const pageBytes = 65536;
const alignment = 64;

/** Kernels may load this many bytes past the end of a block, never store there. */
const slackBytes = 256;

/** Typed views of the whole memory; they are replaced when it grows. */
export interface MemoryViews {
  readonly u8: Uint8Array<ArrayBufferLike>;
  readonly i32: Int32Array<ArrayBufferLike>;
  readonly u32: Uint32Array<ArrayBufferLike>;
  readonly f32: Float32Array<ArrayBufferLike>;
}

/** What the blocks of a memory take. */
export interface MemoryCounters {
  /** Bytes in blocks that are allocated now. */
  readonly bytesLive: number;
  /** The largest `bytesLive` so far. */
  readonly bytesPeak: number;
  /** Blocks that were allocated so far. */
  readonly allocations: number;
  /** Bytes of the memory itself, which never shrinks. */
  readonly bytesReserved: number;
}

/** A shared memory and its allocator. */
export interface WasmMemory {
  readonly memory: WebAssembly.Memory;
  /** Views of the memory as it is now: don't keep them across `malloc`. */
  views(): MemoryViews;
  /**
   * Allocates a block, aligned to 64 bytes. Its content is undefined.
   *
   * @returns the address
   * @throws {OutOfMemoryError} if the memory cannot grow enough
   */
  malloc(bytes: number): number;
  /** Returns a block; the address must have come from `malloc`. */
  free(address: number): void;
  counters(): MemoryCounters;
}

/** A free range of addresses. */
interface Range {
  start: number;
  size: number;
}

/**
 * Makes a small shared memory that can grow to `maximumBytes`.
 *
 * @param options `maximumBytes`: the limit that the allocator keeps, at most (the default) 4 GiB
 * @returns the memory
 * @example
 * ```ts
 * import { createMemory } from "./memory.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const memory = createMemory();
 * const address = memory.malloc(1000);
 * memory.views().f32[address / 4] = 1.5;
 * assertEquals([address % 64, memory.counters().bytesLive], [0, 1024]);
 * memory.free(address);
 * ```
 */
export function createMemory(
  { maximumBytes = maximumPages * pageBytes }: { maximumBytes?: number } = {},
): WasmMemory {
  const memory = new WebAssembly.Memory({ initial: 16, maximum: maximumPages, shared: true });
  /** Sorted by address; no two touch. The first bytes are left out, so that no block has address 0. */
  const free: Range[] = [
    { start: alignment, size: memory.buffer.byteLength - slackBytes - alignment },
  ];
  const sizes = new Map<number, number>();
  let bytesLive = 0;
  let bytesPeak = 0;
  let allocations = 0;
  let views: MemoryViews | undefined;

  const release = (start: number, size: number) => {
    let low = 0;
    for (let high = free.length; low < high;) {
      const middle = (low + high) >> 1;
      if (free[middle].start < start) low = middle + 1;
      else high = middle;
    }
    const before = free[low - 1];
    const after = free[low];
    const joinsBefore = before !== undefined && before.start + before.size === start;
    const joinsAfter = after !== undefined && start + size === after.start;
    if (joinsBefore) before.size += size + (joinsAfter ? after.size : 0);
    else if (joinsAfter) Object.assign(after, { start, size: size + after.size });
    else free.splice(low, 0, { start, size });
    if (joinsBefore && joinsAfter) free.splice(low, 1);
  };

  const grow = (bytes: number) => {
    const reserved = memory.buffer.byteLength;
    const last = free.at(-1);
    const usableEnd = reserved - slackBytes;
    const atEnd = last !== undefined && last.start + last.size === usableEnd ? last.size : 0;
    const needed = Math.ceil((bytes - atEnd) / pageBytes);
    const room = Math.floor((maximumBytes - reserved) / pageBytes);
    const pages = Math.min(room, Math.max(needed, Math.ceil(reserved / pageBytes / 4)));
    try {
      if (pages < needed) throw new RangeError("beyond the maximum");
      memory.grow(pages);
    } catch (cause) {
      throw new OutOfMemoryError(
        `malloc: expected room for ${bytes} bytes but found ${bytesLive} bytes in use` +
          ` of at most ${maximumBytes}`,
        { cause },
      );
    }
    release(usableEnd, pages * pageBytes);
  };

  return {
    memory,
    views() {
      const { buffer } = memory;
      if (views?.u8.buffer !== buffer) {
        views = {
          u8: new Uint8Array(buffer),
          i32: new Int32Array(buffer),
          u32: new Uint32Array(buffer),
          f32: new Float32Array(buffer),
        };
      }
      return views;
    },
    malloc(bytes) {
      if (!Number.isSafeInteger(bytes) || bytes < 0) {
        throw new RangeError(`malloc: expected a number of bytes but found ${bytes}`);
      }
      const size = Math.max(alignment, Math.ceil(bytes / alignment) * alignment);
      let index = free.findIndex((range) => range.size >= size);
      if (index < 0) {
        grow(size);
        index = free.findIndex((range) => range.size >= size);
      }
      const range = free[index];
      const address = range.start;
      range.start += size;
      range.size -= size;
      if (range.size === 0) free.splice(index, 1);
      sizes.set(address, size);
      bytesLive += size;
      bytesPeak = Math.max(bytesPeak, bytesLive);
      allocations++;
      return address;
    },
    free(address) {
      const size = sizes.get(address);
      if (size === undefined) {
        throw new RangeError(`free: expected the address of a block but found ${address}`);
      }
      sizes.delete(address);
      bytesLive -= size;
      release(address, size);
    },
    counters: () => ({
      bytesLive,
      bytesPeak,
      allocations,
      bytesReserved: memory.buffer.byteLength,
    }),
  };
}
