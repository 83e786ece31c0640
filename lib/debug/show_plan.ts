/** Compiled programs as text, and as graphs for Graphviz. */
import type { Plan, Step } from "../compiler/plan.ts";
import { showType } from "../shape.ts";
import { drawDot } from "./dot.ts";

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
  const drawing = drawDot("plan");
  const values = (ids: readonly number[]) =>
    ids.map((id) => ({ key: id, label: showType(plan.buffers[id]!.type) }));
  for (const step of plan.steps) {
    drawing.box(`${step.name}\n${results(plan, step)}`, values(step.reads), values(step.writes));
  }
  const written = new Set(plan.steps.flatMap(({ writes }) => writes));
  const ends = [...new Set(plan.bound)].filter((id) => written.has(id));
  for (const value of values(ends)) drawing.end(value);
  return drawing.text();
}
