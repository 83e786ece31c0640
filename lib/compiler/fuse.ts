/**
 * Fusion: which of the values with buffers are computed together in one loop kernel.
 *
 * Values that only one kernel needs are written into that kernel's expressions. The others
 * ("items") are put into groups, one after another: an item joins a group if, lowered into the
 * group's loops, it uses the group's own values only at the very point that the loops are at.
 */
import { sizeOf } from "../shape.ts";
import type { Canonical, Part, Unit } from "./canonical.ts";
import { chooseBuffers, type FusionLimits } from "./choose_buffers.ts";
import type { OwnerEpilogue } from "./epilogue.ts";
import { type Expr, ExprBuilder, ownWeight, walk } from "./expr.ts";
import { isReduction, type Lowered, lowerInto, reductionSpace, type Space } from "./group.ts";
import { viewOf } from "./lower.ts";

/** Something that runs as one step: a loop kernel of several items, or one op's own kernel. */
export interface Owner {
  /** Units that run in it, in order. */
  readonly units: Unit[];
  readonly deps: Set<Owner>;
  /** Loop kernels only. */
  space?: Space;
  members?: Map<Part, Lowered>;
  reads?: Set<Part>;
  /** An op's own kernel only: the groups that became part of it. */
  epilogue?: OwnerEpilogue;
}

/** The result of fusion. */
export interface Fused {
  readonly owners: readonly Owner[];
  /** Who computes each value that has a buffer or is a member of a group. */
  readonly ownerOf: ReadonlyMap<Part, Owner>;
  /** Values that are stored in a buffer. */
  readonly stored: ReadonlySet<Part>;
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
    for (const part of owner.reads ?? kernelReads(owner, stored)) needed.add(part);
  }
  for (const [part, owner] of ownerOf) {
    if (owner.members && !needed.has(part)) stored.delete(part);
  }
  return { owners, ownerOf, stored };
}

/** The values with buffers that an op's own kernel reads, for each of its inputs, then its epilogue's. */
export function kernelReads(owner: Owner, stored: ReadonlySet<Part>): Part[] {
  const bases = owner.units[0]!.inputs.map((part) => viewOf(part, (p) => stored.has(p))!.base);
  return [...bases, ...owner.epilogue?.reads ?? []];
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
