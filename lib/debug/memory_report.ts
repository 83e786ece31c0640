/** What the memory of a compiled program is for, before it runs. */
import { lifetimes } from "../compiler/compile.ts";
import type { Lifetime } from "../compiler/memory.ts";
import type { Plan } from "../compiler/plan.ts";
import { showType } from "../shape.ts";
import { showBytes, showTable } from "./table.ts";

/** A temporary of a plan and when it is needed. */
export interface TemporaryRow extends Lifetime {
  /** The op that makes it. */
  readonly label: string;
  /** `f32[2, 3]`. */
  readonly type: string;
}

/** The memory of a plan, in bytes. */
export interface MemoryReport {
  /** What the caller passes in, results that overwrite donated arguments included. */
  readonly arguments: number;
  /** Results with memory of their own. */
  readonly results: number;
  /** All temporaries packed into one block, and shared among whole buffers (as WebGPU needs). */
  readonly packed: number;
  readonly shared: number;
  /** The most that temporaries need at any one step, and that step. */
  readonly live: number;
  readonly liveStep: number;
  /** `packed / live`: 1 is the best possible. */
  readonly ratio: number;
  /** The temporaries that are alive at `liveStep`, the largest first. */
  readonly temporaries: readonly TemporaryRow[];
}

/**
 * What the memory of a plan is for.
 *
 * @param plan The plan, of `planOf`.
 * @returns The bytes by category, and the temporaries at the worst moment.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { matmul, memoryReport, openDevice, placeholder, planOf } from "../../mod.ts";
 * await openDevice("wasm");
 * const plan = planOf((x) => matmul(matmul(x, x), x), [placeholder([64, 64])]);
 * const { arguments: given, results, packed } = memoryReport(plan);
 * assertEquals([given, results, packed], [16384, 16384, 16384]);
 * ```
 */
export function memoryReport(plan: Plan): MemoryReport {
  const lives = lifetimes(plan);
  const changes = plan.steps.map(() => 0);
  for (const { bytes, first, last } of lives) {
    changes[first]! += bytes;
    if (last + 1 < changes.length) changes[last + 1]! -= bytes;
  }
  let live = 0, liveStep = 0, now = 0;
  for (const [step, change] of changes.entries()) {
    now += change;
    if (now > live) [live, liveStep] = [now, step];
  }
  const made = writtenFirst(plan);
  const sum = (ids: readonly number[]) =>
    ids.reduce((total, id) => total + plan.buffers[id]!.bytes, 0);
  return {
    arguments: sum(plan.bound.filter((id) => !made.has(id))),
    results: sum(plan.bound.filter((id) => made.has(id))),
    packed: plan.temporaryBytes,
    shared: plan.slotBytes.reduce((total, bytes) => total + bytes, 0),
    live,
    liveStep,
    ratio: live > 0 ? plan.temporaryBytes / live : 1,
    temporaries: lives
      .filter(({ first, last }) => first <= liveStep && liveStep <= last)
      .sort((a, b) => b.bytes - a.bytes)
      .map((life) => {
        const { label, type } = plan.buffers[life.id]!;
        return { ...life, label, type: showType(type) };
      }),
  };
}

/** The buffers whose first use is to be written. */
function writtenFirst({ steps }: Plan): Set<number> {
  const read = new Set<number>(), made = new Set<number>();
  for (const step of steps) {
    for (const id of step.reads) if (!made.has(id)) read.add(id);
    for (const id of step.writes) if (!read.has(id)) made.add(id);
  }
  return made;
}

/** Kinds of temporaries that are listed. */
const shownKinds = 16;

/**
 * The report as text.
 *
 * @param report What `memoryReport` returned.
 * @returns The bytes by category, then the temporaries of the worst moment by kind.
 */
export function showMemory(report: MemoryReport): string {
  const { arguments: given, results, packed, shared, live, liveStep, ratio, temporaries } = report;
  const kinds = Map.groupBy(temporaries, ({ label, type }) => `${label} ${type}`);
  const sum = (rows: readonly TemporaryRow[]) =>
    rows.reduce((total, { bytes }) => total + bytes, 0);
  const sorted = [...kinds.values()].sort((a, b) => sum(b) - sum(a));
  const rows = sorted.slice(0, shownKinds).map((kind) => [
    kind[0]!.label,
    kind[0]!.type,
    kind.length,
    showBytes(sum(kind)),
    `${Math.min(...kind.map(({ first }) => first))}..${Math.max(...kind.map(({ last }) => last))}`,
  ]);
  const rest = sorted.slice(shownKinds).flat();
  if (rest.length > 0) rows.push(["others", "", rest.length, showBytes(sum(rest)), ""]);
  return [
    `arguments    ${showBytes(given)}`,
    `results      ${showBytes(results)}`,
    `temporaries  ${showBytes(packed)} packed, ${showBytes(shared)} as whole buffers`,
    `most alive   ${showBytes(live)} at step ${liveStep}; packed is ${ratio.toFixed(3)} times that`,
    showTable(["temporary", "type", "count", "bytes", "steps"], rows),
  ].join("\n");
}
