/** Loop kernels as WebAssembly functions. */
import type { Expr } from "../../compiler/expr.ts";
import type { LoopKernel, LoopPass } from "../../compiler/plan.ts";
import {
  type Expr as Code,
  type FunctionBuilder,
  i32,
  i32x4,
  type Local,
  type ModuleBuilder,
  v128,
} from "./assembler.ts";
import { acrossLanes, reduceLanes } from "./lane_operations.ts";
import type { LoopSchedule } from "./loop_schedule.ts";
import {
  type Copy,
  emitScope,
  loopValues,
  type Place,
  type Scope,
  scopeIn,
} from "./loop_values.ts";

type Emit = () => void;

/** Vectors that together cover `count` values; the last may have fewer lanes. */
function copiesFor(count: number): Copy[] {
  return Array.from({ length: Math.ceil(count / 4) }, (_, index) => ({
    index,
    lanes: Math.min(4, count - 4 * index),
  }));
}

/** The values that whole steps of `copies` vectors cover, and the vectors for the rest. */
function cover(size: number, copies: number) {
  const step = 4 * copies;
  const whole = Math.floor(size / step) * step;
  return { step, whole, rest: copiesFor(size - whole) };
}

/** Which lanes of a vector hold values. */
const maskOf = (lanes: number) => i32x4.const(...[0, 1, 2, 3].map((lane) => lane < lanes ? -1 : 0));

/** Runs a body for 0..count-1. */
function countLoop(f: FunctionBuilder, counter: Local<"i32">, count: number, body: Emit) {
  if (count === 0) return;
  f.set(counter, 0);
  f.loop((again) => {
    body();
    f.set(counter, i32.add(counter, 1));
    f.brIf(i32.ltU(counter, count), again);
  });
}

/**
 * Adds a loop kernel to a module. Its arguments are the addresses of the reads, then of the writes.
 *
 * @param name The name of the export.
 * @param reads The number of buffers that it reads.
 */
export function emitLoop(
  m: ModuleBuilder,
  name: string,
  kernel: LoopKernel,
  reads: number,
  schedule: LoopSchedule,
): void {
  const params = ["i32", "i32", "i32"] as const;
  m.func({ params, export: name }, (f, args, chunk, scratch) => {
    const loop = loopParts(f, kernel, reads, schedule, args, scratch);
    const body = schedule.inRows ? rowsBody(loop) : columnsBody(loop);
    emitScope(loop.root);
    itemLoop(loop, chunk, () => {
      emitScope(loop.item);
      body();
    });
  });
}

type Parts = ReturnType<typeof loopParts>;

