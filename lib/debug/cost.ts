/** What the steps of a plan cost: arithmetic and memory traffic, from shapes alone. */
import { type Expr, walk } from "../compiler/expr.ts";
import type { KernelStep, LoopKernel, LoopStep, Plan, Step } from "../compiler/plan.ts";
import { scalarOps } from "../compiler/scalar_ops.ts";
import { bytesPerElement, isFloat } from "../dtype.ts";
import { byteLength } from "../graph.ts";
import { sizeOf } from "../shape.ts";

/** The cost of a step or a plan. */
export interface Cost {
  /** Floating-point operations; a multiply-add is two, a transcendental function one. */
  readonly flops: number;
  /** Bytes read and written, each operand once. */
  readonly bytes: number;
}

/**
 * The cost of a whole plan.
 *
 * @param plan The plan, of `planOf`.
 * @returns The sums over its steps.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { add, openDevice, placeholder, planCost, planOf } from "../../mod.ts";
 * await openDevice("wasm");
 * const x = placeholder([100]);
 * assertEquals(planCost(planOf((x) => add(x, 1), [x])), { flops: 100, bytes: 800 });
 * ```
 */
export function planCost(plan: Plan): Cost {
  let flops = 0, bytes = 0;
  for (const step of plan.steps) {
    const cost = stepCost(plan, step);
    flops += cost.flops;
    bytes += cost.bytes;
  }
  return { flops, bytes };
}

/** The cost of one step. Kernels whose op does not declare `flops` count as none. */
export function stepCost(plan: Plan, step: Step): Cost {
  switch (step.kind) {
    case "copy":
      return { flops: 0, bytes: 2 * plan.buffers[step.writes[0]]!.bytes };
    case "kernel":
      return {
        flops: (step.op.run.flops?.(step.spec) ?? 0) + epilogueFlops(step),
        bytes: kernelBytes(plan, step),
      };
    case "loop":
      return { flops: loopFlops(step.kernel), bytes: loopBytes(plan, step) };
  }
}

/** An op in place touches as much of its input as it is given to write. */
function kernelBytes(plan: Plan, { op, spec, reads }: KernelStep): number {
  const { inPlace } = op.run;
  const given = spec.inputs.filter((_, i) => i !== inPlace)
    .reduce((sum, input) => sum + byteLength(input), 0);
  if (inPlace !== undefined) return 2 * given;
  const { epilogue } = spec;
  const own = epilogue && !epilogue.keeps ? spec.outputs.slice(1) : spec.outputs;
  const stored = (epilogue?.parts ?? []).map(({ rows, columns, stores }) =>
    stores.reduce((sum, { value }) => sum + bytesPerElement[value.dtype], 0) *
    sizeOf([...rows, ...columns])
  );
  return given + own.reduce((sum, output) => sum + byteLength(output), 0) +
    reads.slice(spec.inputs.length).reduce((sum, id) => sum + plan.buffers[id]!.bytes, 0) +
    stored.reduce((sum, bytes) => sum + bytes, 0);
}

function epilogueFlops({ spec: { epilogue } }: KernelStep): number {
  const parts = epilogue?.parts ?? [];
  return parts.reduce((sum, { rows, columns, stores }) => {
    const kernel = { rows: [...rows, ...columns], columns: [], passes: [], rowStores: stores };
    return sum + loopFlops(kernel);
  }, 0);
}

/** The expressions of a kernel with the number of points at which they are evaluated. */
function expressions({ rows, columns, passes, rowStores }: LoopKernel) {
  const rowPoints = sizeOf(rows), points = rowPoints * sizeOf(columns);
  const stored = ({ index, value }: { index: Expr; value: Expr }) => [index, value];
  return [
    ...passes.map((pass) => ({
      points,
      reductions: pass.reductions.filter(({ dtype }) => isFloat(dtype)).length,
      roots: [...pass.reductions.map(({ value }) => value), ...pass.stores.flatMap(stored)],
    })),
    { points: rowPoints, reductions: 0, roots: rowStores.flatMap(stored) },
  ];
}

function loopFlops(kernel: LoopKernel): number {
  let flops = 0;
  for (const { points, reductions, roots } of expressions(kernel)) {
    let perPoint = reductions;
    walk(roots, (x) => {
      if (x.op in scalarOps && x.op !== "where" && isFloat(x.args[0]!.dtype)) perPoint++;
    });
    flops += points * perPoint;
  }
  return flops;
}

/** Operands count whole, but no more of them than the kernel has loads and points. */
function loopBytes(plan: Plan, { kernel, reads, writes }: LoopStep): number {
  const loaded = reads.map(() => 0);
  for (const { points, roots } of expressions(kernel)) {
    walk(roots, (x) => {
      if (x.op === "load") loaded[x.value]! += points * bytesPerElement[x.dtype];
    });
  }
  const read = reads.reduce((sum, id, i) => sum + Math.min(loaded[i]!, plan.buffers[id]!.bytes), 0);
  return writes.reduce((sum, id) => sum + plan.buffers[id]!.bytes, read);
}
