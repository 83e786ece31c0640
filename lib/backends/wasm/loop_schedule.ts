/**
 * How a loop kernel is laid over vectors and threads.
 *
 * One loop variable is the vector: four of its values are the lanes of a vector, and several vectors
 * of it ("copies") are worked on together. If it is a column, the passes go along it and reductions
 * end with the lanes combined. If it is a row, all passes are done for a block of rows at once.
 */
import { type Expr, ownWeight, walk } from "../../compiler/expr.ts";
import type { LoopKernel, LoopStore } from "../../compiler/plan.ts";
import { sizeOf } from "../../shape.ts";
import { dependsOn, strideAlong } from "./loop_index.ts";

/** The layout of a loop kernel. */
export interface LoopSchedule {
  /** The number of the loop variable whose values are the lanes; without rows and columns, none. */
  readonly vector: number | undefined;
  /** Whether the vector is a row. */
  readonly inRows: boolean;
  /** The other rows, outermost first. */
  readonly outerRows: readonly number[];
  /** Vectors of rows (for `inRows`), or of columns for each pass, that are worked on together. */
  readonly copies: readonly number[];
  /** How many values of a row vector one item has, and the number of items per outer row. */
  readonly block: number;
  readonly parts: number;
  /** The units that are spread over threads: outer rows × parts. */
  readonly items: number;
  readonly itemsPerChunk: number;
  readonly chunks: number;
  /** Expensive values that several passes use, with the pass that computes them. */
  readonly kept: ReadonlyMap<Expr, number>;
  /** The scratch that one kept value takes. */
  readonly keptBytes: number;
}

/** Every load in some expressions. */
function loadsIn(roots: Iterable<Expr>): Expr[] {
  const loads: Expr[] = [];
  walk(roots, (x) => {
    if (x.op === "load") loads.push(x);
  });
  return loads;
}

const storesRoots = (stores: readonly LoopStore[]) =>
  stores.flatMap(({ index, value }) => [index, value]);

/** The expressions of a pass. */
function passRoots({ passes }: LoopKernel, pass: number): Expr[] {
  const { reductions, stores } = passes[pass]!;
  return [...reductions.map(({ value }) => value), ...storesRoots(stores)];
}

/** The cost of some expressions, each of their parts counted once. */
export function weightOf(roots: Iterable<Expr>): number {
  let weight = 0;
  walk(roots, (x) => weight += ownWeight(x));
  return weight;
}

/** The cost of one point when the lanes run along a variable. */
export function costAlong(kernel: LoopKernel, variable: number): number {
  const { rows, columns, passes, rowStores } = kernel;
  const size = [...rows, ...columns][variable]!;
  const depends = dependsOn(variable);
  const access = (index: Expr) => {
    const stride = strideAlong(index, variable, depends);
    return stride === 0 ? 0.3 : stride === 1 ? 1 : stride === undefined ? 8 : 6;
  };
  const cost = (values: readonly Expr[], stores: readonly LoopStore[]) => {
    let total = 0.4 * weightOf(values);
    for (const load of loadsIn(values)) total += access(load.args[0]!);
    for (const { index } of stores) total += access(index);
    return total;
  };
  let total = 0;
  for (const [pass, { stores }] of passes.entries()) {
    total += cost(passRoots(kernel, pass), stores);
  }
  const perRow = cost(storesRoots(rowStores), rowStores) / sizeOf(columns);
  const efficiency = size / (4 * Math.ceil(size / 4));
  if (variable < rows.length) return (total + perRow) / efficiency;
  const combining = 8 * passes.reduce((sum, pass) => sum + pass.reductions.length, 0);
  return total / efficiency + 4 * perRow + combining / sizeOf(columns);
}

/** Work (in additions) that is worth handing to another thread. */
const chunkWork = 16384;

/**
 * Chooses the layout.
 *
 * @param kernel The kernel.
 * @param host The threads, and the scratch that each has.
 */
