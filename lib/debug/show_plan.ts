/** Compiled programs as text, and as graphs for Graphviz. */
import type { Plan, PlanBuffer, Step } from "../compiler/plan.ts";
import { showType } from "../shape.ts";

/**
 * A plan as text: one line per step, and what memory it takes.
 *
 * @param plan The plan, of `planOf` or of a compiled program.
 * @returns The lines.
 *
 * @example
 * ```ts
 * import { assertStringIncludes } from "@std/assert";
 * import { add, mul, openDevice, placeholder, planOf, showPlan } from "../../mod.ts";
 * await openDevice("wasm");
 * const x = placeholder([2, 3]);
 * assertStringIncludes(showPlan(planOf((x) => add(mul(x, 2), 1), [x])), "mul+add -> f32[2, 3]");
 * ```
 */
export function showPlan(plan: Plan): string {
  const lines = plan.steps.map((step, i) =>
    `${String(i).padStart(4)}  ${step.kind.padEnd(6)}  ${step.name} -> ${results(plan, step)}`
  );
  const bound = plan.bound.reduce((sum, id) => sum + plan.buffers[id]!.bytes, 0);
  return [
    ...lines,
    `${plan.steps.length} steps, ${bound} bytes of arguments and results, ${plan.temporaryBytes} bytes of temporaries`,
  ].join("\n");
}

/** The types of what a step writes: `f32[2, 3], i32[2]`. */
export function results(plan: Plan, step: Step): string {
  return [...new Set(step.writes)].map((id) => showType(plan.buffers[id]!.type)).join(", ");
}

/**
 * A plan as a graph in Graphviz's language: a box per step, an ellipse per argument and result.
 *
 * @param plan The plan.
 * @returns The text of a `.dot` file, for `dot -Tsvg`.
 *
 * @example
 * ```ts
 * import { assertStringIncludes } from "@std/assert";
 * import { exp, openDevice, placeholder, planOf, planToDot } from "../../mod.ts";
 * await openDevice("wasm");
 * assertStringIncludes(planToDot(planOf(exp, [placeholder([2])])), 'label="exp\\nf32[2]"');
 * ```
 */
export function planToDot(plan: Plan): string {
  const bound = new Set(plan.bound);
  const writer = new Map<number, string>();
  const lines: string[] = [];
  const show = (name: string, text: string, shape: string) =>
    lines.push(`  ${name} [label=${quote(text)}, shape=${shape}];`);
  const sourceOf = ({ id, type }: PlanBuffer) => {
    const known = writer.get(id);
    if (known) return known;
    const name = `argument${id}`;
    show(name, showType(type), "ellipse");
    writer.set(id, name);
    return name;
  };
  for (const [i, step] of plan.steps.entries()) {
    const name = `step${i}`;
    show(name, `${step.name}\n${results(plan, step)}`, "box");
    for (const id of new Set(step.reads)) {
      lines.push(`  ${sourceOf(plan.buffers[id]!)} -> ${name};`);
    }
    for (const id of step.writes) writer.set(id, name);
  }
  for (const id of bound) {
    const from = writer.get(id);
    if (!from?.startsWith("step")) continue;
    show(`result${id}`, showType(plan.buffers[id]!.type), "ellipse");
    lines.push(`  ${from} -> result${id};`);
  }
  return ["digraph plan {", '  node [fontname="monospace"];', ...lines, "}", ""].join("\n");
}

function quote(text: string): string {
  return `"${text.replaceAll(/["\\]/g, "\\$&").replaceAll("\n", "\\n")}"`;
}
