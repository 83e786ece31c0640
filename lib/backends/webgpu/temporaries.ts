/**
 * Memory for values that live inside one run of a plan. Runs follow each other on the queue, so all
 * plans of a device use the same memory for them.
 */
import type { Allocation, Memory, WebgpuBuffer } from "./memory.ts";

/** The buffers of one plan's slots. */
export interface Slots {
  readonly allocations: readonly Allocation[];
  dispose(): void;
}

/** The shared buffers of a device. */
export interface Temporaries {
  /**
   * A buffer for each slot, no two the same.
   *
   * @param slotBytes The size of each slot.
   * @param label Names what is in a slot.
   */
  take(slotBytes: readonly number[], label: (slot: number) => string): Slots;
}

/** Opens the shared memory for temporaries. */
export function openTemporaries(memory: Memory): Temporaries {
  const shared: { buffer: WebgpuBuffer; users: number }[] = [];

  /** The smallest buffer that is large enough, but not far too large, and not yet taken. */
  const find = (bytes: number, taken: Set<unknown>) =>
    shared
      .filter((entry) =>
        !taken.has(entry) && entry.buffer.bytes >= bytes && entry.buffer.bytes <= 4 * bytes + 4096
      )
      .sort((a, b) => a.buffer.bytes - b.buffer.bytes)[0];

  return {
    take(slotBytes, label) {
      const taken = new Set<typeof shared[number]>();
      const allocations = slotBytes.map((bytes, slot) => {
        let entry = find(bytes, taken);
        if (!entry) {
          entry = { buffer: memory.allocate(bytes, label(slot)), users: 0 };
          shared.push(entry);
        }
        entry.users++;
        taken.add(entry);
        return entry.buffer.allocation;
      });
      return {
        allocations,
        dispose() {
          for (const entry of taken) {
            if (--entry.users > 0) continue;
            memory.release(entry.buffer);
            shared.splice(shared.indexOf(entry), 1);
          }
          taken.clear();
        },
      };
    },
  };
}
