/** The compiler: canonical graph → fused groups → ordered steps on buffers → memory plan. */
import { byteLength } from "../graph.ts";
import type { KernelRule, Op, View } from "../op.ts";
import { sizeOf } from "../shape.ts";
import type { Canonical, Part, Unit } from "./canonical.ts";
import { affine, type Expr, walk } from "./expr.ts";
import type { FusionLimits } from "./choose_buffers.ts";
import { fuseEpilogues, type OwnerEpilogue, storesInPlace } from "./epilogue.ts";
import { fuse, type Fused, kernelReads, type Owner, reaches } from "./fuse.ts";
import { type GroupKernel, loopKernel } from "./loops.ts";
import { viewOf } from "./lower.ts";
import { fuseMoves } from "./moves.ts";
import { Heap } from "./heap.ts";
import { type Lifetime, pack, share } from "./memory.ts";
import type { Epilogue, Plan, PlanBuffer, Step } from "./plan.ts";
import { checkPlan } from "./check.ts";

/** What the compiler must know of a device, and of the call. */
export interface CompileOptions extends FusionLimits {
  readonly backend: "webgpu" | "wasm" | "reference";
  /** Positions of inputs whose memory outputs may take over. */
  readonly donated?: ReadonlySet<number>;
}

/** A plan, and where the outputs of the graph are among its bound buffers. */
export interface Compiled {
  readonly plan: Plan;
  /** For every output of the graph, a position in `plan.bound`. Inputs come first there. */
  readonly outputs: readonly number[];
}

/**
 * Compiles a graph.
 *
 * @param graph The canonical graph.
 * @param options The device's abilities and the donated inputs.
 * @returns A plan to be prepared by a backend.
 */