/** What the parts of a function share. */
function loopParts(
  f: FunctionBuilder,
  kernel: LoopKernel,
  reads: number,
  schedule: LoopSchedule,
  args: Local<"i32">,
  scratch: Local<"i32">,
) {
  const { rows, columns } = kernel;
  const { vector, inRows } = schedule;
  const sizes = [...rows, ...columns];
  const root = scopeIn(), item = scopeIn(root);
  const variables = sizes.map(() => f.local("i32"));
  const vectorBytes = f.local("i32");
  const pointers: Local<"i32">[] = [];
  /** The results of reductions, by number and copy. */
  const results = new Map<string, Local<"v128">>();
  const values = loopValues({
    ...{ f, kernel, root, vector, inRows, vectorBytes, variables },
    pointer(kind, slot) {
      const word = kind === "read" ? slot : reads + slot;
      return pointers[word] ??= values.define(
        root,
        `pointer${word}`,
        "i32",
        () => i32.load(args, 4 * word),
      );
    },
    result: (id, { index }) => results.get(`${id}.${inRows ? index : 0}`)!,
  });

  const keptSlots = new Map([...schedule.kept.keys()].map((x, slot) => [x, slot]));
  /** Where a kept value of the point that a scope is at lies. */
  const keptAddress = (x: Expr, scope: Scope) => {
    const slot = keptSlots.get(x)!;
    return values.define(scope, `kept${slot}`, "i32", () => {
      let index: Code<"i32"> = i32.const(0);
      for (let variable = rows.length; variable < sizes.length; variable++) {
        if (variable === vector) continue;
        index = i32.add(i32.mul(index, sizes[variable]!), variables[variable]!);
      }
      const start = i32.add(scratch, slot * schedule.keptBytes);
      if (inRows) return i32.add(start, i32.mul(index, 16 * schedule.copies[0]!));
      const line = 16 * Math.ceil(sizes[vector!]! / 4);
      return i32.add(i32.add(start, i32.mul(index, line)), vectorBytes);
    });
  };
  /** The place of a pass; `passes.length` stands for what follows them. */
  const placeIn = (
    pass: number,
    innermost: Scope,
    variables: ReadonlyMap<number, Scope>,
    reduced: ReadonlyMap<number, Scope>,
  ): Place => ({
    innermost,
    variables,
    reduced: new Map(reduced),
    kept(x) {
      const first = schedule.kept.get(x);
      return first !== undefined && first < pass ? keptAddress(x, innermost) : undefined;
    },
  });

  /** Computes one pass for some copies, in the innermost scope of its place. */
  const fillPass = (
    number: number,
    place: Place,
    copies: readonly Copy[],
    accumulators: readonly (readonly Local<"v128">[])[],
  ) => {
    const { reductions, stores } = kernel.passes[number]!;
    const { statements } = place.innermost;
    for (const copy of copies) {
      for (const [i, { reduce, dtype, value }] of reductions.entries()) {
        const { identity, combine } = reduceLanes(f, reduce, dtype);
        const element = values.vector(value, place, copy);
        const words = dtype === "bool" ? v128.and(element, i32x4.const(1, 1, 1, 1)) : element;
        const isWhole = copy.lanes === 4 || inRows;
        const cut = isWhole ? words : v128.bitselect(words, identity, maskOf(copy.lanes));
        const accumulator = accumulators[i]![copy.index]!;
        statements.push(() => f.set(accumulator, combine(accumulator, cut)));
      }
      values.stores(stores, place, copy);
      for (const [x, first] of schedule.kept) {
        if (first !== number) continue;
        const value = values.vector(x, place, copy);
        const address = keptAddress(x, place.innermost);
        statements.push(() => f.store.v128(address, value, 16 * copy.index));
      }
    }
  };

  /** Accumulators for every reduction of a pass and every copy, and the statements that reset them. */
  const accumulate = ({ reductions }: LoopPass, copies: number) => {
    const accumulators = reductions.map(() =>
      Array.from({ length: copies }, () => f.local("v128"))
    );
    const reset = () => {
      for (const [i, { reduce, dtype }] of reductions.entries()) {
        const { identity } = reduceLanes(f, reduce, dtype);
        for (const local of accumulators[i]!) f.set(local, identity);
      }
    };
    return { accumulators, reset };
  };

  /** Loops over some columns, outermost first. */
  const overColumns = (
    which: readonly number[],
    scopes: ReadonlyMap<number, Scope>,
    body: Emit,
  ) => {
    const [first, ...others] = which;
    if (first === undefined) return body();
    countLoop(f, variables[first]!, sizes[first]!, () => {
      emitScope(scopes.get(first)!);
      overColumns(others, scopes, body);
    });
  };

  return {
    ...{ f, kernel, schedule, sizes, root, item, variables, vectorBytes, results, values },
    ...{ placeIn, fillPass, accumulate, overColumns, part: f.local("i32") },
    rowScopes: new Map(schedule.outerRows.map((variable) => [variable, item])),
    columnVariables: columns.map((_, j) => rows.length + j),
  };
}

/** The rows of an item are in lanes: all passes for some of them, then the next. */
function rowsBody(loop: Parts): Emit {
  const { f, schedule, sizes, vectorBytes, part } = loop;
  const { block, parts, copies, vector } = schedule;
  const { step, whole, rest } = cover(sizes[vector!]!, copies[0]!);
  const main = whole > 0 ? rowsInLanes(loop, copiesFor(step)) : undefined;
  const remainder = rest.length > 0 ? rowsInLanes(loop, rest) : undefined;
  return () => {
    const start = f.let(i32.mul(part, 4 * block));
    const end = f.let(i32.minU(i32.add(start, 4 * block), 4 * whole));
    f.set(vectorBytes, start);
    if (main) {
      f.while(i32.ltU(vectorBytes, end), () => {
        main();
        f.set(vectorBytes, i32.add(vectorBytes, 4 * step));
      });
    }
    if (remainder) f.if(i32.eq(part, parts - 1), remainder);
  };
}

