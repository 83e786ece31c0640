/**
 * Epilogues: elementwise groups that read what an op's own kernel makes become part of that kernel,
 * where its rule can do them. Bias, activation, residual, rotary positions and casts of a matrix
 * product then cost no pass over memory of their own.
 */
import { rowMajorStrides, sizeOf } from "../shape.ts";
import type { KernelRule } from "../op.ts";
import type { Canonical, Part } from "./canonical.ts";
import { affine, type Expr, ExprBuilder, walk } from "./expr.ts";
import { type Fused, kernelReads, type Owner, reaches } from "./fuse.ts";
import { type GroupKernel, loopKernel } from "./loops.ts";
import type { EpiloguePart } from "./plan.ts";
import { rewriter } from "./rewrite.ts";

/** The epilogue of one kernel, on values. */
export interface OwnerEpilogue {
  readonly groups: Owner[];
  readonly parts: EpiloguePart[];
  readonly reads: Part[];
  readonly writes: Part[];
  /** Values that a write is made in place of; other elements of theirs stay. */
  readonly inPlace: Map<Part, Part>;
  /** Whether anything else reads output 0. */
  keeps: boolean;
}

/** What the compiler must know of a device for this. */
export interface EpilogueLimits {
  readonly backend: "webgpu" | "wasm" | "reference";
  readonly buffersPerKernel: number;
}

/**
 * Moves groups into the kernels whose output 0 they read.
 *
 * @param graph The graph.
 * @param fused The groups; owners that became part of another are gone in the result.
 * @param limits What the device can do.
 */
export function fuseEpilogues(graph: Canonical, fused: Fused, limits: EpilogueLimits): Fused {
  const { backend } = limits;
  if (backend === "reference") return fused;
  const gone = new Map<Owner, Owner>();
  const ownerOf = new Map(fused.ownerOf);
  const readers = readersOf(fused);
  for (const kernel of fused.owners) {
    const unit = kernel.units[0]!;
    const rule = unit.op.run as KernelRule;
    const reach = rule.kind === "kernel" && rule.epilogue?.[backend];
    if (!reach || rule.inPlace !== undefined) continue;
    const made = unit.outputs[0]!;
    const epilogue: OwnerEpilogue = {
      ...{ groups: [], parts: [], reads: [], writes: [], inPlace: new Map(), keeps: false },
    };
    for (const group of readers.get(made) ?? []) {
      if (!mayJoin(group, kernel, epilogue)) continue;
      const loops = loopKernel(group, fused.stored);
      const reads = new Set([...epilogue.reads, ...loops.reads.filter((part) => part !== made)]);
      const buffers = unit.inputs.length + unit.outputs.length + reads.size +
        epilogue.writes.length + loops.writes.length;
      if (buffers > limits.buffersPerKernel) continue;
      const part = epiloguePart(loops, made, [...reads], epilogue.writes.length);
      if (!part || !isWithin(part, reach, made.shape.at(-1) ?? 1)) continue;
      epilogue.groups.push(group);
      epilogue.parts.push(part);
      epilogue.reads.splice(0, Infinity, ...reads);
      epilogue.writes.push(...loops.writes);
      gone.set(group, kernel);
      for (const part of group.members!.keys()) ownerOf.set(part, kernel);
      takeIn(group, kernel, fused.owners);
    }
    if (epilogue.parts.length === 0) continue;
    const others = (readers.get(made) ?? []).some((reader) => !epilogue.groups.includes(reader));
    epilogue.keeps = others || graph.outputs.includes(made);
    kernel.epilogue = epilogue;
  }
  return { ...fused, owners: fused.owners.filter((owner) => !gone.has(owner)), ownerOf };
}

/** Makes what an owner needs, and what needs it, wait for and be waited for by the kernel that it joins. */
export function takeIn(owner: Owner, kernel: Owner, owners: readonly Owner[]): void {
  for (const dep of owner.deps) kernel.deps.add(dep);
  for (const other of owners) if (other.deps.delete(owner)) other.deps.add(kernel);
  kernel.deps.delete(kernel);
}

/** Whether a part reads no more of the matrix than a kernel has at hand. */
function isWithin({ span, start }: EpiloguePart, reach: number | "row", width: number) {
  if (span === 1 || reach === "row") return true;
  return reach % span === 0 && start % reach === 0 && width % reach === 0;
}

/** Who reads each value that has a buffer, in the order of the program. */
export function readersOf({ owners, stored }: Fused): Map<Part, Owner[]> {
  const readers = new Map<Part, Owner[]>();
  for (const owner of owners) {
    for (const part of owner.reads ?? new Set(kernelReads(owner, stored))) {
      const list = readers.get(part);
      if (list) list.push(owner);
      else readers.set(part, [owner]);
    }
  }
  return readers;
}

/** Whether a group is elementwise, and all else that it needs is there before the kernel. */
function mayJoin(group: Owner, kernel: Owner, { writes }: OwnerEpilogue): boolean {
  if (!group.members || group.space!.columns.length > 0) return false;
  if (writes.some((part) => group.reads!.has(part))) return false;
  return [...group.deps].every((dep) => dep === kernel || !reaches(dep, kernel));
}

