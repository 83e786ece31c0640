/**
 * From the graph that a program built to the one that is compiled: only what the outputs need,
 * aliases removed, equal nodes merged. Its text is the key under which compiled programs are kept.
 */
import { type Node, source, type Value } from "../graph.ts";
import type { Attributes, Op, TensorType } from "../op.ts";

/** A node of the canonical graph. */
export interface Unit {
  readonly id: number;
  readonly op: Op;
  readonly attributes: Attributes;
  readonly inputs: readonly Part[];
  readonly outputs: readonly Part[];
}

/** One output of a unit. */
export interface Part extends TensorType {
  readonly id: number;
  readonly unit: Unit;
  readonly index: number;
}

/** The canonical graph. */
export interface Canonical {
  /** In an order in which inputs come first. */
  readonly units: readonly Unit[];
  /** What comes from outside, in order of first use unless given. */
  readonly inputs: readonly { readonly value: Value; readonly part: Part }[];
  readonly outputs: readonly Part[];
  readonly key: string;
}

/**
 * The canonical graph of some values.
 *
 * @param outputs The values wanted.
 * @param parameters Values that are inputs even if nothing uses them, in the order wanted.
 * @param constants Further values that are inputs although it is known how to compute them.
 */
export function canonicalize(
  outputs: readonly Value[],
  parameters: readonly Value[] = [],
  constants: ReadonlySet<Value> = new Set(),
): Canonical {
  const units: Unit[] = [];
  const inputs: { value: Value; part: Part }[] = [];
  const parts = new Map<Value, Part>();
  const known = new Map<string, Unit>();
  const lines: string[] = [];
  let nextPart = 0;

  const makeUnit = (op: Op, attributes: Attributes, from: Part[], types: readonly TensorType[]) => {
    const made: Part[] = [];
    const unit: Unit = { id: units.length, op, attributes, inputs: from, outputs: made };
    for (const [index, { shape, dtype }] of types.entries()) {
      made.push({ id: nextPart++, unit, index, shape, dtype });
    }
    units.push(unit);
    return unit;
  };
  const addInput = (value: Value) => {
    const unit = makeUnit(source, {}, [], [value]);
    lines.push(`${unit.id}=input ${value.dtype}[${value.shape}]`);
    inputs.push({ value, part: unit.outputs[0]! });
    parts.set(value, unit.outputs[0]!);
  };
  for (const value of parameters) addInput(value);

  const addNode = (node: Node) => {
    const outputs = node.outputs.filter((output) => !parts.has(output));
    if (node.op.run.kind === "alias") {
      for (const output of outputs) parts.set(output, parts.get(node.inputs[output.index]!)!);
      return;
    }
    const from = node.inputs.map((input) => parts.get(input)!);
    const key = `${opKey(node.op)} ${JSON.stringify(node.attributes)} ${from.map((p) => p.id)}`;
    let unit = known.get(key);
    if (!unit) {
      unit = makeUnit(node.op, node.attributes, from, node.outputs);
      known.set(key, unit);
      lines.push(`${unit.id}=${key}`);
    }
    for (const output of outputs) parts.set(output, unit.outputs[output.index]!);
  };

  // Depth first without recursion: graphs of training steps are deep. Nodes are visited in the
  // order of their creation, which keeps forward before backward.
  const needed = new Map<number, Node>();
  const stack = [...outputs];
  while (stack.length > 0) {
    const value = stack.pop()!;
    if (parts.has(value)) continue;
    const { node } = value;
    if (value.known || node.op.run.kind === "source" || constants.has(value)) {
      addInput(value);
      continue;
    }
    if (needed.has(node.id)) continue;
    needed.set(node.id, node);
    const alias = node.op.run.kind === "alias";
    stack.push(...(alias ? node.inputs.slice(0, node.outputs.length) : node.inputs));
  }
  for (const node of [...needed.values()].sort((a, b) => a.id - b.id)) addNode(node);

  const results = outputs.map((value) => parts.get(value)!);
  lines.push(`return ${results.map((part) => part.id)}`);
  return { units, inputs, outputs: results, key: lines.join("\n") };
}

const opKeys = new WeakMap<Op, string>();
let nextOpKey = 0;

/** The name of an op, made unique in this process: two ops may share a name. */
function opKey(op: Op): string {
  let key = opKeys.get(op);
  if (!key) opKeys.set(op, key = `${op.name}#${nextOpKey++}`);
  return key;
}
