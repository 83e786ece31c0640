/**
 * Fusion: which values get buffers, and which of them are computed together in one loop kernel.
 *
 * Values that only one kernel needs are written into that kernel's expressions. The others
 * ("items") are put into groups, one after another: an item joins a group if, lowered into the
 * group's loops, it uses the group's own values only at the very point that the loops are at.
 */
import { sizeOf } from "../shape.ts";
import type { Canonical, Part, Unit } from "./canonical.ts";
import { type Expr, ExprBuilder, ownWeight, walk } from "./expr.ts";
import { linearIndex, lower, lowerHere, ownWork, reindex, viewOf } from "./lower.ts";

/** What fusion must know of the device. */
export interface FusionLimits {
  readonly fuses: boolean;
  readonly buffersPerKernel: number;
  acceptsViews(unit: Unit): boolean;
}

/** The loops of a group: rows are independent; columns are gone over within a row. */
export interface Space {
  readonly rows: readonly number[];
  readonly columns: readonly number[];
  /** Columns are the last axes: a value of rows × columns elements can be stored as it is made. */
  readonly trailing: boolean;
}

/** A member of a group lowered into its loops. */
export interface Lowered {
  /** Whether there is one element per row or per column of every row. */
  readonly level: "row" | "column";
  /** Where the element stands in the value. */
  readonly index: readonly Expr[];
  /** The element; for a reduction, the `reduced` value. */
  readonly value: Expr;
  /** For a reduction: its number, and the element to reduce. */
  readonly reduction?: { readonly id: number; readonly element: Expr };
  /** The pass over the columns that it belongs to: after all reductions that it uses. */
  readonly pass: number;
}

/** Something that runs as one step: a loop kernel of several items, or one op's own kernel. */
export interface Owner {
  /** Units that run in it, in order. */
  readonly units: Unit[];
  readonly deps: Set<Owner>;
  /** Loop kernels only. */
  space?: Space;
  members?: Map<Part, Lowered>;
  reads?: Set<Part>;
}

/** The result of fusion. */
export interface Fused {
  readonly owners: readonly Owner[];
  /** Who computes each value that has a buffer or is a member of a group. */
  readonly ownerOf: ReadonlyMap<Part, Owner>;
  /** Values that are stored in a buffer. */
  readonly stored: ReadonlySet<Part>;
}

/** Whether a value is the result of a reduction. */
export function isReduction(part: Part): boolean {
  return part.unit.op.run.kind === "reduction";
}

/** The columns that a reduction goes over. */
export function reductionSpace(part: Part): Space {
  const axes: number[] = part.unit.attributes.axes;
  const shape = part.unit.inputs[0]!.shape;
  const long = (axis: number) => shape[axis] !== 1;
  const kept = shape.map((_, axis) => axis).filter((axis) => !axes.includes(axis));
  const trailing = Math.max(-1, ...kept.filter(long)) < Math.min(Infinity, ...axes.filter(long));
  return {
    rows: kept.map((axis) => shape[axis]!),
    columns: axes.map((axis) => shape[axis]!),
    trailing,
  };
}

class Misaligned extends Error {}

/**
 * Lowers an item into the loops of a space.
 *
 * @param members Values of the same group, by part.
 * @param load Gives the element of a buffer.
 * @returns Undefined if the item does not fit the space, or uses a member at another point.
 */
export function lowerInto(
  ...args: Parameters<typeof lowerAligned>
): Lowered | undefined {
  try {
    return lowerAligned(...args);
  } catch (error) {
    if (error instanceof Misaligned) return undefined;
    throw error;
  }
}

