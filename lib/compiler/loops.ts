/** From a group of fused items to its loop kernel, in the coarsest loops with linear indices. */
import { sizeOf } from "../shape.ts";
import type { Part } from "./canonical.ts";
import { type Expr, ExprBuilder, walk } from "./expr.ts";
import type { Owner } from "./fuse.ts";
import { type Lowered, lowerInto, type Space } from "./group.ts";
import { linearIndex } from "./lower.ts";
import type { LoopKernel, LoopPass, LoopReduction, LoopStore } from "./plan.ts";

/** A loop kernel, and the values that its load and store slots stand for. */
export interface GroupKernel {
  readonly kernel: LoopKernel;
  readonly reads: readonly Part[];
  readonly writes: readonly Part[];
}

/**
 * Makes the kernel of a group.
 *
 * @param group A group of `fuse`.
 * @param stored The values with buffers; members without one live only in expressions.
 */
export function loopKernel(group: Owner, stored: ReadonlySet<Part>): GroupKernel {
  const parts = [...group.members!.keys()];
  let space = flat(group.space!);
  for (let round = 0;; round++) {
    const made = lowerAll(parts, space, stored);
    // Loops too coarse to see that members meet at the same point: those of the trial do.
    if (!made) return assemble(lowerAll(parts, group.space!, stored)!, group.space!, stored);
    const finer = round < 8 ? split(made.roots, space) : undefined;
    if (!finer) return assemble(made, space, stored);
    space = finer;
  }
}

/** All rows as one loop and all columns as one loop. */
function flat(space: Space): Space {
  const one = (dims: readonly number[]) => sizeOf(dims) === 1 ? [] : [sizeOf(dims)];
  const columns = one(space.columns);
  // A reduction over a single element keeps its one column.
  const keep = space.columns.length > 0 && columns.length === 0 ? [1] : columns;
  return { ...space, rows: one(space.rows), columns: keep };
}

interface Made {
  readonly e: ExprBuilder;
  readonly members: ReadonlyMap<Part, Lowered>;
  readonly reads: readonly Part[];
  /** Every expression of the kernel. */
  readonly roots: readonly Expr[];
}

function lowerAll(
  parts: readonly Part[],
  space: Space,
  stored: ReadonlySet<Part>,
): Made | undefined {
  const e = new ExprBuilder();
  const members = new Map<Part, Lowered>();
  const reads: Part[] = [];
  const load = (part: Part, index: Expr) => {
    let slot = reads.indexOf(part);
    if (slot < 0) slot = reads.push(part) - 1;
    return e.load(slot, part.dtype, index);
  };
  const roots: Expr[] = [];
  for (const part of parts) {
    const lowered = lowerInto(e, part, space, members, (p) => stored.has(p), load);
    if (!lowered) return undefined;
    members.set(part, lowered);
    roots.push(lowered.reduction?.element ?? lowered.value);
    if (stored.has(part)) roots.push(linearIndex(e, lowered.index, part.shape));
  }
  return { e, members, reads, roots };
}

/** The space with one loop split where an index divides its variable; undefined if none does. */
function split(roots: readonly Expr[], space: Space): Space | undefined {
  const dims = [...space.rows, ...space.columns];
  let variable = -1, divisor = Infinity;
  walk(roots, (x) => {
    if (x.op !== "divide" && x.op !== "modulo") return;
    const [a, b] = x.args as [Expr, Expr];
    if (a.op !== "variable" || b.op !== "const" || dims[a.value]! % b.value !== 0) return;
    if (b.value < divisor) [variable, divisor] = [a.value, b.value];
  });
  if (variable < 0) return undefined;
  const parts = [dims[variable]! / divisor, divisor];
  if (variable < space.rows.length) {
    return { ...space, rows: space.rows.toSpliced(variable, 1, ...parts) };
  }
  return { ...space, columns: space.columns.toSpliced(variable - space.rows.length, 1, ...parts) };
}

function assemble(made: Made, space: Space, stored: ReadonlySet<Part>): GroupKernel {
  const { e, members } = made;
  const reductions: LoopReduction[][] = [];
  const stores: LoopStore[][] = [];
  const rowStores: LoopStore[] = [];
  const writes: Part[] = [];
  const at = <T>(lists: T[][], pass: number) => {
    while (lists.length <= pass) lists.push([]);
    return lists[pass]!;
  };
  for (const [part, { level, index, value, reduction, pass }] of members) {
    if (reduction) {
      at(reductions, pass).push({
        id: reduction.id,
        reduce: reduceOf(part),
        dtype: reduction.element.dtype,
        value: reduction.element,
      });
    }
    if (!stored.has(part)) continue;
    const store: LoopStore = {
      slot: writes.push(part) - 1,
      index: linearIndex(e, index, part.shape),
      value,
    };
    if (level === "row") rowStores.push(store);
    else at(stores, pass).push(store);
  }
  const passes: LoopPass[] = [];
  for (let i = 0; i < Math.max(reductions.length, stores.length); i++) {
    passes.push({ reductions: reductions[i] ?? [], stores: stores[i] ?? [] });
  }
  return {
    kernel: { rows: space.rows, columns: space.columns, passes, rowStores },
    reads: made.reads,
    writes,
  };
}

function reduceOf(part: Part): LoopReduction["reduce"] {
  const { run } = part.unit.op;
  if (run.kind !== "reduction") throw new TypeError(`${part.unit.op.name}: not a reduction`);
  return run.reduce;
}