export function compile(graph: Canonical, options: CompileOptions): Compiled {
  const fused = fuseMoves(graph, fuseEpilogues(graph, fuse(graph, options), options), options);
  const isBuffer = (part: Part) => fused.stored.has(part);
  const kernels = new Map<Owner, GroupKernel>();
  for (const owner of fused.owners) {
    if (owner.members) kernels.set(owner, loopKernel(owner, fused.stored));
  }

  // Who takes over whose memory.
  const aliases = takeOver(graph, fused, kernels, options.donated ?? new Set());
  const ordered = order(fused.owners);

  const buffers: PlanBuffer[] = [];
  const idOf = new Map<Part, number>();
  const addBuffer = (part: Part): number => {
    const id = buffers.length;
    const { shape, dtype } = part;
    buffers.push({
      id,
      type: { shape, dtype },
      bytes: Math.max(4, byteLength(part)),
      label: part.unit.op.name,
    });
    idOf.set(part, id);
    return id;
  };
  const bufferOf = (part: Part): number => {
    const known = idOf.get(part);
    if (known !== undefined) return known;
    const from = aliases.get(part);
    if (!from) return addBuffer(part);
    const id = bufferOf(from);
    idOf.set(part, id);
    return id;
  };
  const inputParts = new Set(graph.inputs.map(({ part }) => part));
  for (const part of inputParts) addBuffer(part);

  /** Where a kernel's output 0 that nobody else wants may lie; undefined if it needs memory of its own. */
  const homeOf = (part: Part, epilogue: OwnerEpilogue, reads: readonly number[]) => {
    if (epilogue.keeps) return undefined;
    const [only, ...others] = epilogue.parts;
    const same = epilogue.writes.find((write, slot) =>
      others.length === 0 && only!.span === 1 && storesInPlace(only!, slot) &&
      write.dtype === part.dtype && sizeOf(write.shape) === sizeOf(part.shape) &&
      !reads.includes(bufferOf(write))
    );
    return same ?? (options.backend === "webgpu" ? epilogue.writes[0]! : undefined);
  };
  const planEpilogue = ({ keeps, parts, reads, writes }: OwnerEpilogue): Epilogue => {
    const operand = (part: Part) => ({ buffer: bufferOf(part), dtype: part.dtype });
    return { keeps, parts, reads: reads.map(operand), writes: writes.map(operand) };
  };

  const steps: Step[] = [];
  for (const owner of ordered) {
    if (owner.units.every((unit) => unit.outputs.every((part) => sizeOf(part.shape) === 0))) {
      continue;
    }
    if (owner.members) {
      const { kernel, reads, writes } = kernels.get(owner)!;
      if (writes.length === 0) continue;
      steps.push({
        kind: "loop",
        name: loopName(owner, isBuffer),
        kernel,
        reads: reads.map(bufferOf),
        writes: writes.map(bufferOf),
      });
      continue;
    }
    const unit = owner.units[0]!;
    const op = unit.op as Op & { run: KernelRule };
    const found = unit.inputs.map((part) => viewOf(part, isBuffer)!);
    const reads = kernelReads(owner, fused.stored).map(bufferOf);
    const { epilogue } = owner;
    const writes = unit.outputs.map((part, i) => {
      const home = i === 0 && epilogue && homeOf(part, epilogue, reads);
      return bufferOf(home || part);
    });
    const copyFirst = (from: number, to: number) => {
      if (from === to) return;
      steps.push({ kind: "copy", name: `copy(${op.name})`, reads: [from], writes: [to] });
    };
    if (op.run.inPlace !== undefined) {
      copyFirst(reads[op.run.inPlace]!, writes[0]!);
      reads[op.run.inPlace] = writes[0]!;
    }
    for (const [part, from] of epilogue?.inPlace ?? []) copyFirst(bufferOf(from), bufferOf(part));
    const whole = ({ shape, dtype }: Part): View => ({
      shape,
      dtype,
      strides: shape.map((_, axis) => sizeOf(shape.slice(axis + 1))),
      offset: 0,
    });
    const spec = {
      attributes: unit.attributes,
      inputs: options.acceptsViews(unit) ? found.map(({ view }) => view) : unit.inputs.map(whole),
      outputs: unit.outputs.map(whole),
      epilogue: epilogue && planEpilogue(epilogue),
    };
    const scratch = options.backend === "reference"
      ? []
      : (op.run.scratch?.(spec, options.backend) ?? []).map((bytes) => {
        const id = buffers.length;
        buffers.push({
          id,
          type: { shape: [Math.ceil(bytes / 4)], dtype: "u32" },
          bytes: Math.max(4, bytes),
          label: `${op.name} scratch`,
        });
        return id;
      });
    if (epilogue) writes.push(...epilogue.writes.map(bufferOf));
    steps.push({
      kind: "kernel",
      name: [owner, ...epilogue?.groups ?? []].map((part) => loopName(part, isBuffer)).join("+"),
      op,
      attributes: unit.attributes,
      spec,
      reads,
      writes,
      scratch,
    });
  }

  const bound = graph.inputs.map(({ part }) => idOf.get(part)!);
  const placed = new Set<Part>();
  const outputs = graph.outputs.map((part) => {
    let id = bufferOf(part);
    if (placed.has(part) && !inputParts.has(part)) {
      // The same value twice among the outputs: each gets memory of its own.
      const from = id;
      id = addBuffer(part);
      steps.push({ kind: "copy", name: "copy", reads: [from], writes: [id] });
    }
    placed.add(part);
    const at = bound.indexOf(id);
    return at >= 0 ? at : bound.push(id) - 1;
  });
  const plan: Plan = { buffers, steps, bound, ...placeTemporaries(buffers, steps, bound) };
  checkPlan(plan);
  return { plan, outputs };
}

/** The names that a fused kernel's name holds at most. */
const longestName = 6;

