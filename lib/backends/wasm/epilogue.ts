/**
 * Epilogues in WebAssembly: elementwise work on rows and columns of a matrix that a kernel has just
 * written, while they are in the cache.
 */
import type { Epilogue, EpiloguePart, LoopKernel } from "../../compiler/plan.ts";
import type { KernelSpec } from "../../op.ts";
import { sizeOf } from "../../shape.ts";
import {
  type Expr,
  type FunctionBuilder,
  i32,
  type Local,
  type ModuleBuilder,
  select,
} from "./assembler.ts";
import { leastCommonMultiple } from "./gemm.ts";
import { i32Function } from "./gemm_kernels.ts";
import { kernelKey } from "./loop_key.ts";
import { costAlong, weightOf } from "./loop_schedule.ts";
import {
  type Copy,
  emitScope,
  loopValues,
  type Place,
  type Scope,
  scopeIn,
} from "./loop_values.ts";
import type { WasmArgument, WasmProgram } from "./program.ts";

const params = ["words", "row", "rowEnd", "column", "columnEnd"] as const;

/** What a kernel needs to end with the epilogue of its spec. */
export interface WasmEpilogue {
  /** Tells the code apart from that of other epilogues. */
  readonly key: string;
  /** Makes the call that finishes a block of the matrix, given the address of `args`. */
  readonly call: (args: Record<typeof params[number], Expr<"i32">>) => Expr<"void">;
  /** The words that the call reads. */
  readonly args: readonly WasmArgument[];
  /** Blocks must begin at multiples of so many columns. */
  readonly granule: number;
}

/** The epilogue that a kernel's spec asks for, in a program's module. */
export function wasmEpilogue(
  { inputs, outputs, epilogue }: KernelSpec,
  program: WasmProgram,
): WasmEpilogue | undefined {
  if (!epilogue) return undefined;
  const width = outputs[0]!.shape.at(-1)!;
  const { parts, reads, writes } = epilogue;
  const key = `epilogue ${width} ${reads.length} ` +
    parts.map((part) => `${part.start} ${kernelKey(loopsOf(part))}`).join(";");
  return {
    key,
    call: program.once(key, (m) => emitEpilogue(m, epilogue)),
    args: [
      { operand: "output", index: 0 },
      ...reads.map((_, i) => ({ operand: "input" as const, index: inputs.length + i })),
      ...writes.map((_, i) => ({ operand: "output" as const, index: outputs.length + i })),
    ],
    granule: granuleOf(parts, width),
  };
}

/** A part as a loop kernel, for what looks at those. */
function loopsOf({ rows, columns, stores }: EpiloguePart): LoopKernel {
  return { rows, columns, passes: [{ reductions: [], stores }], rowStores: [] };
}

/** Columns that are to be finished together: where loops over columns or what they read cannot be cut. */
function granuleOf(parts: readonly EpiloguePart[], width: number): number {
  const lengths = parts.map(({ columns, span }) => {
    const inner = sizeOf(columns.slice(1));
    return inner % span === 0 ? inner : span;
  });
  const granule = lengths.reduce(leastCommonMultiple, 1);
  return parts.every(({ start }) => start % granule === 0) ? granule : width;
}

function emitEpilogue(m: ModuleBuilder, { parts, reads }: Epilogue): WasmEpilogue["call"] {
  return i32Function(m, params, (f, p) => {
    for (const part of parts) {
      const end = sizeOf(part.columns) + part.start;
      const fromStart = (column: Expr<"i32">) =>
        f.let(select(i32.gtU(column, part.start), i32.sub(column, part.start), i32.const(0)));
      const from = fromStart(p.column);
      const to = fromStart(f.let(i32.minU(p.columnEnd, end)));
      emitPart(f, part, reads.length, p, from, to);
    }
  });
}