/** All passes and stores for some vectors of rows. */
function rowsInLanes(loop: Parts, copies: readonly Copy[]): Emit {
  const { kernel, schedule, columnVariables, values } = loop;
  const body = scopeIn(loop.item);
  const rowScopes = new Map(loop.rowScopes).set(schedule.vector!, body);
  const reduced = new Map<number, Scope>();
  const emits: Emit[] = [() => emitScope(body)];
  let last = body;
  for (const [number, pass] of kernel.passes.entries()) {
    const scopes = new Map(rowScopes);
    for (const variable of columnVariables) scopes.set(variable, last = scopeIn(last));
    const { accumulators, reset } = loop.accumulate(pass, copies.length);
    loop.fillPass(number, loop.placeIn(number, last, scopes, reduced), copies, accumulators);
    const after = last = scopeIn(last);
    for (const [i, { id }] of pass.reductions.entries()) {
      reduced.set(id, after);
      for (const { index } of copies) loop.results.set(`${id}.${index}`, accumulators[i]![index]!);
    }
    emits.push(() => {
      reset();
      loop.overColumns(columnVariables, scopes, () => {});
      emitScope(after);
    });
  }
  const place = loop.placeIn(kernel.passes.length, last, rowScopes, reduced);
  for (const copy of copies) values.stores(kernel.rowStores, place, copy);
  return () => emits.forEach((emit) => emit());
}

/** Columns are in lanes: the passes go along one row, and reductions end with the lanes combined. */
function columnsBody(loop: Parts): Emit {
  const { f, kernel, schedule, sizes, vectorBytes, values } = loop;
  const { vector } = schedule;
  const outerColumns = loop.columnVariables.filter((variable) => variable !== vector);
  const reduced = new Map<number, Scope>();
  const emits: Emit[] = [];
  let last = loop.item;
  for (const [number, pass] of kernel.passes.entries()) {
    const { step, whole, rest } = cover(sizes[vector!]!, schedule.copies[number]!);
    const scopes = new Map(loop.rowScopes);
    for (const variable of outerColumns) scopes.set(variable, last = scopeIn(last));
    const { accumulators, reset } = loop.accumulate(
      pass,
      whole > 0 ? step / 4 : Math.max(1, rest.length),
    );
    const along = (copies: readonly Copy[]) => {
      const innermost = scopeIn(last);
      const within = new Map(scopes).set(vector!, innermost);
      loop.fillPass(number, loop.placeIn(number, innermost, within, reduced), copies, accumulators);
      return innermost;
    };
    const main = whole > 0 ? along(copiesFor(step)) : undefined;
    const remainder = rest.length > 0 ? along(rest) : undefined;

    const after = scopeIn(main ?? remainder ?? last);
    last = after;
    for (const [i, { id, reduce, dtype }] of pass.reductions.entries()) {
      const { combine } = reduceLanes(f, reduce, dtype);
      reduced.set(id, after);
      const result = f.local("v128");
      loop.results.set(`${id}.0`, result);
      after.statements.push(() => {
        const [first, ...others] = accumulators[i] as readonly Code<"v128">[];
        const total = others.reduce(combine, first!);
        f.set(result, acrossLanes(f, total, combine));
      });
    }
    emits.push(() => {
      reset();
      loop.overColumns(outerColumns, scopes, () => {
        f.set(vectorBytes, 0);
        if (main) {
          f.loop((again) => {
            emitScope(main);
            f.set(vectorBytes, i32.add(vectorBytes, 4 * step));
            f.brIf(i32.ltU(vectorBytes, 4 * whole), again);
          });
        }
        if (remainder) emitScope(remainder);
      });
      emitScope(after);
    });
  }
  const place = loop.placeIn(kernel.passes.length, last, loop.rowScopes, reduced);
  values.stores(kernel.rowStores, place, { index: 0, lanes: 1 });
  return () => emits.forEach((emit) => emit());
}

/** Runs the items of a chunk, with the variables of outer rows (and the part) set for each. */
function itemLoop(loop: Parts, chunk: Local<"i32">, body: Emit): void {
  const { f, schedule, sizes, variables, part } = loop;
  const { items, itemsPerChunk, outerRows, parts } = schedule;
  if (items === 1) return body();
  const digits = outerRows.map((variable) => ({
    counter: variables[variable]!,
    size: sizes[variable]!,
  }));
  if (parts > 1) digits.push({ counter: part, size: parts });
  const item = f.let(i32.mul(chunk, itemsPerChunk));
  const end = f.let(i32.minU(i32.add(item, itemsPerChunk), items));
  const rest = f.let(item);
  for (const { counter, size } of digits.toReversed()) {
    f.set(counter, i32.remU(rest, size));
    f.set(rest, i32.divU(rest, size));
  }
  const advance = (digit: number) => {
    const found = digits[digit];
    if (!found) return;
    f.set(found.counter, i32.add(found.counter, 1));
    f.if(i32.eq(found.counter, found.size), () => {
      f.set(found.counter, 0);
      advance(digit - 1);
    });
  };
  f.loop((again) => {
    body();
    advance(digits.length - 1);
    f.set(item, i32.add(item, 1));
    f.brIf(i32.ltU(item, end), again);
  });
}
