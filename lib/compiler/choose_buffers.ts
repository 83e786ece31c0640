/** Which values get a buffer, and which are written into the expressions of their consumers. */
import { sizeOf } from "../shape.ts";
import type { Canonical, Part, Unit } from "./canonical.ts";
import { ownWork, viewOf } from "./lower.ts";

/** What fusion must know of the device. */
export interface FusionLimits {
  readonly fuses: boolean;
  readonly buffersPerKernel: number;
  acceptsViews(unit: Unit): boolean;
}

/** The heaviest expression that is written into its consumers, and what may be computed twice. */
const heaviest = 256;
const cheapTwice = 4;
const cheapSpread = 2;

/**
 * Chooses the values with buffers: what comes in and goes out, operands and results of kernels,
 * reductions, and expressions that would be computed too often otherwise.
 */
export function chooseBuffers(graph: Canonical, limits: FusionLimits): Set<Part> {
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
        const result = consumer.outputs[0]!;
        const repeats = consumer.op.run.kind === "expression" &&
          sizeOf(result.shape) > sizeOf(part.shape);
        if (own.get(consumer) !== 0) {
          count++;
          spreads ||= repeats; // padding and joining compute all their parts at every element
          continue;
        }
        const further = uses.get(result)!;
        count += Math.max(1, further.count);
        spreads ||= further.spreads || repeats;
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
