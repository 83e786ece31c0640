/** Running a function one op at a time, so that every value between can be looked at. */
import { ensureDevice } from "../device.ts";
import { type Node, nodeOfTypes, observers, type Value } from "../graph.ts";
import { realizeNow } from "../realize.ts";
import { Tensor } from "../tensor.ts";
import { tracing } from "../transforms/trace.ts";
import { flatten } from "../tree.ts";
import { takeStack } from "./call_sites.ts";

/** An op that has just run. */
export interface AppliedOp {
  readonly node: Node;
  /** Its place among the ops of the function, from 1, and how many they are. */
  readonly number: number;
  readonly count: number;
  /** The stack where it was applied. */
  readonly stack: Error | undefined;
  /** The values in the graph that it was applied to, seen through renamings. */
  readonly arguments: readonly Value[];
  /** The same with their elements at hand, and its results. */
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
}

/**
 * Runs a function of trees of tensors op by op on the current device.
 *
 * @param fn The function; gradients and jitted functions run as the ops that they are made of.
 * @param args Its arguments.
 * @param visit Called after each op, while its operands are at hand; the next op waits for it.
 * @returns The result, and for every tensor in it the value in the graph.
 */
export async function runOpByOp<Arguments extends unknown[], Result>(
  fn: (...args: Arguments) => Result,
  args: Arguments,
  visit: (applied: AppliedOp) => Promise<void>,
): Promise<{ result: Result; values: readonly Value[] }> {
  const device = await ensureDevice();
  const stacks = new Map<Node, Error>();
  const record = (node: Node) => void stacks.set(node, takeStack());
  observers.nodes.add(record);
  let traced: Result;
  try {
    traced = tracing(() => fn(...args));
  } finally {
    observers.nodes.delete(record);
  }
  const { leaves, structure } = flatten(traced);
  const results = leaves.map((leaf) => leaf instanceof Tensor ? renamed(leaf.value) : undefined);
  const values = results.filter((value) => value !== undefined);
  const nodes = nodesOf(values);
  const lastUse = new Map<Value, number>();
  for (const [i, { inputs }] of nodes.entries()) {
    for (const input of inputs) lastUse.set(renamed(input), i);
  }
  for (const value of values) lastUse.delete(value);

  const computed = new Map<Value, Value>();
  for (const [i, node] of nodes.entries()) {
    const given = node.inputs.map(renamed);
    const inputs = given.map((value) => computed.get(value) ?? value);
    const { outputs } = nodeOfTypes(node.op, inputs, node.attributes, node.outputs);
    realizeNow(device, outputs);
    await visit({
      node,
      number: i + 1,
      count: nodes.length,
      stack: stacks.get(node),
      arguments: given,
      inputs,
      outputs,
    });
    for (const [j, output] of outputs.entries()) computed.set(node.outputs[j]!, output);
    for (const value of new Set(given)) {
      if (lastUse.get(value) !== i) continue;
      computed.get(value)?.storage?.release();
      computed.delete(value);
    }
  }
  const result = structure.build(
    leaves.map((leaf, i) => results[i] ? new Tensor(computed.get(results[i]) ?? results[i]) : leaf),
  ) as Result;
  return { result, values };
}

/** The value that a value is another name of. */
export function renamed(value: Value): Value {
  while (!value.known && value.node.op.run.kind === "alias") {
    value = value.node.inputs[value.index]!;
  }
  return value;
}

/** The nodes that some values need, in order of creation. */
export function nodesOf(values: readonly Value[]): Node[] {
  const nodes = new Set<Node>();
  const stack = [...values];
  while (stack.length > 0) {
    const { known, node } = stack.pop()!;
    if (known || node.op.run.kind === "source" || nodes.has(node)) continue;
    nodes.add(node);
    stack.push(...node.inputs.map(renamed));
  }
  return [...nodes].sort((a, b) => a.id - b.id);
}
