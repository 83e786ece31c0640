import { assert, assertEquals } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { type Expr, ExprBuilder } from "../../compiler/expr.ts";
import type { LoopKernel, LoopReduction, LoopStore } from "../../compiler/plan.ts";
import type { ScalarOp } from "../../compiler/scalar_ops.ts";
import type { DType } from "../../dtype.ts";
import { hostArray } from "../../dtype.ts";
import { sizeOf } from "../../shape.ts";
import { openReference } from "../reference.ts";
import { openWasm } from "./mod.ts";
import { type HostTensor, largestError, runLoop } from "./testing.ts";

const reference = openReference({ fuses: true });
const device = await openWasm({ threads: 2 });

const worker = { sanitizeOps: false, sanitizeResources: false };

/** Numbers of a type that are alike in every run; integers stay within ±range. */
function noise(dtype: DType, shape: readonly number[], seed: number, range = 9): HostTensor {
  let state = 2 * seed + 1;
  const data = hostArray(dtype, sizeOf(shape));
  for (let i = 0; i < data.length; i++) {
    state = (state * 48271) % 2147483647;
    const unit = state / 2147483647;
    data[i] = dtype === "f32"
      ? 4 * unit - 2
      : dtype === "bool"
      ? Number(unit < 0.5)
      : dtype === "u32"
      ? Math.floor(range * unit)
      : Math.floor(2 * range * unit) - range;
  }
  return { shape, dtype, data };
}

async function check(
  kernel: LoopKernel,
  reads: readonly HostTensor[],
  writes: readonly { size: number; dtype: DType }[],
  tolerance: number,
  message = "",
) {
  const [actual, expected] = await Promise.all(
    [device, reference].map((on) => runLoop(on, kernel, reads, writes)),
  );
  for (const i of writes.keys()) {
    const error = largestError(actual![i]!, expected![i]!);
    assert(error <= tolerance, `${message} write ${i}: error ${error}`);
  }
}

const unaryFloat: ScalarOp[] = [
  ...["neg", "abs", "sign", "floor", "ceil", "round", "exp", "sin", "cos", "tanh", "erf"] as const,
];
/** Those without jumps, where a rounding error may change the result at will. */
const smooth: ScalarOp[] = ["neg", "abs", "exp", "sin", "cos", "tanh", "erf"];
const binaryFloat: ScalarOp[] = ["add", "sub", "mul", "minimum", "maximum"];
const comparisons: ScalarOp[] = ["equal", "notEqual", "less", "lessEqual"];
const binaryInteger: ScalarOp[] = [
  ...["add", "sub", "mul", "divide", "modulo", "minimum", "maximum", "bitAnd", "bitOr"] as const,
  ...["bitXor", "shiftLeft", "shiftRight"] as const,
];

Deno.test({
  name: "every operation equals the reference on every type, whatever the number of lanes",
  ...worker,
  async fn() {
    for (const size of [1, 3, 4, 21, 64]) {
      for (const dtype of ["f32", "i32", "u32", "bool"] as const) {
        const e = new ExprBuilder();
        const i = e.variable(0, size);
        const [a, b, c] = [e.load(0, dtype, i), e.load(1, dtype, i), e.load(2, "bool", i)];
        const values: Expr[] = [e.apply("where", c, a, b), e.apply("isNan", a)];
        for (const to of ["f32", "i32", "u32", "bool"] as const) values.push(e.cast(to, a));
        for (const op of comparisons) values.push(e.apply(op, a, b));
        const unary = dtype === "f32"
          ? unaryFloat
          : dtype === "bool"
          ? ["not" as const]
          : ["neg", "abs", "sign", "bitNot"] as const;
        for (const op of unary) values.push(e.apply(op, a));
        const binary = dtype === "f32"
          ? [...binaryFloat, "div" as const]
          : dtype === "bool"
          ? ["and", "or", "xor"] as const
          : binaryInteger;
        for (const op of binary) values.push(e.apply(op, a, b));
        if (dtype === "f32") {
          const positive = e.apply("abs", a);
          for (const op of ["log", "sqrt"] as const) values.push(e.apply(op, positive));
          values.push(e.apply("pow", positive, b), e.bitcast("i32", a));
        } else if (dtype !== "bool") {
          for (const divisor of [7, -1, 1]) {
            const by = e.constant(dtype, divisor);
            values.push(e.apply("divide", a, by), e.apply("modulo", a, by));
          }
          values.push(e.apply("shiftRight", a, e.constant(dtype, 33)));
        }
        if (dtype === "u32") {
          values.push(e.apply("threefry0", a, b, a, b), e.apply("threefry1", a, b, a, b));
        }
        const kernel: LoopKernel = {
          rows: size === 1 ? [] : [size],
          columns: [],
          passes: [],
          rowStores: values.map((value, slot) => ({ slot, index: i, value })),
        };
        const reads = [noise(dtype, [size], 1), noise(dtype, [size], 2), noise("bool", [size], 3)];
        const writes = values.map(({ dtype }) => ({ size, dtype }));
        await check(kernel, reads, writes, 2e-6, `${dtype} ${size}`);
      }
    }
  },
});