function lowerAligned(
  e: ExprBuilder,
  item: Part,
  space: Space,
  members: ReadonlyMap<Part, Lowered>,
  stored: (part: Part) => boolean,
  load: (part: Part, index: Expr) => Expr,
): Lowered | undefined {
  const rowVariables = space.rows.map((length, i) => e.variable(i, length));
  const columnVariables = space.columns.map((length, i) =>
    e.variable(space.rows.length + i, length)
  );
  const rowCount = sizeOf(space.rows), columnCount = sizeOf(space.columns);
  const passOfReduction = new Map<number, number>();
  for (const { reduction, pass } of members.values()) {
    if (reduction) passOfReduction.set(reduction.id, pass);
  }
  const passOf = (x: Expr) =>
    Math.max(0, ...[...reductionsIn(x)].map((id) => passOfReduction.get(id)! + 1));
  const access = (part: Part, index: readonly Expr[]) => {
    const member = members.get(part);
    if (member) {
      if (member.index.some((i, axis) => i !== index[axis])) throw new Misaligned();
      return member.value;
    }
    return stored(part) ? load(part, linearIndex(e, index, part.shape)) : undefined;
  };
  if (isReduction(item)) {
    const own = reductionSpace(item);
    if (
      space.columns.length === 0 || sizeOf(own.rows) !== rowCount ||
      sizeOf(own.columns) !== columnCount || own.trailing !== space.trailing
    ) return undefined;
    const input = item.unit.inputs[0]!;
    const axes: number[] = item.unit.attributes.axes;
    const kept = reindex(e, rowVariables, space.rows, own.rows);
    const reduced = reindex(e, columnVariables, space.columns, own.columns);
    const index = input.shape.map((_, axis) =>
      axes.includes(axis) ? reduced.shift()! : kept.shift()!
    );
    const accumulator = item.dtype === "f16" ? "f32" : item.dtype;
    const element = e.cast(accumulator, lower(e, input, index, access));
    const id = passOfReduction.size;
    return {
      level: "row",
      index: reindex(e, rowVariables, space.rows, item.shape),
      value: e.cast(item.dtype, e.reduced(id, accumulator)),
      reduction: { id, element },
      pass: passOf(element),
    };
  }
  const size = sizeOf(item.shape);
  const perColumn = space.columns.length > 0 && space.trailing && size === rowCount * columnCount &&
    columnCount > 1;
  if (!perColumn && size !== rowCount) return undefined;
  const index = perColumn
    ? reindex(
      e,
      [...rowVariables, ...columnVariables],
      [...space.rows, ...space.columns],
      item.shape,
    )
    : reindex(e, rowVariables, space.rows, item.shape);
  const value = lowerHere(e, item, index, access);
  return { level: perColumn ? "column" : "row", index, value, pass: passOf(value) };
}

/** Decides on buffers and groups. */
export function fuse(graph: Canonical, limits: FusionLimits): Fused {
  const stored = chooseBuffers(graph, limits);
  const ownerOf = new Map<Part, Owner>();
  const owners: Owner[] = [];
  const readers = new Map<Part, Owner[]>();
  const e = new ExprBuilder();
  const isInput = new Set(graph.inputs.map(({ part }) => part));

  const ownersOf = (parts: Iterable<Part>, extra: Iterable<Part> = []) => {
    const deps = new Set<Owner>();
    for (const part of [...parts, ...extra]) {
      const owner = ownerOf.get(part);
      if (owner) deps.add(owner);
    }
    return deps;
  };

  for (const unit of graph.units) {
    const { kind } = unit.op.run;
    if (kind === "source") continue;
    if (kind === "kernel") {
      const reads = new Set(unit.inputs.map((part) => viewOf(part, (p) => stored.has(p))!.base));
      const deps = ownersOf(reads, barrierTokens(unit, stored));
      const owner: Owner = { units: [unit], deps };
      owners.push(owner);
      for (const part of unit.outputs) ownerOf.set(part, owner);
      continue;
    }
    const item = unit.outputs[0]!;
    if (!stored.has(item) || isInput.has(item)) continue;

    const attempt = (space: Space, members: Map<Part, Lowered>) => {
      const reads = new Set<Part>();
      const lowered = lowerInto(e, item, space, members, (p) => stored.has(p), (part, index) => {
        reads.add(part);
        return e.load(part.id, part.dtype, index);
      });
      return lowered && { lowered, reads };
    };
    const own: Space = isReduction(item)
      ? reductionSpace(item)
      : { rows: item.shape, columns: [], trailing: true };
    const alone = attempt(own, new Map())!;
    const barriers = barrierTokens(unit, stored);
    const direct = ownersOf(alone.reads, barriers);
    let home: Owner | undefined;
    if (limits.fuses) {
      for (const candidate of candidates(item, alone.reads, direct, readers)) {
        const joined = join(candidate, item, own, attempt, e, stored);
        if (!joined || (joined.space.columns.length > 0 && !affordable(joined.members))) continue;
        const reads = new Set([...candidate.reads!, ...joined.reads]);
        if (reads.size + candidate.members!.size + 1 > limits.buffersPerKernel) continue;
        if ([...direct].some((dep) => dep !== candidate && reaches(dep, candidate))) continue;
        candidate.space = joined.space;
        candidate.members = joined.members;
        candidate.reads = reads;
        candidate.units.push(unit);
        for (const dep of direct) if (dep !== candidate) candidate.deps.add(dep);
        home = candidate;
        break;
      }
    }
    if (!home) {
      home = {
        units: [unit],
        deps: direct,
        space: own,
        members: new Map([[item, alone.lowered]]),
        reads: alone.reads,
      };
      owners.push(home);
    }
    ownerOf.set(item, home);
    for (const part of alone.reads) {
      const list = readers.get(part);
      if (!list) readers.set(part, [home]);
      else if (!list.includes(home)) list.push(home);
    }
  }

  // A member that nothing outside its group reads needs no buffer.
  const needed = new Set<Part>(graph.outputs);
  for (const owner of owners) {
    if (owner.members) { for (const part of owner.reads!) needed.add(part); }
    else {
      for (const part of owner.units[0]!.inputs) {
        needed.add(viewOf(part, (p) => stored.has(p))!.base);
      }
    }
  }
  for (const [part, owner] of ownerOf) {
    if (owner.members && !needed.has(part)) stored.delete(part);
  }
  return { owners, ownerOf, stored };
}

