/**
 * The scalar IR: one element of a tensor as a hash-consed expression of loop variables, loads and
 * scalar operations. Both code generators and the reference interpreter read it.
 */
import { type DType, isFloat, roundTo } from "../dtype.ts";
import { scalarOps } from "./scalar_ops.ts";
import type { ScalarOp } from "./scalar_ops.ts";

/** What an expression node does; besides scalar operations there are the leaves. */
export type ExprOp = ScalarOp | "const" | "variable" | "load" | "reduced" | "cast" | "bitcast";

/**
 * A scalar expression. Nodes of one builder are unique: equal expressions are the same object.
 *
 * `value` is the number of a `const`, the index of a loop `variable`, the operand slot of a `load`
 * (its one argument is the element's linear index, i32), or the number of a `reduced` value (the
 * result of a reduction of the same kernel).
 */
export interface Expr {
  readonly id: number;
  readonly op: ExprOp;
  readonly dtype: DType;
  readonly args: readonly Expr[];
  readonly value: number;
  /** Bounds of an i32 index expression; infinite where unknown. */
  readonly min: number;
  readonly max: number;
  /** Number of operations in it, counted as a tree with transcendental functions as 8. */
  readonly weight: number;
}

/** A linear form `constant + Σ coefficient · variable`. */
export interface Affine {
  constant: number;
  terms: Map<Expr, number>;
}

/** The cost of an expression node itself, relative to an addition. */
export function ownWeight({ op }: Pick<Expr, "op">): number {
  if (op in scalarOps) return scalarOps[op as ScalarOp].weight;
  return op === "const" || op === "variable" ? 0 : 1;
}

/** Makes expressions, shares equal ones, and simplifies as it goes. */
export class ExprBuilder {
  #known = new Map<string, Expr>();
  #next = 0;

