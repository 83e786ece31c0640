/**
 * Writes the expressions of a fused kernel as WGSL: each node once, what does not depend on the
 * column before the loop over columns, and indices as short sums of the row and column number.
 */
import type { DType } from "../../dtype.ts";
import { affine, type Expr, walk } from "../../compiler/expr.ts";
import type { LoopKernel } from "../../compiler/plan.ts";
import type { ScalarOp } from "../../compiler/scalar_ops.ts";
import { castWgsl, constantWgsl, scalarWgsl } from "./scalar_wgsl.ts";

/** Lines and the names of the expressions that they define. */
interface Scope {
  readonly lines: string[];
  readonly known: Map<Expr | string, string>;
}

/** Expressions longer than this get a name, so that none nests too deep for a compiler. */
const longest = 60;

/**
 * Keeps the lines of the shader's row scope and, between `openColumns` and `closeColumns`, of the
 * loop over columns. In the shader `row` and `column` are the flat indices of the point.
 */
export class ExpressionWriter {
  readonly #rowAxes: number;
  readonly #sizes: readonly number[];
  readonly #uses: Map<Expr, number>;
  readonly #onColumns = new Map<Expr, boolean>();
  readonly #row: Scope = { lines: [], known: new Map() };
  #column: Scope | undefined;
  #names = 0;

  constructor(
    kernel: LoopKernel,
    private readonly reads: readonly { readonly dtype: DType }[],
    private readonly readNames: readonly string[],
  ) {
    this.#rowAxes = kernel.rows.length;
    this.#sizes = [...kernel.rows, ...kernel.columns];
    this.#uses = countUses(kernel);
  }

  /** Starts the body of a loop over columns. */
  openColumns() {
    this.#column = { lines: [], known: new Map() };
  }

  /** Ends the body of the loop and returns its lines. */
  closeColumns(): string[] {
    const { lines } = this.#column!;
    this.#column = undefined;
    return lines;
  }

  /** The lines that were added to the row scope since the last call. */
  takeRowLines(): string[] {
    return this.#row.lines.splice(0);
  }

  /** Gives the result of a reduction a name. */
  setReduced(id: number, name: string) {
    this.#row.known.set(`reduced ${id}`, name);
  }