/** Values that a barrier in the expressions that a unit reads waits for. */
function barrierTokens(unit: Unit, stored: ReadonlySet<Part>): Set<Part> {
  const tokens = new Set<Part>();
  const seen = new Set<Part>();
  const stack = [...unit.inputs];
  if (unit.attributes.barrier !== undefined) tokens.add(unit.inputs[1]!);
  while (stack.length > 0) {
    const part = stack.pop()!;
    if (seen.has(part) || stored.has(part)) continue;
    seen.add(part);
    if (part.unit.attributes.barrier !== undefined) tokens.add(part.unit.inputs[1]!);
    stack.push(...part.unit.inputs);
  }
  return tokens;
}

/** Whether one owner needs another, directly or through others. */
export function reaches(from: Owner, target: Owner): boolean {
  const seen = new Set<Owner>([from]);
  const stack = [from];
  while (stack.length > 0) {
    const owner = stack.pop()!;
    if (owner === target) return true;
    for (const dep of owner.deps) {
      if (!seen.has(dep)) {
        seen.add(dep);
        stack.push(dep);
      }
    }
  }
  return false;
}

const maxMembers = 48;
const maxCandidates = 6;
/**
 * What one row's passes may cost: values are computed again in every pass that needs them, so that
 * long chains of row-wise ops are better cut.
 */
const maxPasses = 6;
const maxRowWeight = 400;

function affordable(members: ReadonlyMap<Part, Lowered>): boolean {
  const passes: Expr[][] = [];
  for (const { level, value, reduction, pass } of members.values()) {
    if (pass >= maxPasses) return false;
    if (reduction || level === "column") (passes[pass] ??= []).push(reduction?.element ?? value);
  }
  let weight = 0;
  for (const roots of passes) walk(roots ?? [], (x) => weight += ownWeight(x));
  return weight <= maxRowWeight;
}

/** Groups worth trying: those that the item reads from, then those that read the same buffers. */
function candidates(
  item: Part,
  reads: ReadonlySet<Part>,
  direct: ReadonlySet<Owner>,
  readers: ReadonlyMap<Part, Owner[]>,
): Owner[] {
  const list = [...direct].filter((owner) => owner.members).reverse();
  const size = sizeOf(isReduction(item) ? item.unit.inputs[0]!.shape : item.shape);
  for (const part of reads) {
    if (sizeOf(part.shape) !== size) continue;
    for (const owner of readers.get(part) ?? []) if (!list.includes(owner)) list.push(owner);
  }
  return list.filter((owner) => owner.units.length < maxMembers).slice(0, maxCandidates);
}

type Attempt = (
  space: Space,
  members: Map<Part, Lowered>,
) => { lowered: Lowered; reads: Set<Part> } | undefined;

/** The group with the item in it, in its own space or in the item's; undefined if it cannot be. */
function join(
  group: Owner,
  item: Part,
  own: Space,
  attempt: Attempt,
  e: ExprBuilder,
  stored: ReadonlySet<Part>,
): { space: Space; members: Map<Part, Lowered>; reads: Set<Part> } | undefined {
  const space = group.space!;
  if (own.columns.length > 0 && space.columns.length === 0) {
    // A reduction joins elementwise work: the work is laid out anew in rows and columns.
    const rows = sizeOf(own.rows), columns = sizeOf(own.columns), size = sizeOf(space.rows);
    if (!own.trailing || size !== rows * columns || !enoughRows(rows, columns)) return undefined;
    const members = new Map<Part, Lowered>();
    try {
      for (const part of group.members!.keys()) {
        const again = lowerInto(
          e,
          part,
          own,
          members,
          (p) => stored.has(p),
          (read, index) => e.load(read.id, read.dtype, index),
        );
        if (!again) return undefined;
        members.set(part, again);
      }
    } catch (error) {
      if (error instanceof Misaligned) return undefined;
      throw error;
    }
    const added = attempt(own, members);
    if (!added) return undefined;
    return { space: own, members: members.set(item, added.lowered), reads: added.reads };
  }
  if (own.columns.length === 0 && space.columns.length > 0 && sizeOf(item.shape) > 1) {
    const rows = sizeOf(space.rows), columns = sizeOf(space.columns);
    if (sizeOf(item.shape) !== rows && !enoughRows(rows, columns)) return undefined;
  }
  const added = attempt(space, group.members!);
  if (!added) return undefined;
  return {
    space,
    members: new Map(group.members!).set(item, added.lowered),
    reads: added.reads,
  };
}