/** The ops that a fused kernel computes, in order, without those that only move elements. */
function loopName(owner: Owner, isBuffer: (part: Part) => boolean): string {
  const units = new Set(owner.units);
  for (const { inputs } of units) { // grows meanwhile
    for (const part of inputs) if (!isBuffer(part)) units.add(part.unit);
  }
  const computes = ({ op: { run }, inputs }: Unit) =>
    run.kind !== "expression" || (inputs.length > 0 && !run.view);
  const inside = [...units].filter(computes).sort((a, b) => a.id - b.id);
  const names = [...new Set((inside.length > 0 ? inside : owner.units).map(({ op }) => op.name))];
  return names.length > longestName
    ? `${names.slice(0, longestName - 1).join("+")}+…+${names.at(-1)}`
    : names.join("+");
}

function placeTemporaries(
  buffers: readonly PlanBuffer[],
  steps: readonly Step[],
  bound: readonly number[],
): Pick<Plan, "temporaries" | "temporaryBytes" | "slotBytes"> {
  const lives = lifetimes({ buffers, steps, bound });
  const packed = pack(lives), shared = share(lives);
  const temporaries = new Map(lives.map(({ id }) => [id, {
    offset: packed.offsets.get(id)!,
    slot: shared.slots.get(id)!,
  }]));
  return { temporaries, temporaryBytes: packed.bytes, slotBytes: shared.bytes };
}

/** From which step to which each temporary of a plan is needed. */
export function lifetimes(
  { buffers, steps, bound }: Pick<Plan, "buffers" | "steps" | "bound">,
): Lifetime[] {
  const outside = new Set(bound);
  const first = new Map<number, number>(), last = new Map<number, number>();
  for (const [at, step] of steps.entries()) {
    const scratch = step.kind === "kernel" ? step.scratch : [];
    for (const id of [...step.reads, ...step.writes, ...scratch]) {
      if (outside.has(id)) continue;
      if (!first.has(id)) first.set(id, at);
      last.set(id, at);
    }
  }
  return [...first].map(([id, start]) => ({
    id,
    bytes: buffers[id]!.bytes,
    first: start,
    last: last.get(id)!,
  }));
}

/** The owners in an order in which what is needed comes first, else as the program was written. */
function order(owners: readonly Owner[]): Owner[] {
  const waiting = new Map<Owner, number>();
  const dependents = new Map<Owner, Owner[]>();
  for (const owner of owners) {
    waiting.set(owner, owner.deps.size);
    for (const dep of owner.deps) {
      const list = dependents.get(dep);
      if (list) list.push(owner);
      else dependents.set(dep, [owner]);
    }
  }
  const rank = (owner: Owner) => owner.units.at(-1)!.id;
  const ready = new Heap<Owner>(rank);
  for (const owner of owners) if (waiting.get(owner) === 0) ready.push(owner);
  const result: Owner[] = [];
  while (ready.size > 0) {
    const owner = ready.pop();
    result.push(owner);
    for (const dependent of dependents.get(owner) ?? []) {
      const left = waiting.get(dependent)! - 1;
      waiting.set(dependent, left);
      if (left === 0) ready.push(dependent);
    }
  }
  if (result.length !== owners.length) throw new Error("compile: the groups depend on each other");
  return result;
}

/**
 * Decides which values are written over others: outputs over donated inputs, and in-place ops over
 * their input. Adds the order that this needs (all other readers first); a pair whose order cannot
 * be had is left apart.
 *
 * @returns For a value, the value whose buffer it takes.
 */