/**
 * A loop kernel as work on the rows and columns of a matrix that it reads; undefined where its points
 * are not those of some columns, or it reads other rows.
 *
 * @param loops The kernel.
 * @param matrix The value that it reads, its last axis being the columns.
 * @param reads The order of the other values that it reads.
 * @param firstWrite The number of its first write.
 */
function epiloguePart(
  { kernel, reads, writes }: GroupKernel,
  matrix: Part,
  others: readonly Part[],
  firstWrite: number,
): EpiloguePart | undefined {
  const slot = reads.indexOf(matrix);
  const width = matrix.shape.at(-1) ?? 1;
  if (slot < 0 || writes.length === 0 || kernel.rows.length === 0) return undefined;
  const indices = new Set<Expr>();
  const roots = kernel.rowStores.flatMap(({ index, value }) => [index, value]);
  walk(roots, (x) => {
    if (x.op === "load" && x.value === slot) indices.add(x.args[0]!);
  });
  for (const index of indices) {
    const place = placeOf(index, kernel.rows, width, sizeOf(matrix.shape));
    if (!place) continue;
    const { rows, columns, start, variables, e } = place;
    const rewrite = rewriter(e, {
      variable: (variable) => variables[variable]!,
      slot: (from) => from === slot ? 0 : 1 + others.indexOf(reads[from]!),
    });
    const own = columnOf(e, rows.length, columns);
    const before = e.apply("sub", rewrite(index), own);
    const read = [...indices].map((other) => e.apply("sub", rewrite(other), before));
    if (read.some(({ min, max }) => min + start < 0 || max + start >= width)) continue;
    const span = [...columns.keys()].reverse().map((i) => sizeOf(columns.slice(i)))
      .find((length) => read.every((x) => sameGroup(e, x, own, length)));
    const stores = kernel.rowStores.map(({ slot, index, value }) => ({
      slot: firstWrite + slot,
      index: rewrite(index),
      value: rewrite(value),
    }));
    return { rows, columns, start, stores, span: indices.size === 1 ? 1 : span ?? width };
  }
  return undefined;
}

/** Whether two columns are in the same group of so many. */
function sameGroup(e: ExprBuilder, a: Expr, b: Expr, length: number): boolean {
  const group = (x: Expr) => e.apply("divide", x, e.int(length));
  return a.min >= 0 && group(a) === group(b);
}

/** The column of a point, counted from the first. */
function columnOf(e: ExprBuilder, firstVariable: number, columns: readonly number[]): Expr {
  let column = e.int(0);
  for (const [i, length] of columns.entries()) {
    const variable = e.variable(firstVariable + i, length);
    column = e.apply("add", e.apply("mul", column, e.int(length)), variable);
  }
  return column;
}

/**
 * The loops over rows and columns that an index goes through one by one: its variables put in order,
 * one that runs over a row's end being cut in two.
 */
function placeOf(index: Expr, sizes: readonly number[], width: number, size: number) {
  const form = affine(index);
  if (!form) return undefined;
  const loops: { variable: number; length: number; stride: number }[] = [];
  for (const [{ value: variable, max }, stride] of form.terms) {
    const length = max + 1, inside = width / stride;
    if (stride < width && stride * length > width) {
      if (!Number.isInteger(inside) || length % inside !== 0) return undefined;
      loops.push({ variable, length: length / inside, stride: width });
      loops.push({ variable, length: inside, stride });
    } else loops.push({ variable, length, stride });
  }
  if (sizes.some((length, i) => length > 1 && !loops.some(({ variable }) => variable === i))) {
    return undefined;
  }
  loops.sort((a, b) => b.stride - a.stride);
  const rows = loops.filter(({ stride }) => stride >= width);
  const columns = loops.filter(({ stride }) => stride < width);
  /** The length of a run of loops that go through every element, from the innermost stride on. */
  const run = (list: typeof loops, stride: number) =>
    list.reduceRight((next, loop) => loop.stride === next ? next * loop.length : NaN, stride);
  const columnCount = run(columns, 1);
  const start = form.constant;
  if (columns.length === 0 || start < 0 || !(start + columnCount <= width)) return undefined;
  if (run(rows, width) !== size) return undefined;

  const e = new ExprBuilder();
  const variables = sizes.map(() => e.int(0));
  for (const [i, { variable, length }] of loops.entries()) {
    // The outer part of a variable comes first, so that it is scaled by the length of the inner.
    const outer = e.apply("mul", variables[variable]!, e.int(length));
    variables[variable] = e.apply("add", outer, e.variable(i, length));
  }
  const lengths = (list: typeof loops) => list.map(({ length }) => length);
  return { e, variables, start, rows: lengths(rows), columns: lengths(columns) };
}

/** Whether a part stores a write's every element where the matrix has the element of the same point. */
export function storesInPlace(
  { rows, columns, start, stores }: EpiloguePart,
  slot: number,
): boolean {
  const target = stores.find((store) => store.slot === slot)?.index;
  const form = target && affine(target);
  if (!form || start !== 0 || form.constant !== 0) return false;
  const strides = rowMajorStrides([...rows, ...columns]);
  return [...rows, ...columns].every((length, i) =>
    length === 1 || [...form.terms].some(([{ value }, f]) => value === i && f === strides[i])
  );
}