/** Whether elementwise work still spreads over a device when it is done row by row. */
function enoughRows(rows: number, columns: number): boolean {
  return rows >= 32 || rows * columns <= 65536;
}

/** The heaviest expression that is written into its consumers, and what may be computed twice. */
const heaviest = 256;
const cheapTwice = 4;
const cheapSpread = 2;

function chooseBuffers(graph: Canonical, limits: FusionLimits): Set<Part> {
  const stored = new Set<Part>(graph.outputs);
  for (const { part } of graph.inputs) stored.add(part);
  const consumers = new Map<Part, Unit[]>();
  for (const unit of graph.units) {
    for (const input of unit.inputs) {
      const list = consumers.get(input);
      if (!list) consumers.set(input, [unit]);
      else if (!list.includes(unit)) list.push(unit);
    }
    if (unit.attributes.barrier !== undefined) stored.add(unit.inputs[1]!);
    const { kind } = unit.op.run;
    if (kind !== "expression" || !limits.fuses) {
      for (const part of unit.outputs) stored.add(part);
    }
  }
  if (!limits.fuses) return stored;

  const own = new Map<Unit, number>();
  for (const unit of graph.units) {
    if (unit.op.run.kind === "expression") own.set(unit, ownWork(unit.outputs[0]!).weight);
  }
  // Uses seen through ops that only move elements, and whether one of those repeats elements.
  const uses = new Map<Part, { count: number; spreads: boolean }>();
  for (const unit of [...graph.units].reverse()) {
    for (const part of unit.outputs) {
      let count = 0, spreads = false;
      for (const consumer of consumers.get(part) ?? []) {
        if (own.get(consumer) !== 0) {
          count++;
          continue;
        }
        const moved = consumer.outputs[0]!;
        const further = uses.get(moved)!;
        count += Math.max(1, further.count);
        spreads ||= further.spreads || sizeOf(moved.shape) > sizeOf(part.shape);
      }
      uses.set(part, { count, spreads });
    }
  }
  const weights = new Map<Part, number>();
  for (const unit of graph.units) {
    if (unit.op.run.kind === "kernel") {
      for (const input of unit.inputs) {
        const view = viewOf(input, (part) => stored.has(part));
        const usable = view && (limits.acceptsViews(unit) || isWhole(view, input));
        if (!usable) stored.add(input);
      }
    }
    if (unit.op.run.kind !== "expression") continue;
    const part = unit.outputs[0]!;
    if (stored.has(part)) continue;
    let weight = own.get(unit)!;
    for (const input of unit.inputs) weight += stored.has(input) ? 1 : weights.get(input)!;
    const { count, spreads } = uses.get(part)!;
    const moves = own.get(unit) === 0;
    const worth = !moves &&
      (weight > heaviest || (count > 1 && weight > cheapTwice + 1) ||
        (spreads && weight > cheapSpread));
    if (worth) stored.add(part);
    weights.set(part, weight);
  }
  return stored;
}

/** Whether a view is the whole buffer in row-major order (a reshape at most). */
function isWhole(found: NonNullable<ReturnType<typeof viewOf>>, part: Part): boolean {
  let stride = 1;
  for (let axis = part.shape.length - 1; axis >= 0; axis--) {
    if (part.shape[axis] !== 1 && found.view.strides[axis] !== stride) return false;
    stride *= part.shape[axis]!;
  }
  return found.view.offset === 0 && sizeOf(found.base.shape) === sizeOf(part.shape);
}

/** The numbers of the reductions that an expression uses. */
export function reductionsIn(x: Expr): Set<number> {
  const found = new Set<number>();
  walk([x], (node) => {
    if (node.op === "reduced") found.add(node.value);
  });
  return found;
}
