/**
 * Reductions of few, long rows, cut into several dispatches so that the whole device takes part:
 * parts of rows first, then the parts' results.
 */
import type { DType } from "../../dtype.ts";
import { type Expr, ExprBuilder } from "../../compiler/expr.ts";
import type { LoopKernel, LoopReduction, LoopStep, LoopStore } from "../../compiler/plan.ts";
import type { ScalarOp } from "../../compiler/scalar_ops.ts";
import type { WgslTarget } from "../../op.ts";
import { rowMajorStrides, sizeOf } from "../../shape.ts";
import { chooseTiling } from "./tiling.ts";

/** Workgroups that keep a large device busy. */
const enoughWorkgroups = 1024;

/** Into how many parts each row should be cut; 1 where the rows alone keep the device busy. */
export function partsOf(step: LoopStep, target: WgslTarget): number {
  const { kernel, reads, writes } = step;
  const reduces = kernel.passes.some(({ reductions }) => reductions.length > 0);
  const inPlace = writes.some((id) => reads.includes(id));
  if (target.software || !reduces || inPlace || sizeOf(kernel.rows) === 0) return 1;
  const tiling = chooseTiling(kernel, target);
  const workgroups = Math.ceil(sizeOf(kernel.rows) / tiling.rows);
  const turns = sizeOf(kernel.columns) / tiling.threads;
  const parts = Math.min(enoughWorkgroups / workgroups, turns / 16);
  return parts < 2 ? 1 : 2 ** Math.floor(Math.log2(parts));
}

/**
 * The steps that together do what a step does.
 *
 * @param step A step with reductions that updates nothing in place.
 * @param parts Into how many parts to cut each row.
 * @param scratch Makes a buffer of a type and a number of elements, and returns its id.
 */
export function splitReduction(
  step: LoopStep,
  parts: number,
  scratch: (dtype: DType, elements: number) => number,
): LoopStep[] {
  const { kernel } = step;
  const rowCount = sizeOf(kernel.rows), columnCount = sizeOf(kernel.columns);
  const length = Math.ceil(columnCount / parts);
  const totals = new Map<number, Total>();
  const steps: LoopStep[] = [];
  const lastReducing = kernel.passes.findLastIndex(({ reductions }) => reductions.length > 0);

  kernel.passes.forEach(({ reductions, stores }, pass) => {
    if (reductions.length > 0) {
      const partials = reductions.map(({ dtype }) => {
        const wide: DType = dtype === "f16" ? "f32" : dtype;
        return { dtype, wide, buffer: scratch(wide, parts * rowCount) };
      });
      steps.push(partStep(partials.map(({ buffer }) => buffer)));
      reductions.forEach(({ id }, k) =>
        totals.set(id, {
          dtype: partials[k]!.dtype,
          wide: partials[k]!.wide,
          buffer: scratch(partials[k]!.wide, rowCount),
        })
      );
      steps.push(totalStep(partials, pass === lastReducing ? kernel.rowStores : []));
    }
    if (stores.length > 0) steps.push(storeStep(stores));

    /** One row for each part of a row: reduces the columns of the part. */
    function partStep(buffers: readonly number[]): LoopStep {
      const rows = [parts, ...kernel.rows];
      const rewriter = new Rewriter(step, totals);
      const { e } = rewriter;
      const rowVariables = kernel.rows.map((size, i) => e.variable(i + 1, size));
      const column = e.apply(
        "add",
        e.apply("mul", e.variable(0, parts), e.int(length)),
        e.variable(rows.length, length),
      );
      rewriter.place(rowVariables, unflatten(e, column, kernel.columns));
      const inside = e.apply("less", column, e.int(columnCount));
      const values = reductions.map((reduction): LoopReduction => {
        const wide: DType = reduction.dtype === "f16" ? "f32" : reduction.dtype;
        const value = e.cast(wide, rewriter.rewrite(reduction.value));
        const identity = e.constant(wide, identityOf(reduction.reduce, wide));
        return { ...reduction, dtype: wide, value: e.apply("where", inside, value, identity) };
      });
      const index = flatten(e, [e.variable(0, parts), ...rowVariables], rows);
      return rewriter.step({
        rows,
        columns: [length],
        passes: [{ reductions: values, stores: [] }],
        rowStores: values.map(({ id, dtype }, slot) => ({
          slot,
          index,
          value: e.reduced(id, dtype),
        })),
      }, buffers);
    }

    /** Reduces the results of the parts, and makes the row stores where nothing more follows. */
    function totalStep(
      partials: readonly Total[],
      rowStores: readonly LoopStore[],
    ): LoopStep {
      const own = new Set(reductions.map(({ id }) => id));
      const rewriter = new Rewriter(step, totals, own);
      const { e } = rewriter;
      const rowVariables = kernel.rows.map((size, i) => e.variable(i, size));
      rewriter.place(rowVariables, []);
      const row = flatten(e, rowVariables, kernel.rows);
      const part = e.variable(kernel.rows.length, parts);
      const index = e.apply("add", e.apply("mul", part, e.int(rowCount)), row);
      const writes: number[] = [];
      const stores = reductions.map(({ id }, k) => ({
        slot: writes.push(totals.get(id)!.buffer) - 1,
        index: row,
        value: e.reduced(id, partials[k]!.wide),
      }));
      const outputs = rowStores.map(({ slot, index, value }) => ({
        slot: writes.push(step.writes[slot]!) - 1,
        index: rewriter.rewrite(index),
        value: rewriter.rewrite(value),
      }));
      return rewriter.step({
        rows: kernel.rows,
        columns: [parts],
        passes: [{
          reductions: reductions.map(({ id, reduce }, k) => ({
            id,
            reduce,
            dtype: partials[k]!.wide,
            value: rewriter.load(partials[k]!.buffer, partials[k]!.wide, index),
          })),
          stores: [],
        }],
        rowStores: [...stores, ...outputs],
      }, writes);
    }

    /** Stores every column, elementwise. */
    function storeStep(stores: readonly LoopStore[]): LoopStep {
      const rewriter = new Rewriter(step, totals);
      const { e } = rewriter;
      const axes = [...kernel.rows, ...kernel.columns];
      const variables = axes.map((size, i) => e.variable(i, size));
      rewriter.place(
        variables.slice(0, kernel.rows.length),
        variables.slice(kernel.rows.length),
      );
      return rewriter.step({
        rows: axes,
        columns: [],
        passes: [],
        rowStores: stores.map(({ index, value }, slot) => ({
          slot,
          index: rewriter.rewrite(index),
          value: rewriter.rewrite(value),
        })),
      }, stores.map(({ slot }) => step.writes[slot]!));
    }
  });
  return steps;
}