  /** The WGSL of an expression: a name, a constant, or text in parentheses. */
  write(x: Expr): string {
    if (x.op === "const") return constantWgsl(x.dtype, x.value);
    if (x.op === "reduced") {
      const name = this.#row.known.get(`reduced ${x.value}`);
      if (!name) throw new Error(`loop kernel: reduction ${x.value} is used before it is made`);
      return name;
    }
    const scope = this.#scopeOf(x);
    const known = scope.known.get(x);
    if (known) return known;
    const column = this.#column;
    if (scope === this.#row) this.#column = undefined;
    const text = this.#text(x);
    this.#column = column;
    // A part of a column's expression that belongs to the row is taken out of the loop.
    const leaves = column !== undefined && scope === this.#row;
    if (this.#uses.get(x)! < 2 && text.length <= longest && !leaves) return text;
    const name = this.#name(text, scope);
    scope.known.set(x, name);
    return name;
  }

  /** As `write`, but never text that is evaluated where it is used. */
  writeNamed(x: Expr): string {
    return this.#name(this.write(x), this.#scopeOf(x));
  }

  #text(x: Expr): string {
    if (x.dtype === "i32" && (x.op === "add" || x.op === "mul" || x.op === "variable")) {
      const index = this.#index(x);
      if (index !== undefined) return index;
    }
    if (x.op === "load") {
      const element = `${this.readNames[x.value]}[${this.write(x.args[0]!)}]`;
      return this.reads[x.value]!.dtype === "bool" ? `(${element} != 0u)` : element;
    }
    const args = x.args.map((arg) => this.write(arg));
    if (x.op === "cast") return castWgsl(x.dtype, x.args[0]!.dtype, args[0]!);
    if (x.op === "bitcast") return `bitcast<${x.dtype}>(${args[0]})`;
    if (x.op === "threefry0" || x.op === "threefry1") {
      // Both words of a block come from one call.
      const block = this.#name(`threefry(${args.join(", ")})`, this.#scopeOf(x));
      return `${block}.${x.op === "threefry0" ? "x" : "y"}`;
    }
    return scalarWgsl[x.op as ScalarOp](args, x);
  }

  /** A linear index, written in terms of the flat row and column numbers where axes are adjacent. */
  #index(x: Expr): string | undefined {
    const form = affine(x);
    if (!form) return undefined;
    const factors = this.#sizes.map(() => 0);
    for (const [variable, factor] of form.terms) factors[variable.value] = factor;
    const terms: string[] = [];
    const add = (flat: "row" | "column", first: number, end: number) => {
      let axis = first;
      while (axis < end) {
        if (factors[axis] === 0 || this.#sizes[axis] === 1) {
          axis++;
          continue;
        }
        // Neighbors that together count on: their factors are those of one longer axis.
        let last = axis;
        while (last + 1 < end && factors[last] === factors[last + 1]! * this.#sizes[last + 1]!) {
          last++;
        }
        const position = this.#axes(flat, axis, last, first, end);
        const factor = factors[last]!;
        terms.push(factor === 1 ? position : `${position} * ${constantWgsl("i32", factor)}`);
        axis = last + 1;
      }
    };
    add("row", 0, this.#rowAxes);
    add("column", this.#rowAxes, this.#sizes.length);
    if (form.constant !== 0 || terms.length === 0) terms.push(constantWgsl("i32", form.constant));
    return terms.length === 1 && !terms[0]!.includes(" ") ? terms[0] : `(${terms.join(" + ")})`;
  }

  /** The position along the axes `from..to` taken as one, out of the flat number of `first..end`. */
  #axes(flat: "row" | "column", from: number, to: number, first: number, end: number): string {
    const below = this.#sizes.slice(to + 1, end).reduce((a, b) => a * b, 1);
    const length = this.#sizes.slice(from, to + 1).reduce((a, b) => a * b, 1);
    const outermost = this.#sizes.slice(first, from).every((size) => size === 1);
    if (below === 1 && outermost) return flat;
    const quotient = below === 1 ? `u32(${flat})` : `u32(${flat}) / ${below}u`;
    const text = outermost ? `i32(${quotient})` : `i32((${quotient}) % ${length}u)`;
    return this.#name(text, flat === "row" ? this.#row : this.#column!);
  }

  /** The name of some text in a scope; the same text has one name. */
  #name(text: string, scope: Scope): string {
    if (/^\w+$/.test(text)) return text;
    const known = scope.known.get(text);
    if (known) return known;
    const name = `v${this.#names++}`;
    scope.lines.push(`let ${name} = ${text};`);
    scope.known.set(text, name);
    return name;
  }

  #scopeOf(x: Expr): Scope {
    return this.#dependsOnColumn(x) ? this.#column! : this.#row;
  }

  #dependsOnColumn(x: Expr): boolean {
    let depends = this.#onColumns.get(x);
    if (depends === undefined) {
      depends = x.op === "variable"
        ? x.value >= this.#rowAxes
        : x.args.some((arg) => this.#dependsOnColumn(arg));
      this.#onColumns.set(x, depends);
    }
    return depends;
  }
}

/** How often each node is used, by other nodes or by the kernel. */
function countUses(kernel: LoopKernel): Map<Expr, number> {
  const stores = [...kernel.passes.flatMap((pass) => pass.stores), ...kernel.rowStores];
  const roots = [
    ...kernel.passes.flatMap(({ reductions }) => reductions.map(({ value }) => value)),
    ...stores.flatMap(({ index, value }) => [index, value]),
  ];
  const uses = new Map<Expr, number>();
  const use = (x: Expr) => uses.set(x, (uses.get(x) ?? 0) + 1);
  roots.forEach(use);
  walk(roots, (x) => x.args.forEach(use));
  return uses;
}