export function scheduleLoop(
  kernel: LoopKernel,
  { threads, scratchBytes }: { threads: number; scratchBytes: number },
): LoopSchedule {
  const { rows, columns, passes, rowStores } = kernel;
  const sizes = [...rows, ...columns];
  // The last variable first, so that it wins where costs are equal; without passes, rows alone.
  const candidates = sizes.map((_, variable) => variable).reverse()
    .map((variable) => ({ variable, cost: costAlong(kernel, variable) }));
  const best = candidates.reduce<typeof candidates[number] | undefined>(
    (a, b) => a && a.cost <= b.cost ? a : b,
    undefined,
  );
  const vector = best?.variable;
  const inRows = vector !== undefined && vector < rows.length;
  const outerRows = rows.map((_, variable) => variable).filter((variable) => variable !== vector);
  const outer = sizeOf(outerRows.map((variable) => rows[variable]!));
  const weights = passes.map((_, pass) => weightOf(passRoots(kernel, pass)));
  const rowWeight = 4 + weightOf(storesRoots(rowStores));
  const columnCount = sizeOf(columns);
  const workPerRow = rowWeight + weights.reduce((a, b) => a + b, 0) * columnCount;

  let copies: number[];
  if (inRows) {
    const accumulators = passes.reduce(
      (most, { reductions }) => Math.max(most, reductions.length),
      0,
    );
    const light = Math.max(0, ...weights) < 16;
    const wanted = passes.length === 0
      ? rowWeight < 16 ? 2 : 1
      : light && accumulators <= 1
      ? 8
      : accumulators <= 2
      ? 4
      : 2;
    copies = [Math.min(wanted, Math.ceil(sizes[vector]! / 4))];
  } else {
    copies = passes.map(({ reductions }, pass) => {
      const wanted = weights[pass]! < 12 ? 4 : weights[pass]! < 40 ? 2 : 1;
      const most = Math.max(1, Math.floor(8 / Math.max(1, reductions.length)));
      return Math.min(reductions.length ? wanted : Math.min(2, wanted), most);
    });
  }

  let block = 1, parts = 1;
  if (inRows) {
    const size = sizes[vector]!, step = 4 * copies[0]!;
    const perItem = Math.ceil(chunkWork / workPerRow);
    const spread = Math.ceil(size / Math.max(1, Math.ceil(16 * threads / outer)));
    block = Math.ceil(Math.max(perItem, spread) / step) * step;
    parts = Math.ceil(size / block);
  }
  const items = outer * parts;
  const worthwhile = Math.floor(sizeOf(rows) * workPerRow / chunkWork);
  const most = Math.min(items, 8 * threads, Math.max(1, worthwhile));
  const itemsPerChunk = Math.ceil(items / Math.max(1, most));

  const vectorSize = vector === undefined ? 1 : sizes[vector]!;
  const keptBytes = inRows
    ? 16 * copies[0]! * columnCount
    : 16 * Math.ceil(vectorSize / 4) * (columnCount / vectorSize) + 64;
  const kept = keptValues(kernel, inRows ? rows.length + columns.length - 1 : vector);
  return {
    ...{ vector, inRows, outerRows, copies, block, parts, items, itemsPerChunk, keptBytes },
    chunks: items === 0 ? 0 : Math.ceil(items / itemsPerChunk),
    kept: kept.size * keptBytes <= scratchBytes ? kept : new Map(),
  };
}

/** The largest expensive expressions of the innermost column that more than one pass has. */
function keptValues(kernel: LoopKernel, innermost: number | undefined): Map<Expr, number> {
  const kept = new Map<Expr, number>();
  if (kernel.passes.length < 2 || innermost === undefined) return kept;
  const depends = dependsOn(innermost);
  const expensive = new Map<Expr, boolean>();
  const isExpensive = (x: Expr): boolean => {
    let result = expensive.get(x);
    if (result === undefined) {
      result = ownWeight(x) >= 8 || (x.op !== "load" && x.args.some(isExpensive));
      expensive.set(x, result);
    }
    return result;
  };
  const firstPass = new Map<Expr, number>();
  for (let pass = 0; pass < kernel.passes.length; pass++) {
    const seen = new Set<Expr>();
    const visit = (x: Expr) => {
      if (seen.has(x)) return;
      seen.add(x);
      const first = firstPass.get(x);
      if (first !== undefined && first < pass && depends(x) && isExpensive(x)) {
        kept.set(x, first);
        return;
      }
      x.args.forEach(visit);
    };
    passRoots(kernel, pass).forEach(visit);
    for (const x of seen) if (!firstPass.has(x)) firstPass.set(x, pass);
  }
  return kept;
}
