/** How many cores this process may use: those of the machine, or its part of them in a job of several processes. */

let part = 1;

/** The cores that this process is to keep busy, at least 1. */
export function availableCores(): number {
  return Math.max(1, Math.floor(part * (navigator.hardwareConcurrency || 1) + 1e-6));
}

/** Leaves only a part of the cores, in 0..1, to this process; for devices and pools opened later. */
export function shareCores(own: number): void {
  part = own;
}

/** Where a process runs: its machine, and the numbers of the cores that it may run on, if known. */
export interface Placement {
  readonly host: string;
  readonly cores?: readonly number[];
}

/**
 * The part of the cores that it may run on that a process has when all of a job share fairly: a core
 * that two may run on counts a half for each.
 *
 * @param rank Which of the processes.
 * @param placements Where each of them runs.
 * @returns A number above 0, at most 1.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { coreShare } from "./cores.ts";
 * const [a, b] = [{ host: "n1", cores: [0, 1] }, { host: "n1", cores: [1, 2] }];
 * assertEquals(coreShare(0, [a, b, { host: "n2", cores: [0, 1] }]), 0.75);
 * ```
 */
export function coreShare(rank: number, placements: readonly Placement[]): number {
  const { host, cores } = placements[rank]!;
  const beside = placements.filter((other) => other.host === host);
  if (!cores?.length) return 1 / beside.length;
  const parts = cores.map((core) =>
    1 / beside.filter((other) => other.cores?.includes(core) ?? true).length
  );
  return parts.reduce((sum, part) => sum + part, 0) / cores.length;
}

/** The numbers of the cores that this process may run on, where Linux tells. */
export function allowedCores(): number[] | undefined {
  let status: string;
  try {
    status = Deno.readTextFileSync("/proc/self/status");
  } catch {
    return undefined;
  }
  const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1];
  return list?.split(",").flatMap((range) => {
    const [first, last = first] = range.split("-").map(Number) as [number, number?];
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
}
