/**
 * Moves: where a kernel in place only puts elements of one value into another, as growing a cache of
 * keys does, the kernel that makes these elements in its epilogue stores them there itself.
 */
import type { KernelRule, MoveRule } from "../op.ts";
import type { Canonical, Unit } from "./canonical.ts";
import { type EpilogueLimits, readersOf, takeIn } from "./epilogue.ts";
import { type Expr, ExprBuilder } from "./expr.ts";
import { type Fused, kernelReads, type Owner, reaches } from "./fuse.ts";
import type { EpiloguePart } from "./plan.ts";
import { rewriter } from "./rewrite.ts";

/**
 * Leaves out kernels that only move what the epilogue of another kernel makes.
 *
 * @param graph The graph.
 * @param fused The owners, with their epilogues.
 * @param limits What the device can do.
 */
export function fuseMoves(graph: Canonical, fused: Fused, limits: EpilogueLimits): Fused {
  if (limits.backend !== "webgpu") return fused;
  const gone = new Set<Owner>();
  const ownerOf = new Map(fused.ownerOf);
  const readers = readersOf(fused);
  for (const mover of fused.owners) {
    const unit = mover.units[0]!, [result] = unit.outputs;
    const rule = unit.op.run as KernelRule;
    if (rule.kind !== "kernel" || !rule.moves || rule.inPlace === undefined) continue;
    const reads = kernelReads(mover, fused.stored);
    const made = reads[rule.moves.input]!, target = reads[rule.inPlace]!;
    const maker = ownerOf.get(made), epilogue = maker?.epilogue;
    const slot = epilogue?.writes.indexOf(made) ?? -1;
    if (!maker || !epilogue || slot < 0) continue;
    if (graph.outputs.includes(made) || readers.get(made)!.length > 1) continue;
    // All else that it reads is there before, and nothing of the target is read meanwhile.
    const others = reads.filter((part) => part !== made);
    if (others.some((part) => ownerOf.get(part) === maker)) continue;
    if ([...mover.deps].some((dep) => dep !== maker && reaches(dep, maker))) continue;
    if (kernelReads(maker, fused.stored).includes(target)) continue;

    const extra = new Set([...epilogue.reads, ...others.filter((part) => part !== target)]);
    const { inputs, outputs } = maker.units[0]!;
    const buffers = inputs.length + outputs.length + extra.size + epilogue.writes.length;
    if (buffers > limits.buffersPerKernel) continue;
    epilogue.reads.splice(0, Infinity, ...extra);
    const slotOf = (input: number) => 1 + epilogue.reads.indexOf(reads[input]!);
    const parts = epilogue.parts.map((part) => moveStores(part, slot, unit, rule.moves!, slotOf));
    epilogue.parts.splice(0, Infinity, ...parts);
    epilogue.writes[slot] = result!;
    epilogue.inPlace.set(result!, target);
    epilogue.groups.push(mover);
    takeIn(mover, maker, fused.owners);
    ownerOf.set(result!, maker);
    gone.add(mover);
  }
  return { ...fused, owners: fused.owners.filter((owner) => !gone.has(owner)), ownerOf };
}

/** A part of an epilogue whose stores to a slot go where a move wants them. */
function moveStores(
  part: EpiloguePart,
  slot: number,
  { inputs, attributes }: Unit,
  { to }: MoveRule,
  slotOf: (input: number) => number,
): EpiloguePart {
  if (!part.stores.some((store) => store.slot === slot)) return part;
  const e = new ExprBuilder();
  const rewrite = rewriter(e, { variable: (index, length) => e.variable(index, length) });
  const load = (input: number, at: Expr) => e.load(slotOf(input), inputs[input]!.dtype, at);
  const stores = part.stores.map((store) => {
    const index = rewrite(store.index);
    return {
      slot: store.slot,
      index: store.slot === slot ? to(index, load, { e, inputs, attributes }) : index,
      value: rewrite(store.value),
    };
  });
  return { ...part, stores };
}
