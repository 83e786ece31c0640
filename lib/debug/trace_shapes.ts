/** The ops that a function applies, in order, with their shapes: nothing is computed. */
import { makeSource, type Node, observers } from "../graph.ts";
import { showType } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { tracing } from "../transforms/trace.ts";
import { treeMap } from "../tree.ts";
import { callSites, takeStack } from "./call_sites.ts";
import { showTable } from "./table.ts";

/** One op that was applied. */
export interface ShapeRow {
  readonly op: string;
  /** `f32[2, 3]`, one for each input. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Where it was applied: the innermost place outside of the runtime and its ops. */
  readonly at: string;
}

/**
 * The ops that a function applies to its arguments, in order. Gradients and jitted functions show
 * what they are made of.
 *
 * @param fn A function of trees of tensors.
 * @param args Its arguments; of tensors only shape and type matter (see `placeholder`).
 * @returns The ops with their shapes and where they were applied.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { matmul, placeholder, relu, traceShapes } from "../../mod.ts";
 * const layer = (x: ReturnType<typeof placeholder>, w: typeof x) => relu(matmul(x, w));
 * const [first] = traceShapes(layer, placeholder([8, 3]), placeholder([3, 5]));
 * assertEquals(first!.op, "matmul");
 * assertEquals([...first!.inputs, ...first!.outputs], ["f32[8, 3]", "f32[3, 5]", "f32[8, 5]"]);
 * ```
 */
export function traceShapes<Arguments extends unknown[]>(
  fn: (...args: Arguments) => unknown,
  ...args: Arguments
): ShapeRow[] {
  const rows: ShapeRow[] = [];
  const record = ({ op, inputs, outputs }: Node) => {
    if (op.run.kind === "source" || op.run.kind === "alias") return;
    rows.push({
      op: op.name,
      inputs: inputs.map(showType),
      outputs: outputs.map(showType),
      at: callSites(takeStack(), 1)[0] ?? "",
    });
  };
  const symbols = treeMap(
    (leaf: unknown) => leaf instanceof Tensor ? new Tensor(makeSource(leaf.value)) : leaf,
    args,
  );
  observers.nodes.add(record);
  try {
    tracing(() => fn(...symbols));
  } finally {
    observers.nodes.delete(record);
  }
  return rows;
}

/**
 * A trace of shapes as text.
 *
 * @param rows What `traceShapes` returned.
 * @returns A line per op.
 */
export function showShapes(rows: readonly ShapeRow[]): string {
  return showTable(
    ["op", "inputs", "outputs", "at"],
    rows.map(({ op, inputs, outputs, at }) => [op, inputs.join(", "), outputs.join(", "), at]),
  );
}