  #make(
    op: ExprOp,
    dtype: DType,
    args: readonly Expr[],
    value = 0,
    min = -Infinity,
    max = Infinity,
  ) {
    const shown = Object.is(value, -0) ? "-0" : String(value);
    const key = `${op}:${dtype}:${shown}:${args.map((a) => a.id).join(",")}` +
      (op === "variable" ? `:${max}` : "");
    const known = this.#known.get(key);
    if (known) return known;
    let weight = ownWeight({ op });
    for (const arg of args) weight += op === "load" ? 0 : arg.weight;
    const expr: Expr = { id: this.#next++, op, dtype, args, value, min, max, weight };
    this.#known.set(key, expr);
    return expr;
  }

  /** A number of a type. */
  constant(dtype: DType, value: number): Expr {
    const rounded = roundTo(dtype, value);
    const bounds = dtype === "i32" ? rounded : undefined;
    return this.#make("const", dtype, [], rounded, bounds, bounds);
  }

  /** An i32 constant, for index arithmetic. */
  int(value: number): Expr {
    return this.constant("i32", value);
  }

  /** The loop variable number `index`, running over 0..size-1. */
  variable(index: number, size: number): Expr {
    if (size === 1) return this.int(0);
    return this.#make("variable", "i32", [], index, 0, Math.max(0, size - 1));
  }

  /** The element of an operand at a linear index. */
  load(slot: number, dtype: DType, index: Expr): Expr {
    return this.#make("load", dtype, [index], slot);
  }

  /** The result of the kernel's reduction number `index`. */
  reduced(index: number, dtype: DType): Expr {
    return this.#make("reduced", dtype, [], index);
  }

  /** A value converted to another type. Floats to integers truncate; anything to bool is `!= 0`. */
  cast(dtype: DType, x: Expr): Expr {
    if (x.dtype === dtype) return x;
    if (x.op === "const") {
      return this.constant(
        dtype,
        isFloat(x.dtype) && !isFloat(dtype) ? Math.trunc(x.value) : x.value,
      );
    }
    return this.#make("cast", dtype, [x], 0, dtype === "i32" ? x.min : undefined, x.max);
  }

  /** The same 32 bits read as another type. */
  bitcast(dtype: DType, x: Expr): Expr {
    return x.dtype === dtype ? x : this.#make("bitcast", dtype, [x]);
  }

  /** A scalar operation applied to arguments of the types that it wants. */
  apply(op: ScalarOp, ...args: Expr[]): Expr {
    const spec = scalarOps[op];
    const operand = op === "where" ? args[1]!.dtype : args[0]!.dtype;
    const dtype = spec.result === "same" ? operand : spec.result;
    if (args.every((arg) => arg.op === "const")) {
      return this.constant(dtype, spec.evaluate(args.map((arg) => arg.value), operand));
    }
    if (dtype === "i32") {
      if (op === "add") return this.#sum(args[0]!, args[1]!);
      if (op === "sub") return this.#sum(args[0]!, this.apply("mul", args[1]!, this.int(-1)));
      if (op === "mul") return this.#product(args[0]!, args[1]!);
      if (op === "divide") return this.#quotient(args[0]!, args[1]!);
      if (op === "modulo") return this.#remainder(args[0]!, args[1]!);
    }
    return this.#identity(op, args) ?? this.#make(op, dtype, args, 0, ...this.#bounds(op, args));
  }

  #bounds(op: ScalarOp, args: Expr[]): [number?, number?] {
    const [a, b, c] = args as [Expr, Expr, Expr];
    if (a.dtype === "bool" && op === "where") {
      return [Math.min(b.min, c.min), Math.max(b.max, c.max)];
    }
    if (op === "minimum") return [Math.min(a.min, b.min), Math.min(a.max, b.max)];
    if (op === "maximum") return [Math.max(a.min, b.min), Math.max(a.max, b.max)];
    return [];
  }

  /** Rules that hold for every type and need no arithmetic. */
  #identity(op: ScalarOp, args: Expr[]): Expr | undefined {
    const [a, b, c] = args as [Expr, Expr, Expr];
    const is = (x: Expr | undefined, value: number) => x?.op === "const" && x.value === value;
    const known = (x: Expr) => x.min > -Infinity && x.max < Infinity;
    switch (op) {
      case "add":
        return is(b, 0) ? a : is(a, 0) ? b : undefined;
      case "sub":
        return is(b, 0) ? a : undefined;
      case "mul":
        return is(b, 1) ? a : is(a, 1) ? b : undefined;
      case "div":
        return is(b, 1) ? a : undefined;
      case "where":
        return a.op === "const" ? (a.value ? b : c) : b === c ? b : undefined;
      case "and":
        if (is(a, 1)) return b;
        if (is(b, 1)) return a;
        return is(a, 0) || is(b, 0) ? this.constant("bool", 0) : undefined;
      case "or":
        if (is(a, 0)) return b;
        if (is(b, 0)) return a;
        return is(a, 1) || is(b, 1) ? this.constant("bool", 1) : undefined;
      case "less":
        if (a.dtype !== "i32" || !known(a) || !known(b)) return undefined;
        if (a.max < b.min) return this.constant("bool", 1);
        return a.min >= b.max ? this.constant("bool", 0) : undefined;
      case "lessEqual":
        if (a.dtype !== "i32" || !known(a) || !known(b)) return undefined;
        if (a.max <= b.min) return this.constant("bool", 1);
        return a.min > b.max ? this.constant("bool", 0) : undefined;
      case "equal":
        if (a.dtype === "i32" && (a.max < b.min || b.max < a.min)) return this.constant("bool", 0);
        return undefined;
      default:
        return undefined;
    }
  }

  // Index arithmetic: sums are kept as sorted Σ coefficient · atom + constant.

  #terms(x: Expr): { constant: number; terms: [Expr, number][] } {
    if (x.op === "const") return { constant: x.value, terms: [] };
    if (x.op === "add") {
      const a = this.#terms(x.args[0]!), b = this.#terms(x.args[1]!);
      return { constant: a.constant + b.constant, terms: [...a.terms, ...b.terms] };
    }
    if (x.op === "mul" && x.args[1]!.op === "const") {
      return { constant: 0, terms: [[x.args[0]!, x.args[1]!.value]] };
    }
    return { constant: 0, terms: [[x, 1]] };
  }

  #fromTerms(constant: number, terms: Iterable<[Expr, number]>): Expr {
    const merged = new Map<Expr, number>();
    for (const [atom, factor] of terms) merged.set(atom, (merged.get(atom) ?? 0) + factor);
    // (x / c) * (c * k) + (x % c) * k  =  x * k
    let changed = true;
    while (changed) {
      changed = false;
      for (const [atom, factor] of merged) {
        if (atom.op !== "modulo" || factor === 0) continue;
        const [x, c] = atom.args as [Expr, Expr];
        const quotient = this.#quotient(x, c);
        // The quotient may itself be a sum or a product: match it term by term.
        const parts = this.#terms(quotient);
        const scale = c.value * factor;
        if (parts.terms.every(([a, f]) => merged.get(a) === f * scale) && parts.terms.length > 0) {
          for (const [a] of parts.terms) merged.delete(a);
          constant -= parts.constant * scale;
          merged.delete(atom);
          const whole = this.#terms(x);
          constant += whole.constant * factor;
          for (const [a, f] of whole.terms) merged.set(a, (merged.get(a) ?? 0) + f * factor);
          changed = true;
          break;
        }
      }
    }
    const list = [...merged].filter(([, factor]) => factor !== 0).sort((a, b) => a[0].id - b[0].id);
    let sum: Expr | undefined;
    for (const [atom, factor] of list) {
      const term = factor === 1 ? atom : this.#make(
        "mul",
        "i32",
        [atom, this.int(factor)],
        0,
        Math.min(atom.min * factor, atom.max * factor),
        Math.max(atom.min * factor, atom.max * factor),
      );
      sum = sum
        ? this.#make("add", "i32", [sum, term], 0, sum.min + term.min, sum.max + term.max)
        : term;
    }
    if (!sum) return this.int(constant);
    if (constant === 0) return sum;
    return this.#make(
      "add",
      "i32",
      [sum, this.int(constant)],
      0,
      sum.min + constant,
      sum.max + constant,
    );
  }

  #sum(a: Expr, b: Expr): Expr {
    const x = this.#terms(a), y = this.#terms(b);
    return this.#fromTerms(x.constant + y.constant, [...x.terms, ...y.terms]);
  }

  #product(a: Expr, b: Expr): Expr {
    if (a.op === "const") [a, b] = [b, a];
    if (b.op !== "const") {
      const corners = [a.min * b.min, a.min * b.max, a.max * b.min, a.max * b.max];
      const bounded = corners.every(Number.isFinite);
      return this.#make(
        "mul",
        "i32",
        a.id < b.id ? [a, b] : [b, a],
        0,
        bounded ? Math.min(...corners) : undefined,
        bounded ? Math.max(...corners) : undefined,
      );
    }
    const { constant, terms } = this.#terms(a);
    const factor = b.value;
    return this.#fromTerms(constant * factor, terms.map(([atom, f]) => [atom, f * factor]));
  }

  /** Splits a non-negative sum into the part divisible by `divisor` and the rest. */
  #split(a: Expr, divisor: number) {
    const { constant, terms } = this.#terms(a);
    const whole: [Expr, number][] = [], rest: [Expr, number][] = [];
    for (const [atom, factor] of terms) {
      if (factor % divisor === 0) whole.push([atom, factor / divisor]);
      else rest.push([atom, factor]);
    }
    const wholeConstant = Math.floor(constant / divisor);
    const restExpr = this.#fromTerms(constant - wholeConstant * divisor, rest);
    const usable = restExpr.min >= 0 && (whole.length > 0 || wholeConstant !== 0);
    return { whole: this.#fromTerms(wholeConstant, whole), rest: restExpr, usable };
  }

  #quotient(a: Expr, b: Expr): Expr {
    if (b.op === "const" && b.value > 0 && a.min >= 0) {
      if (b.value === 1) return a;
      if (a.max < b.value) return this.int(0);
      const { whole, rest, usable } = this.#split(a, b.value);
      if (usable && whole.min >= 0) return this.#sum(whole, this.#quotient(rest, b));
      if (a.op === "divide" && a.args[1]!.op === "const") {
        return this.#quotient(a.args[0]!, this.int(a.args[1]!.value * b.value));
      }
      const coarse = this.#coarsen(a, b.value);
      if (coarse) return this.#quotient(coarse.whole, this.int(b.value / coarse.unit));
      return this.#make(
        "divide",
        "i32",
        [a, b],
        0,
        Math.floor(a.min / b.value),
        Math.floor(a.max / b.value),
      );
    }
    if (b.op === "const" && b.value === 1) return a;
    return this.#make("divide", "i32", [a, b]);
  }

  #remainder(a: Expr, b: Expr): Expr {
    if (b.op === "const" && b.value > 0 && a.min >= 0) {
      if (a.max < b.value) return a;
      if (b.value === 1) return this.int(0);
      const { rest, usable } = this.#split(a, b.value);
      if (usable) return this.#remainder(rest, b);
      if (a.op === "modulo" && a.args[1]!.op === "const" && a.args[1]!.value % b.value === 0) {
        return this.#remainder(a.args[0]!, b);
      }
      const coarse = this.#coarsen(a, b.value);
      if (coarse) {
        const inner = this.#remainder(coarse.whole, this.int(b.value / coarse.unit));
        return this.#sum(this.#product(inner, this.int(coarse.unit)), coarse.rest);
      }
      return this.#make("modulo", "i32", [a, b], 0, 0, Math.min(a.max, b.value - 1));
    }
    return this.#make("modulo", "i32", [a, b]);
  }

  /** A non-negative sum as `unit · whole + rest`, where unit divides `divisor` and rest < unit. */
  #coarsen(a: Expr, divisor: number): { unit: number; whole: Expr; rest: Expr } | undefined {
    const { constant, terms } = this.#terms(a);
    const units = new Set(terms.map(([, factor]) => gcd(Math.abs(factor), divisor)));
    for (const unit of [...units].sort((x, y) => y - x)) {
      if (unit === 1) continue;
      const fits = (factor: number) => factor % unit === 0;
      const low = ((constant % unit) + unit) % unit;
      const rest = this.#fromTerms(low, terms.filter(([, factor]) => !fits(factor)));
      if (rest.min < 0 || rest.max >= unit) continue;
      const whole = this.#fromTerms(
        (constant - low) / unit,
        terms.filter(([, factor]) => fits(factor)).map(([atom, factor]) => [atom, factor / unit]),
      );
      if (whole.min >= 0) return { unit, whole, rest };
    }
    return undefined;
  }

  /** An expression with variables (or any nodes) replaced, simplified again. */
  substitute(x: Expr, replacement: ReadonlyMap<Expr, Expr>, done = new Map<Expr, Expr>()): Expr {
    const direct = replacement.get(x) ?? done.get(x);
    if (direct) return direct;
    if (x.args.length === 0) return x;
    const args = x.args.map((arg) => this.substitute(arg, replacement, done));
    const result = args.every((arg, i) => arg === x.args[i])
      ? x
      : x.op === "load"
      ? this.load(x.value, x.dtype, args[0]!)
      : x.op === "cast"
      ? this.cast(x.dtype, args[0]!)
      : x.op === "bitcast"
      ? this.bitcast(x.dtype, args[0]!)
      : this.apply(x.op as ScalarOp, ...args);
    done.set(x, result);
    return result;
  }
}

