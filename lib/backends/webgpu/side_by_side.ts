/**
 * Fused kernels of equal form that do not depend on each other, such as the optimizer's for each
 * parameter, run side by side in one dispatch.
 */
import type { Step } from "../../compiler/plan.ts";

/** A step, and the number of the plan's step that it belongs to. */
export interface NumberedStep {
  readonly number: number;
  readonly step: Step;
}

/** Steps that run at the same time: loops of equal form, or any step alone. */
export interface SideBySide {
  readonly members: readonly NumberedStep[];
}

/** The most members of one dispatch, and buffers that it binds on any device. */
const mostMembers = 32;
const mostBuffers = 64;

/**
 * Puts loops beside an earlier one of the same form, where everything between lets them.
 *
 * @param steps All steps, in order.
 * @param formOf The same text for loops that differ in their buffers only.
 * @param memoryOf What memory a buffer has; others may have the same.
 * @param buffersPerKernel How many buffers a kernel may bind.
 * @returns The steps in the order in which they are to run.
 */
export function putSideBySide(
  steps: readonly NumberedStep[],
  formOf: (step: Step & { kind: "loop" }) => string,
  memoryOf: (buffer: number) => string,
  buffersPerKernel: number,
): SideBySide[] {
  const most = Math.min(buffersPerKernel, mostBuffers);
  const placed: { members: NumberedStep[]; buffers: Set<number> }[] = [];
  const open = new Map<string, number>();
  const lastRead = new Map<string, number>(), lastWritten = new Map<string, number>();

  for (const numbered of steps) {
    const { step } = numbered;
    const scratch = step.kind === "kernel" ? step.scratch : [];
    const reads = step.reads.map(memoryOf), writes = [...step.writes, ...scratch].map(memoryOf);
    const buffers = new Set([...step.reads, ...step.writes]);
    const form = step.kind === "loop" ? formOf(step) : undefined;
    const found = form === undefined ? undefined : open.get(form);
    let place = placed.length;
    if (found !== undefined) {
      const after = (last: Map<string, number>, memory: string) => (last.get(memory) ?? -1) < found;
      const free = [...reads, ...writes].every((memory) => after(lastWritten, memory)) &&
        writes.every((memory) => after(lastRead, memory));
      const group = placed[found]!, bound = group.buffers.union(buffers);
      if (free && bound.size <= most && group.members.length < mostMembers) {
        place = found;
        group.buffers = bound;
        group.members.push(numbered);
      }
    }
    if (place === placed.length) {
      placed.push({ members: [numbered], buffers });
      if (form !== undefined) open.set(form, place);
    }
    for (const memory of reads) {
      lastRead.set(memory, Math.max(place, lastRead.get(memory) ?? -1));
    }
    for (const memory of writes) {
      lastWritten.set(memory, Math.max(place, lastWritten.get(memory) ?? -1));
    }
  }
  return placed;
}
