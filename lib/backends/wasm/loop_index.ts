/** Indices of loop kernels as sums of products, and what they make of one loop variable. */
import type { Expr } from "../../compiler/expr.ts";

/** `constant + Σ factor · atom`; an atom is any expression that is not itself such a sum. */
export interface Sum {
  readonly constant: number;
  readonly terms: ReadonlyMap<Expr, number>;
}

/** An index expression as a sum. */
export function sumOf(index: Expr): Sum {
  let constant = 0;
  const terms = new Map<Expr, number>();
  const add = (x: Expr, factor: number) => {
    const [a, b] = x.args as [Expr, Expr];
    if (x.op === "const") constant += x.value * factor;
    else if (x.op === "add") [a, b].forEach((part) => add(part, factor));
    else if (x.op === "mul" && b.op === "const") add(a, factor * b.value);
    else terms.set(x, (terms.get(x) ?? 0) + factor);
  };
  add(index, 1);
  return { constant, terms };
}

/** Whether an expression has a value of its own for every value of a loop variable. */
export function dependsOn(variable: number): (x: Expr) => boolean {
  const known = new Map<Expr, boolean>();
  const depends = (x: Expr): boolean => {
    let result = known.get(x);
    if (result === undefined) {
      result = x.op === "variable" ? x.value === variable : x.args.some(depends);
      known.set(x, result);
    }
    return result;
  };
  return depends;
}

/** By how much an index grows with a loop variable; undefined if that is not always the same. */
export function strideAlong(
  index: Expr,
  variable: number,
  depends: (x: Expr) => boolean = dependsOn(variable),
): number | undefined {
  let stride = 0;
  for (const [atom, factor] of sumOf(index).terms) {
    if (atom.op === "variable" && atom.value === variable) stride += factor;
    else if (depends(atom)) return undefined;
  }
  return stride;
}
