/**
 * The expressions of a loop kernel as vectors of four lanes. Every value is computed once, in the
 * outermost loop in which it is known, and kept in a local.
 *
 * Code is made in two steps: asking for a value puts the statements that compute it into its scope,
 * and when all values are asked for, the scopes are emitted from the outside in.
 */
import type { Expr } from "../../compiler/expr.ts";
import { walk } from "../../compiler/expr.ts";
import type { LoopKernel, LoopStore } from "../../compiler/plan.ts";
import type { ScalarOp } from "../../compiler/scalar_ops.ts";
import {
  type Expr as Code,
  type FunctionBuilder,
  i32,
  i32x4,
  type Local,
  madd,
  select,
  v128,
  type ValueType,
} from "./assembler.ts";
import {
  applyLanes,
  bitcastLanes,
  castLanes,
  divideIntegers,
  fromWords,
  splatConstant,
  toWords,
} from "./lane_operations.ts";
import { sumOf } from "./loop_index.ts";
import { threefry2x32 } from "./math.ts";

type V = Code<"v128">;
type I = Code<"i32">;

/** The body of a loop, or what follows an inner loop in it. */
export interface Scope {
  readonly depth: number;
  readonly known: Map<string, Local>;
  readonly statements: (() => void)[];
}

/** A scope inside another. */
export function scopeIn(outer?: Scope): Scope {
  return { depth: outer ? outer.depth + 1 : 0, known: new Map(), statements: [] };
}

/** Emits what is computed in a scope. */
export function emitScope({ statements }: Scope): void {
  for (const statement of statements) statement();
}

/** One of several vectors that are worked on together; at an end it has fewer lanes. */
export interface Copy {
  readonly index: number;
  readonly lanes: number;
}

/** Where values are asked for: the innermost scope, and those of everything around it. */
export interface Place {
  readonly innermost: Scope;
  /** By loop variable. */
  readonly variables: ReadonlyMap<number, Scope>;
  /** By the number of the reduction. */
  readonly reduced: ReadonlyMap<number, Scope>;
  /** Where a value lies that an earlier pass has kept in memory. */
  kept(x: Expr): I | undefined;
}

/** What the values of a function are made from. */
export interface LoopState {
  readonly f: FunctionBuilder;
  readonly kernel: LoopKernel;
  readonly root: Scope;
  /** The number of the loop variable that is the vector. */
  readonly vector: number | undefined;
  readonly inRows: boolean;
  /** Four times the value of the vector variable in the first lane of the first copy. */
  readonly vectorBytes: Local<"i32">;
  /** The other loop variables. */
  readonly variables: readonly Local<"i32">[];
  /** The address of an operand. */
  pointer(kind: "read" | "write", slot: number): I;
  /** The result of a reduction. */
  result(id: number, copy: Copy): V;
}

/** Makes values; see the head of this file. */
export interface Values {
  /** The lanes of a value; a bool is a mask. */
  vector(x: Expr, place: Place, copy: Copy): V;
  /** Stores values at one point; all are computed before any is stored. */
  stores(stores: readonly LoopStore[], place: Place, copy: Copy): void;
  /** A local of a scope, made once for every key. */
  define<T extends ValueType>(scope: Scope, key: string, type: T, make: () => Code<T>): Local<T>;
}

const integerOps = new Set<string>([
  ...["add", "sub", "mul", "divide", "modulo", "minimum", "maximum", "variable"],
]);

