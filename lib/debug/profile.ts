/** The kernel table: where the time of programs goes, step by step. */
import { stepCost } from "./cost.ts";
import { recorders, type RunningProgram } from "./execute.ts";
import { results } from "./show_plan.ts";
import { showTable } from "./table.ts";

/** One line of the kernel table: equal steps of one program, over all its runs. */
export interface KernelRow {
  /** The jitted function, or `eager`. */
  readonly program: string;
  /** The ops in it: `mul+add+sum`. */
  readonly name: string;
  readonly kind: "loop" | "kernel" | "copy";
  /** The types of its results. */
  readonly results: string;
  /** How many times it ran. */
  readonly calls: number;
  /** Milliseconds of all calls together. Copies on WebGPU count as 0. */
  readonly ms: number;
  /** Memory traffic in GB/s and arithmetic in GFLOP/s; see `planCost`. */
  readonly gigabytesPerSecond: number;
  readonly gigaflopsPerSecond: number;
  /** Its part of the time of all programs, 0 to 1. */
  readonly share: number;
}

/**
 * Times every step of the programs that run meanwhile: by timestamps of the GPU on WebGPU (each
 * step in a pass of its own), else by the clock. Compiling does not count; the first runs of new
 * code may still be slower.
 *
 * @param body Calls jitted functions, or reads tensors.
 * @returns The kernel table, the longest first.
 * @throws {Error} If the device cannot time steps.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { jit, matmul, openDevice, profile, type Tensor, tensor } from "../../mod.ts";
 * await openDevice("wasm");
 * const square = jit((x: Tensor) => matmul(x, x), { name: "square" });
 * const x = tensor(new Float32Array(64 * 64), { shape: [64, 64] });
 * const [row] = await profile(() => {
 *   for (let i = 0; i < 3; i++) square(x);
 * });
 * assertEquals([row!.program, row!.name, row!.calls, row!.share], ["square", "matmul", 3, 1]);
 * ```
 */
export async function profile(body: () => unknown): Promise<KernelRow[]> {
  const runs: { program: RunningProgram; milliseconds: Promise<readonly number[]> }[] = [];
  const record = (program: RunningProgram, milliseconds: Promise<readonly number[]>) =>
    void runs.push({ program, milliseconds });
  recorders.add(record);
  try {
    await body();
  } finally {
    recorders.delete(record);
  }
  if (runs.length === 0) {
    throw new Error("profile: expected programs that the device can time but found none run");
  }
  return kernelRows(
    await Promise.all(
      runs.map(async ({ program, milliseconds }) => ({ program, times: await milliseconds })),
    ),
  );
}

/** The kernel table of timed runs. */
export function kernelRows(
  runs: readonly { readonly program: RunningProgram; readonly times: readonly number[] }[],
): KernelRow[] {
  type Sum = Pick<KernelRow, "program" | "name" | "kind" | "results"> & {
    calls: number;
    ms: number;
    bytes: number;
    flops: number;
  };
  const sums = new Map<string, Sum>();
  let total = 0;
  for (const { program: { name: program, plan }, times } of runs) {
    for (const [i, step] of plan.steps.entries()) {
      const { name, kind } = step;
      const key = [program, name, kind, results(plan, step)].join("\n");
      let sum = sums.get(key);
      if (!sum) {
        sum = {
          program,
          name,
          kind,
          results: results(plan, step),
          calls: 0,
          ms: 0,
          bytes: 0,
          flops: 0,
        };
        sums.set(key, sum);
      }
      const { bytes, flops } = stepCost(plan, step);
      sum.calls++;
      sum.ms += times[i]!;
      sum.bytes += bytes;
      sum.flops += flops;
      total += times[i]!;
    }
  }
  const perSecond = (amount: number, ms: number) => ms > 0 ? amount / ms / 1e6 : 0;
  return [...sums.values()].sort((a, b) => b.ms - a.ms).map(({ bytes, flops, ...row }) => ({
    ...row,
    gigabytesPerSecond: perSecond(bytes, row.ms),
    gigaflopsPerSecond: perSecond(flops, row.ms),
    share: total > 0 ? row.ms / total : 0,
  }));
}

/**
 * The kernel table as text.
 *
 * @param rows What `profile` returned.
 * @returns A line per kernel.
 */
export function showKernels(rows: readonly KernelRow[]): string {
  return showTable(
    ["program", "kernel", "kind", "results", "calls", "ms", "GB/s", "GFLOP/s", "share"],
    rows.map((row) => [
      row.program,
      row.name,
      row.kind,
      shorten(row.results),
      row.calls,
      row.ms,
      row.gigabytesPerSecond,
      row.gigaflopsPerSecond,
      `${(100 * row.share).toFixed(1)} %`,
    ]),
  );
}

/** The most characters of the types of results. */
const longestTypes = 48;

function shorten(types: string): string {
  if (types.length <= longestTypes) return types;
  return `${types.slice(0, longestTypes).replace(/, [a-z]\w+\[[^\]]*$/, "")}, …`;
}
