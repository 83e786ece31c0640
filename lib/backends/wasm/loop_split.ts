/**
 * Long reductions of few rows in two steps, so that they spread over threads: each part of the
 * columns is reduced by itself, then the parts. The number of parts depends on sizes alone, so that
 * results do not depend on the number of threads.
 */
import { type Expr, ExprBuilder } from "../../compiler/expr.ts";
import type { LoopKernel, LoopStore } from "../../compiler/plan.ts";
import { rewriter } from "../../compiler/rewrite.ts";
import { sizeOf } from "../../shape.ts";

/** A reduction in two steps. */
export interface SplitLoop {
  /** Reads what the kernel reads, and writes one buffer for each reduction. */
  readonly partial: LoopKernel;
  /** Reads what the kernel reads, then those buffers, and writes what the kernel writes. */
  readonly combined: LoopKernel;
  /** The number of elements of each buffer between the two. */
  readonly partials: readonly number[];
}

const fewRows = 8;
const manyColumns = 2 ** 15;
const mostParts = 64;
const leastPerPart = 2 ** 11;

/**
 * Splits a kernel, if that pays.
 *
 * @param reads The number of buffers that it reads.
 */
export function splitLoop(kernel: LoopKernel, reads: number): SplitLoop | undefined {
  const { rows, columns, passes, rowStores } = kernel;
  const [pass] = passes;
  const rowCount = sizeOf(rows), columnCount = sizeOf(columns);
  const isLong = rowCount < fewRows && columnCount >= manyColumns;
  if (!pass || passes.length > 1 || pass.stores.length > 0 || !isLong) return undefined;
  const wanted = Math.min(mostParts, Math.floor(columnCount / leastPerPart));
  const [length] = columns as [number];
  let parts = Math.min(wanted, length);
  while (length % parts !== 0) parts--;
  if (parts < 4) return undefined;

  const sums = pass.reductions;
  const rowIndex = (e: ExprBuilder, column: Expr) => {
    const row = rows.reduce(
      (index, size, i) => e.apply("add", e.apply("mul", index, e.int(size)), e.variable(i, size)),
      e.int(0),
    );
    return e.apply("add", e.apply("mul", row, e.int(parts)), column);
  };

  const e = new ExprBuilder();
  const part = e.variable(rows.length, parts);
  const inPart = rewriter(e, {
    variable(variable, size) {
      if (variable < rows.length) return e.variable(variable, size);
      if (variable > rows.length) return e.variable(variable + 1, size);
      const column = e.variable(rows.length + 1, length / parts);
      return e.apply("add", e.apply("mul", part, e.int(length / parts)), column);
    },
  });
  const partial: LoopKernel = {
    rows: [...rows, parts],
    columns: [length / parts, ...columns.slice(1)],
    passes: [{
      reductions: sums.map((sum) => ({ ...sum, value: inPart(sum.value) })),
      stores: [],
    }],
    rowStores: sums.map(({ id, dtype }, slot): LoopStore => ({
      slot,
      index: rowIndex(e, part),
      value: e.reduced(id, dtype),
    })),
  };

  const c = new ExprBuilder();
  const column = c.variable(rows.length, parts);
  const ofRow = rewriter(c, { variable: (variable, size) => c.variable(variable, size) });
  const combined: LoopKernel = {
    rows,
    columns: [parts],
    passes: [{
      reductions: sums.map((sum, i) => ({
        ...sum,
        value: c.load(reads + i, sum.dtype, rowIndex(c, column)),
      })),
      stores: [],
    }],
    rowStores: rowStores.map(({ slot, index, value }) => ({
      slot,
      index: ofRow(index),
      value: ofRow(value),
    })),
  };
  return { partial, combined, partials: sums.map(() => rowCount * parts) };
}