/** A kernel drawn by a generator of choices, and what it reads and writes. */
function drawKernel(pick: (most: number) => number) {
  const e = new ExprBuilder();
  const dims = (most: number) => Array.from({ length: pick(most) }, () => 2 + pick(7));
  const rows = dims(3), columns = pick(3) > 0 ? [2 + pick(24), ...dims(1)] : [];
  const reads: HostTensor[] = [];
  const variables = (sizes: readonly number[], from: number) =>
    sizes.map((size, i) => e.variable(from + i, size));
  const rowVariables = variables(rows, 0), columnVariables = variables(columns, rows.length);
  const linear = (index: readonly Expr[], sizes: readonly number[]) =>
    index.reduce(
      (sum, x, i) => e.apply("add", e.apply("mul", sum, e.int(sizes[i]!)), x),
      e.int(0),
    );
  /** A load of a new buffer at some variables in some order, shifted, flipped or by way of another. */
  const load = (available: readonly Expr[], dtype: DType): Expr => {
    const chosen = available.filter(() => pick(4) > 0).sort(() => pick(1) - 0.5);
    const sizes = chosen.map((x) => x.max + 1);
    let index = linear(chosen, sizes);
    const size = sizeOf(sizes);
    const how = pick(5);
    if (how === 0) index = e.apply("sub", e.int(size - 1), index);
    if (how === 1) index = e.apply("minimum", e.apply("add", index, e.int(2)), e.int(size - 1));
    if (how === 2) index = e.apply("mul", index, e.int(3));
    if (how === 3) {
      reads.push({ ...noise("u32", [size], reads.length, size), dtype: "i32" });
      index = e.load(reads.length - 1, "i32", index);
    }
    reads.push(noise(dtype, [how === 2 ? 3 * size : size], reads.length));
    return e.load(reads.length - 1, dtype, index);
  };
  const value = (available: readonly Expr[], known: readonly Expr[], depth: number): Expr => {
    const inner = () => value(available, known, depth - 1);
    switch (depth === 0 ? pick(2) : pick(8)) {
      case 0:
        return known.length > 0 ? known[pick(known.length - 1)]! : load(available, "f32");
      case 1:
        return load(available, "f32");
      case 2:
        return available.length > 0
          ? e.cast("f32", available[pick(available.length - 1)]!)
          : e.constant("f32", 1.5);
      case 3:
        return e.apply(smooth[pick(smooth.length - 1)]!, e.apply("tanh", inner()));
      case 4:
        return e.apply(
          "where",
          e.apply("less", load(available, "f32"), load(available, "f32")),
          inner(),
          inner(),
        );
      case 5:
        return e.apply("where", load(available, "bool"), inner(), inner());
      default:
        return e.apply(binaryFloat[pick(binaryFloat.length - 1)]!, inner(), inner());
    }
  };
  const passes: { reductions: LoopReduction[]; stores: LoopStore[] }[] = [];
  const writes: { size: number; dtype: DType }[] = [];
  const everywhere = [...rowVariables, ...columnVariables];
  const reduced: Expr[] = [];
  let shared: Expr[] = [];
  for (let pass = 0; columns.length > 0 && pass <= pick(2); pass++) {
    const reductions: LoopReduction[] = [], stores: LoopStore[] = [];
    const known = [...shared, ...reduced];
    for (let i = 0; i < 1 + pick(1); i++) {
      const reduce = (["sum", "maximum", "minimum"] as const)[pick(2)]!;
      const element = value(everywhere, known, 2);
      shared = [...shared, element];
      // Kept small, so that sums of sums stay comparable.
      const small = e.apply("tanh", element);
      reductions.push({ id: reduced.length + i, reduce, dtype: "f32", value: small });
    }
    if (pick(1)) {
      const size = sizeOf([...rows, ...columns]);
      const index = linear(everywhere, [...rows, ...columns]);
      stores.push({
        slot: writes.length,
        index,
        value: e.apply("tanh", value(everywhere, known, 2)),
      });
      writes.push({ size, dtype: "f32" });
    }
    for (const { id } of reductions) reduced.push(e.apply("tanh", e.reduced(id, "f32")));
    passes.push({ reductions, stores });
  }
  const rowStores = Array.from({ length: 1 + pick(1) }, (): LoopStore => {
    const result = e.apply("tanh", value(rowVariables, reduced, 3));
    const order = rowVariables.map((x) => x).sort(() => pick(1) - 0.5);
    const index = linear(order, order.map((x) => x.max + 1));
    writes.push({ size: sizeOf(rows), dtype: "f32" });
    return { slot: writes.length - 1, index, value: result };
  });
  return { kernel: { rows, columns, passes, rowStores }, reads, writes };
}