/** Emits the loops of a part over rows, and over its columns `from..to`. */
function emitPart(
  f: FunctionBuilder,
  part: EpiloguePart,
  readCount: number,
  { words, row, rowEnd }: Record<typeof params[number], Local<"i32">>,
  from: Local<"i32">,
  to: Local<"i32">,
): void {
  const { rows, columns, stores } = part;
  const kernel = loopsOf(part);
  const sizes = [...rows, ...columns];
  const inner = sizeOf(columns.slice(1));
  const columnVariables = columns.map((_, i) => rows.length + i);
  const vector = columnVariables.toReversed().reduce((best, variable) =>
    costAlong(kernel, variable) < costAlong(kernel, best) ? variable : best
  );
  const root = scopeIn(), rowScope = scopeIn(root);
  const variables = sizes.map(() => f.local("i32"));
  const vectorBytes = f.local("i32");
  const pointers = new Map<number, Local<"i32">>();
  const values = loopValues({
    ...{ f, kernel, root, vector, inRows: false, vectorBytes, variables },
    pointer(kind, slot) {
      const word = kind === "read" ? slot : 1 + readCount + slot;
      let pointer = pointers.get(word);
      if (!pointer) {
        pointer = values.define(root, `pointer${word}`, "i32", () => i32.load(words, 4 * word));
        pointers.set(word, pointer);
      }
      return pointer;
    },
    result: () => {
      throw new Error("epilogue: expected no reductions");
    },
  });

  const scopes = new Map<number, Scope>(rows.map((_, variable) => [variable, rowScope]));
  let last = rowScope;
  const outer = columnVariables.filter((variable) => variable !== vector);
  for (const variable of outer) scopes.set(variable, last = scopeIn(last));
  const along = (copies: readonly Copy[]) => {
    const innermost = scopeIn(last);
    const place: Place = {
      innermost,
      variables: new Map(scopes).set(vector, innermost),
      reduced: new Map(),
      kept: () => undefined,
    };
    for (const copy of copies) values.stores(stores, place, copy);
    return () => emitScope(innermost);
  };
  const vectors = (count: number) =>
    along(Array.from({ length: count }, (_, index) => ({ index, lanes: 4 })));
  const isLight = weightOf(stores.map(({ value }) => value)) < 24;
  const pair = isLight ? vectors(2) : undefined, one = vectors(1);
  // Where the first axis has others in it, a block has any number of its elements.
  const isEven = sizes[vector]! % 4 === 0 && part.start % 4 === 0 &&
    (vector !== rows.length || inner === 1);
  const lane = isEven ? undefined : along([{ index: 0, lanes: 1 }]);

  emitScope(root);
  const range = (variable: number): [Expr<"i32">, Expr<"i32">] =>
    variable !== rows.length
      ? [i32.const(0), i32.const(sizes[variable]!)]
      : inner === 1
      ? [from, to]
      : [i32.divU(from, inner), i32.divU(to, inner)];
  const overVector = () => {
    const [start, end] = range(vector);
    const endBytes = f.let(i32.shl(end, 2));
    f.set(vectorBytes, i32.shl(start, 2));
    const go = (bytes: number, body: () => void) =>
      f.while(i32.leU(i32.add(vectorBytes, bytes), endBytes), () => {
        body();
        f.set(vectorBytes, i32.add(vectorBytes, bytes));
      });
    if (pair) go(32, pair);
    go(16, one);
    if (lane) go(4, lane);
  };
  const overColumns = ([variable, ...others]: readonly number[]): void => {
    if (variable === undefined) return overVector();
    const [start, end] = range(variable);
    const stop = f.let(end);
    f.set(variables[variable]!, start);
    f.while(i32.ltU(variables[variable]!, stop), () => {
      emitScope(scopes.get(variable)!);
      overColumns(others);
      f.set(variables[variable]!, i32.add(variables[variable]!, 1));
    });
  };
  f.for(row, rowEnd, 1, (number) => {
    const rest = f.let(number);
    for (let variable = rows.length - 1; variable >= 0; variable--) {
      f.set(variables[variable]!, variable === 0 ? rest : i32.remU(rest, rows[variable]!));
      if (variable > 0) f.set(rest, i32.divU(rest, rows[variable]!));
    }
    emitScope(rowScope);
    overColumns(outer);
  });
}
