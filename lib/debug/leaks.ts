/** Which tensors hold device memory, and since when: to find what grows from step to step. */
import { byteLength, observers, type Storage } from "../graph.ts";
import type { TensorType } from "../op.ts";
import { showType } from "../shape.ts";
import { showTable } from "./table.ts";

/** Pieces of device memory of one origin that are still held. */
export interface LiveRow {
  /** The op that made them, or `literal`. */
  readonly label: string;
  /** `f32[2, 3]`. */
  readonly type: string;
  readonly count: number;
  readonly bytes: number;
  /** The first and the last step in which one of them was made. */
  readonly firstStep: number;
  readonly lastStep: number;
}

/** Watches the memory of tensors until it is disposed of. */
export interface MemoryWatch extends Disposable {
  /** Begins the next step; the first one is 0. */
  nextStep(): void;
  /**
   * What was made since a step (default: since the watch began) and is still held, by origin, most
   * bytes first. A row whose `count` grows with the steps is a leak.
   */
  live(sinceStep?: number): LiveRow[];
}

/**
 * Begins to watch which tensors hold device memory.
 *
 * Memory whose tensors are unreachable counts until it is collected; `using` scopes give it back at
 * once.
 *
 * @returns The watch.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { add, openDevice, tensor, watchMemory } from "../../mod.ts";
 * await openDevice("wasm");
 * using watch = watchMemory();
 * const kept = [];
 * for (let step = 0; step < 3; step++) {
 *   const x = add(tensor([1, 2]), step);
 *   await x.data();
 *   kept.push(x); // forgotten here
 *   watch.nextStep();
 * }
 * const [leak] = watch.live().filter(({ label }) => label === "add");
 * assertEquals([leak!.count, leak!.firstStep, leak!.lastStep], [3, 0, 2]);
 * ```
 */
export function watchMemory(): MemoryWatch {
  const seen = new Map<WeakRef<Storage>, { label: string; type: TensorType; step: number }>();
  let step = 0;
  const observe = (storage: Storage, { label, type }: { label: string; type: TensorType }) =>
    void seen.set(new WeakRef(storage), { label, type, step });
  observers.storages.add(observe);
  return {
    nextStep: () => void step++,
    live(sinceStep = 0) {
      const rows = new Map<string, LiveRow>();
      for (const [reference, { label, type, step }] of seen) {
        const storage = reference.deref();
        if (!storage || storage.released) seen.delete(reference);
        else if (step >= sinceStep) {
          const shown = showType(type), key = `${label} ${shown}`;
          const row = rows.get(key);
          rows.set(key, {
            label,
            type: shown,
            count: (row?.count ?? 0) + 1,
            bytes: (row?.bytes ?? 0) + byteLength(type),
            firstStep: row?.firstStep ?? step,
            lastStep: step,
          });
        }
      }
      return [...rows.values()].sort((a, b) => b.bytes - a.bytes);
    },
    [Symbol.dispose]: () => void observers.storages.delete(observe),
  };
}

/**
 * The rows of a watch as text.
 *
 * @param rows What `live` returned.
 * @returns A line per origin.
 */
export function showLive(rows: readonly LiveRow[]): string {
  return showTable(
    ["made by", "type", "count", "bytes", "steps"],
    rows.map(({ label, type, count, bytes, firstStep, lastStep }) => [
      label,
      type,
      count,
      bytes,
      `${firstStep}..${lastStep}`,
    ]),
  );
}