/** Where the results of a reduction are kept, one for each row. */
interface Total {
  readonly dtype: DType;
  /** The type in memory. */
  readonly wide: DType;
  readonly buffer: number;
}

/** Copies expressions of a step to another kernel, with other variables and its own loads. */
class Rewriter {
  readonly e = new ExprBuilder();
  readonly #reads: number[] = [];
  readonly #done = new Map<Expr, Expr>();
  #rows: readonly Expr[] = [];
  #columns: readonly Expr[] = [];

  /** `own`: the reductions that the new kernel itself makes. */
  constructor(
    private readonly from: LoopStep,
    private readonly totals: ReadonlyMap<number, Total>,
    private readonly own: ReadonlySet<number> = new Set(),
  ) {}

  /** Gives the new expressions of the old row and column variables. */
  place(rows: readonly Expr[], columns: readonly Expr[]) {
    this.#rows = rows;
    this.#columns = columns;
  }

  load(buffer: number, dtype: DType, index: Expr): Expr {
    let slot = this.#reads.indexOf(buffer);
    if (slot < 0) slot = this.#reads.push(buffer) - 1;
    return this.e.load(slot, dtype, index);
  }

  rewrite(x: Expr): Expr {
    let result = this.#done.get(x);
    if (!result) this.#done.set(x, result = this.#rewrite(x));
    return result;
  }

  #rewrite(x: Expr): Expr {
    const { e } = this, { kernel, reads } = this.from;
    switch (x.op) {
      case "const":
        return e.constant(x.dtype, x.value);
      case "variable":
        return x.value < kernel.rows.length
          ? this.#rows[x.value]!
          : this.#columns[x.value - kernel.rows.length]!;
      case "load":
        return this.load(reads[x.value]!, x.dtype, this.rewrite(x.args[0]!));
      case "reduced": {
        const { wide, buffer } = this.totals.get(x.value)!;
        const value = this.own.has(x.value)
          ? e.reduced(x.value, wide)
          : this.load(buffer, wide, flatten(e, this.#rows, kernel.rows));
        return e.cast(x.dtype, value);
      }
      case "cast":
        return e.cast(x.dtype, this.rewrite(x.args[0]!));
      case "bitcast":
        return e.bitcast(x.dtype, this.rewrite(x.args[0]!));
      default:
        return e.apply(x.op as ScalarOp, ...x.args.map((arg) => this.rewrite(arg)));
    }
  }

  /** The step of the new kernel. */
  step(kernel: LoopKernel, writes: readonly number[]): LoopStep {
    return { kind: "loop", name: this.from.name, kernel, reads: this.#reads, writes };
  }
}

function flatten(e: ExprBuilder, indices: readonly Expr[], shape: readonly number[]): Expr {
  const strides = rowMajorStrides(shape);
  return indices.reduce(
    (sum, index, i) => e.apply("add", sum, e.apply("mul", index, e.int(strides[i]!))),
    e.int(0),
  );
}

function unflatten(e: ExprBuilder, flat: Expr, shape: readonly number[]): Expr[] {
  const strides = rowMajorStrides(shape);
  return shape.map((size, i) => {
    const quotient = e.apply("divide", flat, e.int(strides[i]!));
    return i === 0 ? quotient : e.apply("modulo", quotient, e.int(size));
  });
}

/** What a reduction of nothing gives. */
export function identityOf(reduce: LoopReduction["reduce"], dtype: DType): number {
  if (reduce === "sum") return 0;
  if (reduce === "product") return 1;
  const largest = reduce === "minimum";
  if (dtype === "f32") return largest ? Infinity : -Infinity;
  if (dtype === "i32") return largest ? 2 ** 31 - 1 : -(2 ** 31);
  if (dtype === "u32") return largest ? 2 ** 32 - 1 : 0;
  return Number(largest);
}