function takeOver(
  graph: Canonical,
  fused: Fused,
  kernels: ReadonlyMap<Owner, GroupKernel>,
  donated: ReadonlySet<number>,
): Map<Part, Part> {
  const aliases = new Map<Part, Part>();
  const taken = new Set<Part>();
  const readers = new Map<Part, Set<Owner>>();
  for (const owner of fused.owners) {
    for (const part of kernels.get(owner)?.reads ?? kernelReads(owner, fused.stored)) {
      const set = readers.get(part);
      if (set) set.add(owner);
      else readers.set(part, new Set([owner]));
    }
  }
  const inputs = new Map(graph.inputs.map(({ part }, i) => [part, i]));
  const outputs = new Set(graph.outputs);
  const mayBeOverwritten = (part: Part) =>
    !taken.has(part) && !outputs.has(part) &&
    (inputs.has(part) ? donated.has(inputs.get(part)!) : true);

  /** Lets `part`, made by `owner`, overwrite `from`, if all others can read `from` before. */
  const take = (part: Part, from: Part, owner: Owner): boolean => {
    const others = [...readers.get(from) ?? []].filter((reader) => reader !== owner);
    if (others.some((other) => reaches(other, owner))) return false;
    for (const other of others) owner.deps.add(other);
    taken.add(from);
    aliases.set(part, from);
    return true;
  };

  for (const owner of fused.owners) {
    for (const [part, from] of owner.epilogue?.inPlace ?? []) {
      if (mayBeOverwritten(from)) take(part, from, owner);
    }
    const unit = owner.units[0]!;
    if (owner.members || unit.op.run.kind !== "kernel" || unit.op.run.inPlace === undefined) {
      continue;
    }
    const input = unit.inputs[unit.op.run.inPlace]!;
    const { base, view } = viewOf(input, (p) => fused.stored.has(p))!;
    const others = unit.inputs.filter((_, i) => i !== (unit.op.run as KernelRule).inPlace);
    const readElsewhere = others.some((part) =>
      viewOf(part, (p) => fused.stored.has(p))!.base === base
    );
    const whole = sizeOf(base.shape) === sizeOf(input.shape) && view.offset === 0;
    if (whole && !readElsewhere && mayBeOverwritten(base)) take(unit.outputs[0]!, base, owner);
  }

  const free = graph.inputs.map(({ part }) => part)
    .filter((part) => mayBeOverwritten(part) && !aliases.has(part));
  for (const part of outputs) {
    const owner = fused.ownerOf.get(part);
    if (!owner || aliases.has(part)) continue;
    const fits = free.filter((from) =>
      !taken.has(from) && from.dtype === part.dtype && sizeOf(from.shape) === sizeOf(part.shape)
    );
    // What the kernel itself reads at the same place is the natural one to overwrite.
    const own = fits.filter((from) => readers.get(from)?.has(owner));
    for (const from of [...own, ...fits.filter((other) => !own.includes(other))]) {
      const loops = owner.members ? kernels.get(owner)! : undefined;
      const safe = loops
        ? overwritable(loops, part, from)
        : !readers.get(from)?.has(owner) || overwritableAtEnd(owner, part, from, fused.stored);
      if (safe && take(part, from, owner)) break;
    }
  }
  return aliases;
}

/** Whether a kernel reads a value in its epilogue alone, each element just before `part`'s is stored. */
function overwritableAtEnd(
  { epilogue, ...kernel }: Owner,
  part: Part,
  from: Part,
  stored: ReadonlySet<Part>,
): boolean {
  const slot = epilogue?.writes.indexOf(part) ?? -1;
  if (slot < 0 || kernelReads(kernel, stored).includes(from)) return false;
  const read = 1 + epilogue!.reads.indexOf(from);
  let safe = true;
  for (const { stores } of epilogue!.parts) {
    const target = stores.find((store) => store.slot === slot)?.index;
    walk(stores.map((store) => store.value), (x: Expr) => {
      if (x.op === "load" && x.value === read && x.args[0] !== target) safe = false;
    });
    if (target && !affine(target)) safe = false;
  }
  return safe;
}

/** Whether a loop kernel may store `part` where `from` lies: it reads each element just before. */
function overwritable({ kernel, reads, writes }: GroupKernel, part: Part, from: Part): boolean {
  const slot = reads.indexOf(from);
  if (slot < 0) return true;
  if (kernel.columns.length > 0) return false;
  const target = kernel.rowStores.find((store) => writes[store.slot] === part)!.index;
  if (!affine(target)) return false;
  let safe = true;
  walk(kernel.rowStores.map((store) => store.value), (x: Expr) => {
    if (x.op === "load" && x.value === slot && x.args[0] !== target) safe = false;
  });
  return safe;
}
