/** The graph of ops that a function builds, before it is compiled: as text, and for Graphviz. */
import type { Attributes } from "../op.ts";
import { makeSource, type Node, observers, type Value } from "../graph.ts";
import { showType } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { tracing } from "../transforms/trace.ts";
import { treeEntries, treeMap } from "../tree.ts";
import { callSites, takeStack } from "./call_sites.ts";
import { drawDot } from "./dot.ts";
import { nodesOf, renamed } from "./op_by_op.ts";
import { showTable } from "./table.ts";

/** One op of a graph. */
export interface GraphNode {
  /** `%3`, or `%3.0` and `%3.1` where it has several results. */
  readonly results: readonly string[];
  readonly op: string;
  /** What it is applied to: a result, `argument 0.w`, a number, or `outside f32[3]` for any other tensor. */
  readonly inputs: readonly string[];
  /** Such as `axes=[1]`; what is too long is left out. */
  readonly attributes: string;
  /** `f32[2, 3]`, one for each result. */
  readonly types: readonly string[];
  /** Where it was applied: the innermost place outside of the runtime and its ops. */
  readonly at: string;
}

/** The ops that the results of a function need, each after its inputs. */
export interface Graph {
  readonly nodes: readonly GraphNode[];
  /** The results of the function: their paths, and what they are in the graph. */
  readonly results: readonly (readonly [path: string, value: string])[];
}

/**
 * The graph of ops that a function builds. Gradients and jitted functions show what they are made of; nothing is
 * compiled or computed. See `planOf` for what is made of it.
 *
 * @param fn A function of trees of tensors.
 * @param args Its arguments; of tensors only shape and type matter (see `placeholder`).
 * @returns The ops that its results need.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { graphOf, exp, mul, placeholder } from "../../mod.ts";
 * const { nodes, results } = graphOf((x) => exp(mul(x, x)), placeholder([2]));
 * assertEquals(nodes.map(({ op, inputs }) => `${op}(${inputs})`), [
 *   "mul(argument 0,argument 0)",
 *   "exp(%1)",
 * ]);
 * assertEquals(results, [["", "%2"]]);
 * ```
 */
export function graphOf<Arguments extends unknown[]>(
  fn: (...args: Arguments) => unknown,
  ...args: Arguments
): Graph {
  const places = new Map<Node, Error>();
  const record = (node: Node) => void places.set(node, takeStack());
  const symbols = treeMap(
    (leaf: unknown) => leaf instanceof Tensor ? new Tensor(makeSource(leaf.value)) : leaf,
    args,
  );
  observers.nodes.add(record);
  let traced: unknown;
  try {
    traced = tracing(() => fn(...symbols));
  } finally {
    observers.nodes.delete(record);
  }
  const tensors = (tree: unknown) =>
    treeEntries<unknown>(tree).flatMap(([path, leaf]) =>
      leaf instanceof Tensor ? [[path, renamed(leaf.value)] as const] : []
    );
  const names = new Map<Value, string>();
  for (const [path, value] of tensors(symbols)) names.set(value, `argument ${path}`);
  const outputs = tensors(traced);
  const needed = nodesOf(outputs.map(([, value]) => value)).filter((node) => {
    const constant = constantOf(node);
    if (constant !== undefined) names.set(node.outputs[0]!, String(constant));
    return constant === undefined;
  });
  const nodes = needed.map((node, i) => {
    const single = node.outputs.length === 1;
    const results = node.outputs.map((_, j) => single ? `%${i + 1}` : `%${i + 1}.${j}`);
    const inputs = node.inputs.map((input) => nameOf(renamed(input), names));
    node.outputs.forEach((value, j) => names.set(value, results[j]!));
    const stack = places.get(node);
    return {
      results,
      op: node.op.name,
      inputs,
      attributes: showAttributes(node.attributes),
      types: node.outputs.map(showType),
      at: stack ? callSites(stack, 1)[0] ?? "" : "",
    };
  });
  return { nodes, results: outputs.map(([path, value]) => [path, nameOf(value, names)] as const) };
}

/** The number that all elements of a result are. */
function constantOf({ inputs, attributes: { value } }: Node): number | undefined {
  return inputs.length === 0 && typeof value === "number" ? value : undefined;
}

/** Numbers for what they are; other tensors that are no results and no arguments come from outside. */
function nameOf(value: Value, names: ReadonlyMap<Value, string>): string {
  const known = names.get(value);
  if (known) return known;
  if (value.host && value.shape.length === 0) return String(value.host[0]);
  return `outside ${showType(value)}`;
}

/** Longer attributes say little in a line. */
const longestAttribute = 40;

function showAttributes(attributes: Attributes): string {
  return Object.entries(attributes).flatMap(([name, value]) => {
    const text = JSON.stringify(value);
    return text !== undefined && text.length <= longestAttribute ? [`${name}=${text}`] : [];
  }).join(" ");
}

/**
 * A graph as text.
 *
 * @param graph The graph, of `graphOf`.
 * @returns A line per op, and one for the results.
 */
export function showGraph({ nodes, results }: Graph): string {
  const rows = nodes.map(({ results, op, inputs, attributes, types, at }) => [
    results.join(" "),
    `${op}(${inputs.join(", ")})`,
    attributes,
    types.join(", "),
    at,
  ]);
  const table = showTable(["result", "op", "attributes", "type", "at"], rows);
  const named = results.map(([path, value]) => path === "" ? value : `${path} = ${value}`);
  return `${table}\nresults: ${named.join(", ")}`;
}

/**
 * A graph in Graphviz's language: a box per op, an ellipse per argument and result.
 *
 * @param graph The graph, of `graphOf`.
 * @returns The text of a `.dot` file, for `dot -Tsvg`.
 *
 * @example
 * ```ts
 * import { assertStringIncludes } from "@std/assert";
 * import { exp, graphOf, graphToDot, placeholder } from "../../mod.ts";
 * const dot = graphToDot(graphOf(exp, placeholder([2])));
 * assertStringIncludes(dot, 'label="exp\\nf32[2]"');
 * ```
 */
export function graphToDot({ nodes, results }: Graph): string {
  const drawing = drawDot("graph");
  const values = (names: readonly string[]) => names.map((name) => ({ key: name, label: name }));
  for (const { results, op, inputs, attributes, types } of nodes) {
    const label = [op, attributes, types.join(", ")].filter((line) => line !== "").join("\n");
    drawing.box(label, values(inputs), values(results));
  }
  for (const [path, value] of results) drawing.end({ key: value, label: path || "result" });
  return drawing.text();
}
