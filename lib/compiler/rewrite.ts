/** Expressions made anew: with another builder, other variables, other slots. */
import type { Expr, ExprBuilder } from "./expr.ts";
import type { ScalarOp } from "./scalar_ops.ts";

/** What takes the place of the leaves; those that are not named stay as they are. */
export interface RewriteRules {
  /** The expression of a loop variable of some length. */
  variable(index: number, length: number): Expr;
  /** The slot of a load. */
  slot?(slot: number): number;
  /** The index of a load from a slot, out of the rewritten one. */
  index?(slot: number, index: Expr): Expr;
}

/**
 * A function that makes expressions anew with a builder, which simplifies them again.
 *
 * @param e The builder.
 * @param rules What takes the place of the leaves.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { ExprBuilder, showExpr } from "./expr.ts";
 * import { rewriter } from "./rewrite.ts";
 * const from = new ExprBuilder(), to = new ExprBuilder();
 * const x = from.load(0, "f32", from.variable(0, 4));
 * const rewrite = rewriter(to, { variable: () => to.int(3), slot: (slot) => slot + 1 });
 * assertEquals(showExpr(rewrite(x)), "in1[3]");
 * ```
 */
export function rewriter(
  e: ExprBuilder,
  { variable, slot = (same) => same, index = (_, same) => same }: RewriteRules,
): (x: Expr) => Expr {
  const done = new Map<Expr, Expr>();
  const make = (x: Expr): Expr => {
    const args = x.args.map(rewrite);
    switch (x.op) {
      case "const":
        return e.constant(x.dtype, x.value);
      case "variable":
        return variable(x.value, x.max + 1);
      case "load":
        return e.load(slot(x.value), x.dtype, index(x.value, args[0]!));
      case "reduced":
        return e.reduced(x.value, x.dtype);
      case "cast":
        return e.cast(x.dtype, args[0]!);
      case "bitcast":
        return e.bitcast(x.dtype, args[0]!);
      default:
        return e.apply(x.op as ScalarOp, ...args);
    }
  };
  const rewrite = (x: Expr): Expr => {
    let result = done.get(x);
    if (!result) done.set(x, result = make(x));
    return result;
  };
  return rewrite;
}
