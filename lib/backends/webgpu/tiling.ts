/** How the threads of a device share the rows and columns of a fused kernel. */
import { affine, type Expr, walk } from "../../compiler/expr.ts";
import type { LoopKernel } from "../../compiler/plan.ts";
import type { WgslTarget } from "../../op.ts";
import { sizeOf } from "../../shape.ts";

/**
 * How a workgroup covers a kernel: `rows` rows side by side, each shared by `threads` threads that
 * take every `threads`-th column. Without columns `threads` is 1.
 */
export interface Tiling {
  readonly rows: number;
  readonly threads: number;
  /** Neighboring threads take neighboring rows (else neighboring columns). */
  readonly rowFastest: boolean;
}

/** The way that suits the kernel's shape, its loads and the device. */
export function chooseTiling(kernel: LoopKernel, target: WgslTarget): Tiling {
  const rowCount = sizeOf(kernel.rows), columnCount = sizeOf(kernel.columns);
  const alone = (rows: number): Tiling => ({ rows, threads: 1, rowFastest: true });
  if (kernel.passes.length === 0) return alone(rowCount < 8192 ? 64 : 256);
  if (target.software) {
    // Barriers are slow there, and eight threads are one vector.
    if (rowCount < 8 && columnCount >= 64) return { rows: 1, threads: 8, rowFastest: false };
    return alone(rowCount < 4096 ? 8 : 64);
  }
  if (columnCount < 16 && rowCount >= 256) return alone(64);
  const most = Math.min(256, target.limits.maxComputeInvocationsPerWorkgroup);
  if (rowsAreContiguous(kernel)) {
    if (rowCount >= 2 ** 16) return alone(64);
    const rows = rowCount < 4096 ? 8 : 32;
    return { rows, threads: powerOfTwo(columnCount / 4, 1, most / rows), rowFastest: true };
  }
  const threads = powerOfTwo(columnCount / 4, 8, most);
  return { rows: Math.max(1, 64 / threads), threads, rowFastest: false };
}

/** The largest power of two that is at most `x`, within bounds. */
function powerOfTwo(x: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, 2 ** Math.floor(Math.log2(Math.max(1, x)))));
}

/** Whether more loads lie side by side along the last row axis than along the last column axis. */
function rowsAreContiguous(kernel: LoopKernel): boolean {
  const lastRow = kernel.rows.length - 1, lastColumn = lastRow + kernel.columns.length;
  const roots = kernel.passes.flatMap(({ reductions, stores }) => [
    ...reductions.map(({ value }) => value),
    ...stores.flatMap(({ index, value }) => [index, value]),
  ]);
  let score = 0;
  const visitIndex = (index: Expr) => {
    for (const [variable, factor] of affine(index)?.terms ?? []) {
      if (Math.abs(factor) !== 1) continue;
      if (variable.value === lastRow) score++;
      if (variable.value === lastColumn) score--;
    }
  };
  walk(roots, (expr) => {
    if (expr.op === "load") visitIndex(expr.args[0]!);
  });
  return score > 0;
}