Deno.test({
  name: "kernels of any loops, indices and passes equal the reference",
  ...worker,
  async fn() {
    await fc.assert(
      fc.asyncProperty(fc.infiniteStream(fc.nat(255)), async (choices) => {
        const pick = (most: number) => choices.next().value! % (most + 1);
        const { kernel, reads, writes } = drawKernel(pick);
        await check(kernel, reads, writes, 2e-4);
      }),
      { numRuns: 100, seed: 7 },
    );
  },
});

Deno.test({
  name: "long reductions of few rows are the same on any number of threads",
  ...worker,
  async fn() {
    const e = new ExprBuilder();
    const [rows, columns] = [3, 2 ** 16];
    const index = e.apply(
      "add",
      e.apply("mul", e.variable(0, rows), e.int(columns)),
      e.variable(1, columns),
    );
    const x = e.load(0, "f32", index);
    const kernel: LoopKernel = {
      rows: [rows],
      columns: [columns],
      passes: [{
        reductions: [
          { id: 0, reduce: "sum", dtype: "f32", value: e.apply("mul", x, x) },
          { id: 1, reduce: "maximum", dtype: "f32", value: x },
        ],
        stores: [],
      }],
      rowStores: [0, 1].map((slot) => ({
        slot,
        index: e.variable(0, rows),
        value: e.apply("add", e.reduced(slot, "f32"), e.constant("f32", 1)),
      })),
    };
    const reads = [noise("f32", [rows, columns], 5)];
    const writes = [0, 1].map(() => ({ size: rows, dtype: "f32" as const }));
    await check(kernel, reads, writes, 2e-6);
    const alone = await openWasm({ threads: 1 });
    assertEquals(
      await runLoop(alone, kernel, reads, writes),
      await runLoop(device, kernel, reads, writes),
    );
    alone.close();
  },
});

Deno.test({
  name: "a buffer is overwritten at the index that was read, in full vectors and at the end",
  ...worker,
  async fn() {
    for (const size of [5, 16, 100_003]) {
      const e = new ExprBuilder();
      const i = e.variable(0, size);
      const x = e.load(0, "f32", i);
      const kernel: LoopKernel = {
        rows: [size],
        columns: [],
        passes: [],
        rowStores: [
          { slot: 0, index: i, value: e.apply("add", x, e.constant("f32", 1)) },
          { slot: 1, index: i, value: e.apply("mul", x, e.constant("f32", 2)) },
        ],
      };
      const read = noise("f32", [size], 3);
      const writes = [0, 1].map(() => ({ size, dtype: "f32" as const }));
      const [moved, doubled] = await runLoop(device, kernel, [read], writes, [0]);
      assertEquals(moved, (read.data as Float32Array).map((x) => x + 1));
      assertEquals(doubled, (read.data as Float32Array).map((x) => x * 2));
    }
  },
});

Deno.test({
  name: "NaN goes through maxima, minima and comparisons as in the reference",
  ...worker,
  async fn() {
    const e = new ExprBuilder();
    const i = e.variable(0, 6);
    const x = e.load(0, "f32", i), one = e.constant("f32", 1);
    const values = (["maximum", "minimum", ...comparisons] as const).map((op) =>
      e.apply(op, x, one)
    );
    values.push(e.apply("isNan", x), e.apply("sign", x), e.cast("i32", x), e.cast("bool", x));
    const kernel: LoopKernel = {
      rows: [6],
      columns: [],
      passes: [],
      rowStores: values.map((value, slot) => ({ slot, index: i, value })),
    };
    const data = Float32Array.of(NaN, Infinity, -Infinity, -0, 1, 3e9);
    const writes = values.map(({ dtype }) => ({ size: 6, dtype }));
    await check(kernel, [{ shape: [6], dtype: "f32", data }], writes, 0);
  },
});