/** The maker of values for one function. */
export function loopValues(state: LoopState): Values {
  const { f, kernel, root } = state;

  const varying = new Map<Expr, boolean>();
  const varies = (x: Expr): boolean => {
    let result = varying.get(x);
    if (result === undefined) {
      result = x.op === "variable"
        ? x.value === state.vector
        : x.op === "reduced"
        ? state.inRows
        : x.args.some(varies);
      varying.set(x, result);
    }
    return result;
  };

  const uses = countUses(kernel);

  const scopes = new WeakMap<Place, Map<Expr, Scope>>();
  const deeper = (a: Scope, b: Scope) => a.depth >= b.depth ? a : b;
  const scopeOf = (x: Expr, place: Place): Scope => {
    let known = scopes.get(place);
    if (!known) scopes.set(place, known = new Map());
    let scope = known.get(x);
    if (!scope) {
      scope = x.op === "variable"
        ? place.variables.get(x.value)!
        : x.op === "reduced"
        ? place.reduced.get(x.value)!
        : place.kept(x)
        ? place.innermost
        : x.args.reduce((deepest, arg) => deeper(deepest, scopeOf(arg, place)), root);
      known.set(x, scope);
    }
    return scope;
  };

  const define: Values["define"] = (scope, key, type, make) => {
    const known = scope.known.get(key);
    if (known) return known as Local<typeof type>;
    const local = f.local(type);
    scope.known.set(key, local);
    scope.statements.push(() => f.set(local, make()));
    return local;
  };

  /**
   * The address of an element in the first lane of the first copy, and how far apart lanes are (in
   * elements); undefined if lanes are not evenly spaced.
   */
  const addressOf = (kind: "read" | "write", slot: number, index: Expr, place: Place) => {
    const { constant, terms } = sumOf(index);
    let stride = 0;
    const uniform: [Expr, number][] = [];
    for (const [atom, factor] of terms) {
      if (atom.op === "variable" && atom.value === state.vector) stride += factor;
      else if (varies(atom)) return undefined;
      else uniform.push([atom, factor]);
    }
    let scope = root, key = `${kind}${slot}+${constant}`;
    let address: I = state.pointer(kind, slot);
    if (constant !== 0) {
      const start = address;
      address = define(root, key, "i32", () => i32.add(start, 4 * constant));
    }
    uniform.sort(([a], [b]) => scopeOf(a, place).depth - scopeOf(b, place).depth || a.id - b.id);
    for (const [atom, factor] of uniform) {
      scope = deeper(scope, scopeOf(atom, place));
      key += `+${atom.id}*${factor}`;
      const before = address, at = scalar(atom, place);
      address = define(scope, key, "i32", () => i32.add(before, i32.mul(at, 4 * factor)));
    }
    if (stride !== 0) {
      scope = deeper(scope, place.variables.get(state.vector!)!);
      const before = address;
      address = define(scope, `${key}+v*${stride}`, "i32", () => {
        const moved = stride === 1 ? state.vectorBytes : i32.mul(state.vectorBytes, stride);
        return i32.add(before, moved);
      });
    }
    return { address, stride };
  };

  /** Visits the address of each lane of a copy: an expression and a constant offset. */
  const eachLane = (
    { address, stride }: { address: I; stride: number },
    { index, lanes }: Copy,
    visit: (address: I, lane: number, offset: number) => void,
  ) => {
    for (let lane = 0; lane < lanes; lane++) {
      const offset = 4 * stride * (4 * index + lane);
      if (offset >= 0) visit(address, lane, offset);
      else visit(i32.add(address, offset), lane, 0);
    }
  };

  /** The addresses of lanes that are not evenly spaced. */
  const scattered = (
    kind: "read" | "write",
    slot: number,
    index: Expr,
    place: Place,
    copy: Copy,
  ) => {
    const indices = vector(index, place, copy);
    const pointer = state.pointer(kind, slot);
    return {
      indices,
      lane: (lane: number): I => i32.add(pointer, i32.shl(i32x4.lane(indices, lane), 2)),
    };
  };

  const load = (x: Expr, place: Place, copy: Copy): () => V => {
    const [index] = x.args as [Expr];
    const found = addressOf("read", x.value, index, place);
    if (found) {
      if (found.stride === 0) return () => v128.load32Splat(found.address);
      if (found.stride === 1) return () => v128.load(found.address, 16 * copy.index);
      return () => {
        let result: V | undefined;
        eachLane(found, copy, (address, lane, offset) => {
          result = result
            ? v128.loadLane(address, result, lane, offset)
            : v128.load32Zero(address, offset);
        });
        return result!;
      };
    }
    const { indices, lane } = scattered("read", x.value, index, place, copy);
    return () => {
      const first = f.let(lane(0));
      const result = f.local("v128");
      const byLane = () => {
        let value = v128.load32Zero(first);
        for (let i = 1; i < copy.lanes; i++) value = v128.loadLane(lane(i), value, i);
        f.set(result, value);
      };
      if (copy.lanes < 4 || containsLoad(index)) byLane();
      else {
        // Indices that are clamped or chosen are mostly neighbors all the same.
        const run = i32x4.add(i32x4.splat(i32x4.lane(indices, 0)), i32x4.const(0, 1, 2, 3));
        f.if(
          i32x4.allTrue(i32x4.eq(indices, run)),
          () => f.set(result, v128.load(first)),
          byLane,
        );
      }
      return result;
    };
  };

  /** Whether a value that is the same in all lanes is best computed as one integer. */
  const isInteger = (x: Expr) => integerOps.has(x.op) && (x.dtype === "i32" || x.dtype === "u32");

  /** A value that is the same in all lanes, as one integer; a bool is 0 or 1. */
  const scalar = (x: Expr, place: Place): I => {
    if (x.op === "const") return i32.const(x.value);
    if (x.op === "variable") return state.variables[x.value]!;
    return define(scopeOf(x, place), `s${x.id}`, "i32", scalarCode(x, place));
  };
  const scalarCode = (x: Expr, place: Place): () => I => {
    if (x.op === "load") {
      const { address } = addressOf("read", x.value, x.args[0]!, place)!;
      return () => i32.load(address);
    }
    if (!isInteger(x)) {
      const value = vector(x, place, { index: 0, lanes: 4 });
      return () => i32x4.lane(toWords(x.dtype, value), 0);
    }
    const [a, b] = x.args.map((arg) => scalar(arg, place)) as [I, I];
    const isSigned = x.dtype === "i32";
    switch (x.op) {
      case "add":
      case "sub":
      case "mul": {
        const op = i32[x.op];
        return () => op(a, b);
      }
      case "divide":
      case "modulo": {
        const op = x.op, divisor = x.args[1]!;
        const by = divisor.op === "const" ? divisor.value : b;
        return () => divideIntegers(op, isSigned && !(x.args[0]!.min >= 0), a, by);
      }
      default: {
        const less = isSigned ? i32.ltS(a, b) : i32.ltU(a, b);
        return () => x.op === "minimum" ? select(less, a, b) : select(less, b, a);
      }
    }
  };

  const vector = (x: Expr, place: Place, copy: Copy): V => {
    if (x.op === "const") return splatConstant(x.dtype, x.value);
    if (x.op === "reduced") return fromWords(x.dtype, state.result(x.value, copy));
    const scope = scopeOf(x, place);
    const suffix = varies(x) ? `.${copy.index}` : "";
    const key = `v${x.id}${suffix}`;
    const known = scope.known.get(key) as V | undefined;
    if (known) return known;
    const kept = place.kept(x);
    if (kept) return define(scope, key, "v128", () => v128.load(kept, 16 * copy.index));
    if (x.op === "threefry0" || x.op === "threefry1") {
      const args = x.args.map((arg) => vector(arg, place, copy)) as [V, V, V, V];
      const pair = `t${x.args.map(({ id }) => id)}${suffix}`;
      const words = [0, 1].map((word) => {
        const name = `${pair}:${word}`;
        if (!scope.known.has(name)) scope.known.set(name, f.local("v128"));
        return scope.known.get(name) as Local<"v128">;
      });
      if (!scope.known.has(pair)) {
        scope.known.set(pair, words[0]!);
        scope.statements.push(() => {
          threefry2x32(f, [args[0], args[1]], [args[2], args[3]])
            .forEach((word, i) => f.set(words[i]!, word));
        });
      }
      return words[x.op === "threefry0" ? 0 : 1]!;
    }
    return define(scope, key, "v128", vectorCode(x, place, copy));
  };
  const vectorCode = (x: Expr, place: Place, copy: Copy): () => V => {
    if (x.op === "load") {
      const words = load(x, place, copy);
      return () => fromWords(x.dtype, words());
    }
    if (!varies(x) && isInteger(x)) {
      const value = scalar(x, place);
      return () => i32x4.splat(value);
    }
    if (x.op === "variable") {
      const first = 4 * copy.index;
      return () =>
        i32x4.add(
          i32x4.splat(i32.shrU(state.vectorBytes, 2)),
          i32x4.const(first, first + 1, first + 2, first + 3),
        );
    }
    const product = x.op === "add" && x.dtype === "f32"
      ? x.args.find((arg) =>
        arg.op === "mul" && uses.get(arg) === 1 && !place.kept(arg) &&
        scopeOf(arg, place) === scopeOf(x, place)
      )
      : undefined;
    if (product) {
      const other = x.args[0] === product ? x.args[1]! : x.args[0]!;
      const [a, b, c] = [...product.args, other].map((arg) => vector(arg, place, copy)) as [
        V,
        V,
        V,
      ];
      return () => madd(a, b, c);
    }
    const from = (x.op === "where" ? x.args[1] : x.args[0])!.dtype;
    const args = x.args.map((arg) => vector(arg, place, copy));
    if (x.op === "cast") return () => castLanes(from, x.dtype, args[0]!);
    if (x.op === "bitcast") return () => bitcastLanes(from, x.dtype, args[0]!);
    const second = x.args[1];
    const constant = second?.op === "const" ? second.value : undefined;
    return () =>
      applyLanes(
        f,
        x.op as Exclude<ScalarOp, "threefry0" | "threefry1">,
        from,
        args,
        constant,
      );
  };

  const stores: Values["stores"] = (list, place, copy) => {
    const { statements } = place.innermost;
    const values = list.map(({ value }) => {
      const words = vector(value, place, copy);
      if (list.length === 1) return () => toWords(value.dtype, words);
      // Everything is loaded before anything is stored: a buffer may be both.
      let kept: V;
      statements.push(() => kept = f.let(toWords(value.dtype, words)));
      return () => kept;
    });
    for (const [i, one] of list.entries()) store(one, values[i]!, place, copy);
  };

  const store = ({ slot, index }: LoopStore, data: () => V, place: Place, copy: Copy) => {
    const found = addressOf("write", slot, index, place);
    const { statements } = place.innermost;
    if (!found) {
      const { lane } = scattered("write", slot, index, place, copy);
      statements.push(() => {
        const kept = f.let(data());
        for (let i = 0; i < copy.lanes; i++) f.storeLane(lane(i), kept, i);
      });
    } else if (found.stride === 0) {
      statements.push(() => f.storeLane(found.address, data(), 0));
    } else if (found.stride === 1 && copy.lanes === 4) {
      statements.push(() => f.store.v128(found.address, data(), 16 * copy.index));
    } else {
      statements.push(() => {
        const kept = f.let(data());
        eachLane(found, copy, (address, lane, offset) => f.storeLane(address, kept, lane, offset));
      });
    }
  };

  return { vector, stores, define };
}

function containsLoad(index: Expr): boolean {
  let found = false;
  walk([index], (x) => found ||= x.op === "load");
  return found;
}

/** How often every expression of a kernel is used by others or as a result. */
function countUses({ passes, rowStores }: LoopKernel): Map<Expr, number> {
  const uses = new Map<Expr, number>();
  const use = (x: Expr) => uses.set(x, (uses.get(x) ?? 0) + 1);
  const stores = [...rowStores, ...passes.flatMap((pass) => pass.stores)];
  const roots = [
    ...passes.flatMap(({ reductions }) => reductions.map(({ value }) => value)),
    ...stores.flatMap(({ index, value }) => [index, value]),
  ];
  roots.forEach(use);
  walk(roots, (x) => x.args.forEach(use));
  return uses;
}
