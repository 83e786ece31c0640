/** The executable specification of plans: what the code generators rely on, checked. */
import { sizeOf } from "../shape.ts";
import { scalarOps } from "./scalar_ops.ts";
import { type Expr, showExpr, walk } from "./expr.ts";
import type { LoopStep, Plan } from "./plan.ts";

/**
 * Checks a plan.
 *
 * @throws {Error} If a step reads what no step before it wrote, stores outside a buffer, uses the
 * result of a reduction too early, or mixes types.
 */
export function checkPlan(plan: Plan): void {
  const written = new Set<number>(plan.bound);
  for (const step of plan.steps) {
    const scratch = step.kind === "kernel" ? new Set(step.scratch) : new Set<number>();
    for (const id of step.reads) {
      if (!written.has(id) && sizeOf(plan.buffers[id]!.type.shape) > 0) {
        fail(step.name, `reads buffer ${id} before it is written`);
      }
    }
    for (const id of step.writes) {
      if (scratch.has(id)) fail(step.name, `writes its scratch buffer ${id} as a result`);
      written.add(id);
    }
    if (step.kind === "loop") checkLoop(plan, step);
  }
  for (const { id } of plan.buffers) {
    if (!plan.bound.includes(id) && !plan.temporaries.has(id) && written.has(id)) {
      fail(`buffer ${id}`, "has no place");
    }
  }
}

function checkLoop(plan: Plan, step: LoopStep): void {
  const { rows, columns, passes, rowStores } = step.kernel;
  const available = new Set<number>();
  const check = (root: Expr, inColumns: boolean) => {
    walk([root], (x) => {
      const problem = (message: string) => fail(step.name, `${message} in ${showExpr(root)}`);
      if (x.op === "variable") {
        const limit = inColumns ? rows.length + columns.length : rows.length;
        if (x.value >= limit) problem(`uses variable ${x.value} of ${limit}`);
      } else if (x.op === "load") {
        const id = step.reads[x.value];
        if (id === undefined) return problem(`loads slot ${x.value} of ${step.reads.length}`);
        if (plan.buffers[id]!.type.dtype !== x.dtype) problem(`loads ${x.dtype} from another type`);
      } else if (x.op === "reduced") {
        if (!available.has(x.value)) problem(`uses reduction ${x.value} too early`);
      } else if (x.op in scalarOps) {
        const operands = x.op === "where" ? x.args.slice(1) : x.args;
        if (operands.some((arg) => arg.dtype !== operands[0]!.dtype)) problem("mixes types");
      }
    });
  };
  for (const pass of passes) {
    for (const { value } of pass.reductions) check(value, true);
    for (const { index, value } of pass.stores) {
      check(index, true);
      check(value, true);
    }
    for (const { id } of pass.reductions) available.add(id);
  }
  for (const { index, value } of rowStores) {
    check(index, false);
    check(value, false);
  }
  for (const store of [...rowStores, ...passes.flatMap((pass) => pass.stores)]) {
    const size = sizeOf(plan.buffers[step.writes[store.slot]!]!.type.shape);
    if (store.index.max >= size || store.index.min < 0) {
      fail(step.name, `stores outside a buffer of ${size} elements: ${showExpr(store.index)}`);
    }
  }
}

function fail(step: string, message: string): never {
  throw new Error(`compile: ${step} ${message}`);
}