function gcd(a: number, b: number): number {
  while (b) [a, b] = [b, a % b];
  return a;
}

/** The linear form of an index in the loop variables, or undefined where it is not linear. */
export function affine(x: Expr): Affine | undefined {
  if (x.op === "const") return { constant: x.value, terms: new Map() };
  if (x.op === "variable") return { constant: 0, terms: new Map([[x, 1]]) };
  if (x.op === "mul" && x.args[1]!.op === "const") {
    const inner = affine(x.args[0]!);
    if (!inner) return undefined;
    const factor = x.args[1]!.value;
    return {
      constant: inner.constant * factor,
      terms: new Map([...inner.terms].map(([v, f]) => [v, f * factor])),
    };
  }
  if (x.op === "add" && x.dtype === "i32") {
    const a = affine(x.args[0]!), b = affine(x.args[1]!);
    if (!a || !b) return undefined;
    const terms = new Map(a.terms);
    for (const [v, f] of b.terms) terms.set(v, (terms.get(v) ?? 0) + f);
    return { constant: a.constant + b.constant, terms };
  }
  return undefined;
}

/** Calls `visit` once for every node of some expressions, arguments first. */
export function walk(roots: Iterable<Expr>, visit: (x: Expr) => void): void {
  const seen = new Set<Expr>();
  const go = (x: Expr) => {
    if (seen.has(x)) return;
    seen.add(x);
    for (const arg of x.args) go(arg);
    visit(x);
  };
  for (const root of roots) go(root);
}

/** The text of an expression, for dumps and messages. */
export function showExpr(x: Expr): string {
  switch (x.op) {
    case "const":
      return String(x.value);
    case "variable":
      return `v${x.value}`;
    case "reduced":
      return `acc${x.value}`;
    case "load":
      return `in${x.value}[${showExpr(x.args[0]!)}]`;
    case "cast":
    case "bitcast":
      return `${x.op}<${x.dtype}>(${showExpr(x.args[0]!)})`;
    case "add":
      return `(${showExpr(x.args[0]!)} + ${showExpr(x.args[1]!)})`;
    case "mul":
      return `${showExpr(x.args[0]!)}*${showExpr(x.args[1]!)}`;
    default:
      return `${x.op}(${x.args.map(showExpr).join(", ")})`;
  }
}
