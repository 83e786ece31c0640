/** The executable specification of plans: what the code generators rely on, checked. */
import { sizeOf } from "../shape.ts";
import { scalarOps } from "./scalar_ops.ts";
import { type Expr, showExpr, walk } from "./expr.ts";
import type { DType } from "../dtype.ts";
import type { KernelStep, LoopStep, LoopStore, Plan, PlanBuffer } from "./plan.ts";

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
    if (step.kind === "kernel") checkEpilogue(plan, step);
  }
  for (const { id } of plan.buffers) {
    if (!plan.bound.includes(id) && !plan.temporaries.has(id) && written.has(id)) {
      fail(`buffer ${id}`, "has no place");
    }
  }
}

/** What an expression may use: so many variables, operands of these types, some reductions. */
interface Allowed {
  readonly variables: number;
  readonly reads: readonly DType[];
  readonly reductions: ReadonlySet<number>;
}

function checkExpr(name: string, root: Expr, { variables, reads, reductions }: Allowed): void {
  const problem = (message: string) => fail(name, `${message} in ${showExpr(root)}`);
  walk([root], (x) => {
    if (x.op === "variable") {
      if (x.value >= variables) problem(`uses variable ${x.value} of ${variables}`);
    } else if (x.op === "load") {
      const dtype = reads[x.value];
      if (dtype === undefined) problem(`loads slot ${x.value} of ${reads.length}`);
      if (dtype !== x.dtype) problem(`loads ${x.dtype} from another type`);
    } else if (x.op === "reduced") {
      if (!reductions.has(x.value)) problem(`uses reduction ${x.value} too early`);
    } else if (x.op in scalarOps) {
      const operands = x.op === "where" ? x.args.slice(1) : x.args;
      if (operands.some((arg) => arg.dtype !== operands[0]!.dtype)) problem("mixes types");
    }
  });
}

function checkStore(name: string, { index }: LoopStore, { type: { shape } }: PlanBuffer): void {
  const size = sizeOf(shape);
  if (index.max >= size || index.min < 0) {
    fail(name, `stores outside a buffer of ${size} elements: ${showExpr(index)}`);
  }
}

function checkLoop(plan: Plan, step: LoopStep): void {
  const { rows, columns, passes, rowStores } = step.kernel;
  const available = new Set<number>();
  const reads = step.reads.map((id) => plan.buffers[id]!.type.dtype);
  const check = (root: Expr, inColumns: boolean) => {
    const variables = rows.length + (inColumns ? columns.length : 0);
    checkExpr(step.name, root, { variables, reads, reductions: available });
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
    checkStore(step.name, store, plan.buffers[step.writes[store.slot]!]!);
  }
}

function checkEpilogue(plan: Plan, { name, spec, reads, writes }: KernelStep): void {
  const { inputs, outputs, epilogue } = spec;
  const extra = epilogue ?? { reads: [], writes: [], parts: [] };
  const isComplete = reads.length === inputs.length + extra.reads.length &&
    writes.length === outputs.length + extra.writes.length;
  if (!isComplete) fail(name, "has not the operands of its rule and its epilogue");
  const [matrix] = outputs;
  const width = matrix?.shape.at(-1) ?? 1;
  for (const { rows, columns, start, stores } of extra.parts) {
    const allowed = {
      variables: rows.length + columns.length,
      reads: [matrix!.dtype, ...extra.reads.map(({ dtype }) => dtype)],
      reductions: new Set<number>(),
    };
    if (sizeOf(rows) * width !== sizeOf(matrix!.shape) || start + sizeOf(columns) > width) {
      fail(name, `has an epilogue of ${rows} × ${columns} from ${start} for [${matrix!.shape}]`);
    }
    for (const store of stores) {
      checkExpr(name, store.index, allowed);
      checkExpr(name, store.value, allowed);
      checkStore(name, store, plan.buffers[writes[outputs.length + store.slot]!]!);
    }
  }
}

function fail(step: string, message: string): never {
  throw new Error(`compile: ${step} ${message}`);
}
