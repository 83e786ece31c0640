/** The memory plan: which temporaries share memory, from when each is first and last used. */

/** A temporary and the steps between which it is alive, both included. */
export interface Lifetime {
  readonly id: number;
  readonly bytes: number;
  readonly first: number;
  readonly last: number;
}

/** Alignment of packed temporaries, in bytes. */
const alignment = 64;

const aligned = (bytes: number) => Math.ceil(bytes / alignment) * alignment;
const overlap = (a: Lifetime, b: Lifetime) => a.first <= b.last && b.first <= a.last;

/**
 * Packs temporaries into one block: the largest first, each at the lowest offset that is free for
 * its whole life (Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference").
 *
 * @returns The offset of each, and the size of the block in bytes.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { pack } from "./memory.ts";
 * const { offsets, bytes } = pack([
 *   { id: 0, bytes: 64, first: 0, last: 1 },
 *   { id: 1, bytes: 64, first: 2, last: 3 },
 * ]);
 * assertEquals([offsets.get(0), offsets.get(1), bytes], [0, 0, 64]);
 * ```
 */
export function pack(
  lifetimes: readonly Lifetime[],
): { offsets: Map<number, number>; bytes: number } {
  const offsets = new Map<number, number>();
  const placed: { life: Lifetime; offset: number }[] = [];
  let bytes = 0;
  for (const life of [...lifetimes].sort((a, b) => b.bytes - a.bytes || a.first - b.first)) {
    const size = aligned(life.bytes);
    let offset = 0;
    for (const other of placed) { // in order of offset
      if (!overlap(life, other.life)) continue;
      if (offset + size <= other.offset) break;
      offset = Math.max(offset, other.offset + aligned(other.life.bytes));
    }
    const at = placed.findIndex((other) => other.offset > offset);
    placed.splice(at < 0 ? placed.length : at, 0, { life, offset });
    offsets.set(life.id, offset);
    bytes = Math.max(bytes, offset + size);
  }
  return { offsets, bytes };
}

/**
 * Shares whole buffers among temporaries: each takes the free slot nearest to its size.
 *
 * @returns The slot of each, and the size of every slot in bytes.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { share } from "./memory.ts";
 * const { slots, bytes } = share([
 *   { id: 0, bytes: 64, first: 0, last: 1 },
 *   { id: 1, bytes: 32, first: 2, last: 3 },
 * ]);
 * assertEquals([slots.get(0), slots.get(1), bytes], [0, 0, [64]]);
 * ```
 */
export function share(
  lifetimes: readonly Lifetime[],
): { slots: Map<number, number>; bytes: number[] } {
  const slots = new Map<number, number>();
  const bytes: number[] = [];
  const busyUntil: number[] = [];
  for (const life of [...lifetimes].sort((a, b) => a.first - b.first || b.bytes - a.bytes)) {
    let best = -1;
    for (let slot = 0; slot < bytes.length; slot++) {
      if (busyUntil[slot]! >= life.first) continue;
      if (best < 0 || fit(bytes[slot]!, life.bytes) < fit(bytes[best]!, life.bytes)) best = slot;
    }
    if (best < 0) best = bytes.push(0) - 1;
    bytes[best] = Math.max(bytes[best]!, aligned(life.bytes));
    busyUntil[best] = life.last;
    slots.set(life.id, best);
  }
  return { slots, bytes };
}

/** How badly a slot fits: bytes wasted, or, where it must grow, bytes added. */
function fit(slot: number, wanted: number): number {
  return slot >= wanted ? slot - wanted : 2 * (wanted - slot);
}
