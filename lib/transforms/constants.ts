/**
 * What a traced function computes from constants alone: position tables, masks, literals turned over.
 * It is computed once, when the function is compiled, and then handed to the program on every call.
 */
import type { Backend } from "../backends/backend.ts";
import type { Part } from "../compiler/canonical.ts";
import { ownWork } from "../compiler/lower.ts";
import { type Node, scopes, type Value } from "../graph.ts";
import { realizeNow } from "../realize.ts";
import { sizeOf } from "../shape.ts";

/** Elements above which a constant is computed anew in every call, rather than held in memory. */
const mostElements = 2 ** 18;
/** Operations for an element from which on loading it is cheaper. */
const heavy = 8;

/**
 * The constants to be held: what is costly or what a kernel reads, as long as it is small. Cheap ones
 * (numbers, ranges, comparisons of them) are written into the kernels that use them.
 *
 * @param outputs The values that the program computes.
 * @param parameters Those that it is given.
 */
export function constantValues(
  outputs: readonly Value[],
  parameters: readonly Value[],
): Set<Value> {
  const given = new Set(parameters);
  const results = new Set(outputs);
  const chosen = new Set<Value>();
  const constant = new Set<Value>(), costly = new Set<Value>();
  const isConstant = (value: Value) => constant.has(value) || (value.known && !given.has(value));
  for (const node of nodesOf(outputs)) {
    const { kind } = node.op.run;
    if (
      kind !== "source" && node.attributes.barrier === undefined && node.inputs.every(isConstant)
    ) {
      const isCostly = kind === "kernel" || kind === "reduction" || weightOf(node) >= heavy ||
        node.inputs.some((input) => costly.has(input));
      for (const output of node.outputs) {
        constant.add(output);
        if (isCostly) costly.add(output);
      }
      continue;
    }
    for (const [i, input] of node.inputs.entries()) {
      if (!constant.has(input)) continue;
      const base = beforeMovement(input);
      const inKernel = node.op.run.kind === "kernel" && node.op.run.inPlace !== i;
      const isWorth = (costly.has(base) || inKernel) && constant.has(base) && !results.has(base);
      if (isWorth && sizeOf(base.shape) <= mostElements) chosen.add(base);
    }
  }
  return chosen;
}

/** Computes constants now; they live as long as the program. */
export function holdConstants(device: Backend, values: readonly Value[]): void {
  realizeNow(device, values);
  for (const { storage } of values) {
    if (storage) { for (const scope of scopes) scope.delete(storage); }
  }
}

/** The value that ops which only move elements made this one of. */
function beforeMovement(value: Value): Value {
  const { op, inputs } = value.node;
  const moves = op.run.kind === "expression" && op.run.view && inputs.length === 1;
  return moves ? beforeMovement(inputs[0]!) : value;
}

function weightOf({ op, attributes, inputs, outputs }: Node): number {
  if (op.run.kind !== "expression") return 0;
  const { shape, dtype } = outputs[0]!;
  const [part, ...from] = [{ shape, dtype }, ...inputs].map((type, id) => ({ ...type, id }));
  return ownWork({ ...part, unit: { op, attributes, inputs: from } } as unknown as Part).weight;
}

/** The nodes that some values need, inputs first; those at hand are not looked into. */
function nodesOf(values: readonly Value[]): Node[] {
  const nodes = new Set<Node>();
  const stack = [...values];
  while (stack.length > 0) {
    const value = stack.pop()!;
    if (value.known || nodes.has(value.node)) continue;
    nodes.add(value.node);
    stack.push(...value.node.inputs);
  }
  return [...nodes].sort((a, b) => a.id - b.id);
}
