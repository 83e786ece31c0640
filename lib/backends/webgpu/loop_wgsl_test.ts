import { assertEquals } from "@std/assert";
import { type DType, hostArray, roundTo } from "../../dtype.ts";
import { type Expr, ExprBuilder } from "../../compiler/expr.ts";
import type { LoopKernel } from "../../compiler/plan.ts";
import { type ScalarOp, scalarOps } from "../../compiler/scalar_ops.ts";
import { sizeOf } from "../../shape.ts";
import type { Backend } from "../backend.ts";
import { openWebgpu } from "./mod.ts";
import { assertClose, type HostTensor, noise, runLoop, tensorOf, webgpuTest } from "./testing.ts";

/** The meaning of an expression at a point, on the host. */
function evaluate(
  x: Expr,
  point: readonly number[],
  reads: readonly HostTensor[],
  reduced: ReadonlyMap<number, number>,
): number {
  const go = (y: Expr): number => {
    switch (y.op) {
      case "const":
        return y.value;
      case "variable":
        return point[y.value]!;
      case "load":
        return reads[y.value]!.data[go(y.args[0]!)]!;
      case "reduced":
        return reduced.get(y.value)!;
      case "cast":
        return roundTo(y.dtype, go(y.args[0]!));
      case "bitcast": {
        const from = hostArray(y.args[0]!.dtype, 1), to = hostArray(y.dtype, 1);
        from[0] = go(y.args[0]!);
        new Uint8Array(to.buffer as ArrayBuffer).set(new Uint8Array(from.buffer as ArrayBuffer));
        return to[0]!;
      }
      default: {
        const dtype = y.op === "where" ? y.dtype : y.args[0]!.dtype;
        return roundTo(y.dtype, scalarOps[y.op as ScalarOp].evaluate(y.args.map(go), dtype));
      }
    }
  };
  return go(x);
}

/** Every point of some axes. */
function points(axes: readonly number[]): number[][] {
  return axes.reduce<number[][]>(
    (all, size) => all.flatMap((p) => Array.from({ length: size }, (_, i) => [...p, i])),
    [[]],
  );
}

/** What a loop kernel writes, on the host. */
function runOnHost(
  kernel: LoopKernel,
  reads: readonly HostTensor[],
  writes: readonly { readonly shape: readonly number[]; readonly dtype: DType }[],
) {
  const results = writes.map(({ shape, dtype }) => hostArray(dtype, sizeOf(shape)));
  for (const row of points(kernel.rows)) {
    const reduced = new Map<number, number>();
    for (const pass of kernel.passes) {
      for (const { id, reduce, value } of pass.reductions) {
        const all = points(kernel.columns).map((c) =>
          evaluate(value, [...row, ...c], reads, reduced)
        );
        reduced.set(
          id,
          reduce === "sum"
            ? all.reduce((a, b) => a + b, 0)
            : reduce === "product"
            ? all.reduce((a, b) => a * b, 1)
            : reduce === "maximum"
            ? Math.max(...all)
            : Math.min(...all),
        );
      }
      for (const { slot, index, value } of pass.stores) {
        for (const c of points(kernel.columns)) {
          const at = [...row, ...c];
          results[slot]![evaluate(index, at, reads, reduced)] = evaluate(value, at, reads, reduced);
        }
      }
    }
    for (const { slot, index, value } of kernel.rowStores) {
      results[slot]![evaluate(index, row, reads, reduced)] = evaluate(value, row, reads, reduced);
    }
  }
  return results;
}

/** An elementwise kernel over `n` elements, with one output per value. */
function elementwise(e: ExprBuilder, n: number, values: readonly Expr[]): LoopKernel {
  const i = e.variable(0, n);
  return {
    rows: [n],
    columns: [],
    passes: [],
    rowStores: values.map((value, slot) => ({ slot, index: i, value })),
  };
}

const special = [0, -0, 1, -1, 0.5, -0.5, 1.5, 2.5, -2.5, 3, 1e-20, 20, 88, -88, 1e30];
const awkward = [...special, NaN, Infinity, -Infinity];

webgpuTest(
  "every scalar operation on f32 has its meaning, also at infinities and NaN",
  async (backend) => {
    const pairs = awkward.flatMap((a) => awkward.map((b) => [a, b] as const));
    const n = pairs.length;
    const reads = [
      tensorOf("f32", [n], (i) => pairs[i]![0]),
      tensorOf("f32", [n], (i) => pairs[i]![1]),
    ];
    const e = new ExprBuilder();
    const i = e.variable(0, n);
    const a = e.load(0, "f32", i), b = e.load(1, "f32", i);
    const unary = [
      "neg",
      "abs",
      "sign",
      "floor",
      "ceil",
      "round",
      "sqrt",
      "exp",
      "log",
      "tanh",
      "erf",
      "isNan",
    ] as const;
    const binary = [
      "add",
      "sub",
      "mul",
      "div",
      "pow",
      "minimum",
      "maximum",
      "equal",
      "notEqual",
      "less",
      "lessEqual",
    ] as const;
    const values = [
      ...unary.map((op) => e.apply(op, a)),
      ...binary.map((op) => e.apply(op, a, b)),
      e.apply("where", e.apply("less", a, b), e.constant("f32", Infinity), e.constant("f32", NaN)),
      e.apply("equal", a, a),
      e.apply("notEqual", a, a),
      e.apply("pow", a, e.constant("f32", 2)),
    ];
    const names = [...unary, ...binary, "where", "equal itself", "notEqual itself", "pow 2"];
    const kernel = elementwise(e, n, values);
    const writes = values.map(({ dtype }) => ({ shape: [n], dtype }));
    const found = await runLoop(backend, kernel, reads, writes);
    const wanted = runOnHost(kernel, reads, writes);
    // WGSL defines pow as exp2(y * log2(x)), whose error grows with the exponent.
    found.forEach((data, k) =>
      assertClose(data, wanted[k]!, names[k] === "pow" ? 1e-5 : 3e-6, names[k])
    );
  },
);

webgpuTest("sine and cosine are exact far from 0", async (backend) => {
  const n = 400;
  const reads = [tensorOf("f32", [n], (i) => (i - 200) * 5.3)];
  const e = new ExprBuilder();
  const x = e.load(0, "f32", e.variable(0, n));
  const kernel = elementwise(e, n, [e.apply("sin", x), e.apply("cos", x)]);
  const writes = kernel.rowStores.map(() => ({ shape: [n], dtype: "f32" as const }));
  const found = await runLoop(backend, kernel, reads, writes);
  runOnHost(kernel, reads, writes).forEach((wanted, k) => assertClose(found[k]!, wanted, 1e-6));
});

webgpuTest("every scalar operation on integers and bools has its meaning", async (backend) => {
  const list = [0, 1, -1, 2, 7, -7, 31, 33, 2 ** 31 - 1, -(2 ** 31), 123456789];
  const pairs = list.flatMap((a) => list.map((b) => [a, b] as const));
  const n = pairs.length;
  const reads: HostTensor[] = (["i32", "u32", "bool"] as const).flatMap((dtype) =>
    [0, 1].map((side) => tensorOf(dtype, [n], (i) => roundTo(dtype, pairs[i]![side]!)))
  );
  const e = new ExprBuilder();
  const i = e.variable(0, n);
  const load = (slot: number) => e.load(slot, reads[slot]!.dtype, i);
  const integer = [
    "add",
    "sub",
    "mul",
    "divide",
    "modulo",
    "minimum",
    "maximum",
    "equal",
    "notEqual",
    "less",
    "lessEqual",
    "bitAnd",
    "bitOr",
    "bitXor",
    "shiftLeft",
    "shiftRight",
  ] as const;
  const named: [string, Expr][] = [];
  for (const slot of [0, 2]) {
    for (const op of integer) {
      named.push([`${op} ${slot}`, e.apply(op, load(slot), load(slot + 1))]);
    }
    for (const op of ["bitNot", "abs", "sign"] as const) {
      named.push([`${op} ${slot}`, e.apply(op, load(slot))]);
    }
    named.push([
      `divide by 6 ${slot}`,
      e.apply("divide", load(slot), e.constant(reads[slot]!.dtype, 6)),
    ]);
    named.push([`to f32 ${slot}`, e.cast("f32", load(slot))]);
    named.push([`to bool ${slot}`, e.cast("bool", load(slot))]);
  }
  named.push(["neg", e.apply("neg", load(0))]);
  named.push(["to u32", e.cast("u32", load(0))]);
  named.push(["bits", e.bitcast("f32", e.apply("bitAnd", load(2), e.constant("u32", 0x3fffffff)))]);
  for (
    const op of ["and", "or", "xor", "equal", "notEqual", "less", "minimum", "maximum"] as const
  ) {
    named.push([`${op} bool`, e.apply(op, load(4), load(5))]);
  }
  named.push(["not", e.apply("not", load(4))]);
  named.push(["bool to f32", e.cast("f32", load(4))]);
  const kernels = [named.slice(0, 30), named.slice(30)];
  for (const part of kernels) {
    const kernel = elementwise(e, n, part.map(([, value]) => value));
    const writes = part.map(([, { dtype }]) => ({ shape: [n], dtype }));
    const found = await runLoop(backend, kernel, reads, writes);
    const wanted = runOnHost(kernel, reads, writes);
    found.forEach((data, k) => assertClose(data, wanted[k]!, 1e-7, part[k]![0]));
  }
});

webgpuTest("threefry gives the words of the host's generator", async (backend) => {
  const n = 100;
  const e = new ExprBuilder();
  const key0 = e.load(0, "u32", e.int(0)), key1 = e.load(0, "u32", e.int(1));
  const counter = e.cast("u32", e.variable(0, n)), zero = e.constant("u32", 0);
  const kernel = elementwise(e, n, [
    e.apply("threefry0", key0, key1, zero, counter),
    e.apply("threefry1", key0, key1, zero, counter),
  ]);
  const reads = [tensorOf("u32", [2], (i) => i * 77 + 5)];
  const writes = kernel.rowStores.map(() => ({ shape: [n], dtype: "u32" as const }));
  assertEquals(await runLoop(backend, kernel, reads, writes), runOnHost(kernel, reads, writes));
});

/** Softmax over the columns, with the logarithm of the sum as a row store: three passes. */
function softmax(
  rows: readonly number[],
  columns: readonly number[],
  columnsFirst = false,
): LoopKernel {
  const e = new ExprBuilder();
  const axes = [...rows, ...columns];
  const strides = axes.map((_, axis) => sizeOf(axes.slice(axis + 1)));
  const rowCount = sizeOf(rows), columnCount = sizeOf(columns);
  const flat = (from: number, to: number, unit: number) => {
    let sum = e.int(0);
    for (let axis = from; axis < to; axis++) {
      const factor = strides[axis]! / unit;
      sum = e.apply("add", sum, e.apply("mul", e.variable(axis, axes[axis]!), e.int(factor)));
    }
    return sum;
  };
  const row = flat(0, rows.length, columnCount), column = flat(rows.length, axes.length, 1);
  const index = columnsFirst
    ? e.apply("add", e.apply("mul", column, e.int(rowCount)), row)
    : e.apply("add", e.apply("mul", row, e.int(columnCount)), column);
  const x = e.load(0, "f32", index);
  const largest = e.reduced(0, "f32"), sum = e.reduced(1, "f32");
  const exp = e.apply("exp", e.apply("sub", x, largest));
  return {
    rows,
    columns,
    passes: [
      { reductions: [{ id: 0, reduce: "maximum", dtype: "f32", value: x }], stores: [] },
      { reductions: [{ id: 1, reduce: "sum", dtype: "f32", value: exp }], stores: [] },
      { reductions: [], stores: [{ slot: 0, index, value: e.apply("div", exp, sum) }] },
    ],
    rowStores: [{ slot: 1, index: row, value: e.apply("add", e.apply("log", sum), largest) }],
  };
}

async function testSoftmax(backend: Backend) {
  const cases: [number[], number[], boolean][] = [
    [[3], [200], false],
    [[2, 9], [5, 4], false],
    [[70], [33], true],
    [[1], [1000], false],
    [[], [10], false],
    [[5], [1], false],
    [[300], [6], false],
    [[300], [70], true],
  ];
  for (const [rows, columns, columnsFirst] of cases) {
    const kernel = softmax(rows, columns, columnsFirst);
    const shape = [...rows, ...columns];
    const reads = [tensorOf("f32", shape, (i) => 5 * noise(1)(i))];
    const writes = [{ shape, dtype: "f32" as const }, { shape: rows, dtype: "f32" as const }];
    const [found, logs] = await runLoop(backend, kernel, reads, writes);
    const [wanted, wantedLogs] = runOnHost(kernel, reads, writes);
    assertClose(found!, wanted!, 2e-6, `softmax ${shape}`);
    assertClose(logs!, wantedLogs!, 2e-6, `logarithm ${shape}`);
  }
}

webgpuTest("rows are reduced in several passes, whatever their number and length", testSoftmax);

webgpuTest("rows are reduced by the shaders for hardware, too", async () => {
  const hardware = await openWebgpu({ allowSoftware: true, hardwareShaders: true });
  await testSoftmax(hardware!);
  await testReductions(hardware!);
  hardware!.close();
});

webgpuTest("every reduction has its identity, its NaN and its type", testReductions);

async function testReductions(backend: Backend) {
  for (const dtype of ["f32", "i32", "u32", "bool"] as const) {
    const [rows, columns] = [12, 70];
    const e = new ExprBuilder();
    const index = e.apply(
      "add",
      e.apply("mul", e.variable(0, rows), e.int(columns)),
      e.variable(1, columns),
    );
    const value = e.load(0, dtype, index);
    const kinds = dtype === "bool"
      ? ["maximum", "minimum"] as const
      : ["sum", "product", "maximum", "minimum"] as const;
    const kernel: LoopKernel = {
      rows: [rows],
      columns: [columns],
      passes: [{
        reductions: kinds.map((reduce, id) => ({ id, reduce, dtype, value })),
        stores: [],
      }],
      rowStores: kinds.map((_, id) => ({
        slot: id,
        index: e.variable(0, rows),
        value: e.reduced(id, dtype),
      })),
    };
    const draw = noise(3);
    const reads = [tensorOf(dtype, [rows, columns], (i) => {
      if (dtype === "f32") return i === 200 ? NaN : 1 + 0.1 * draw(i);
      if (dtype === "i32") return draw(i) < 0 ? -1 : 1;
      if (dtype === "u32") return 1 + Number(i % 70 === 3);
      return Number(i > 140 && draw(i) < 0.9);
    })];
    const writes = kinds.map(() => ({ shape: [rows], dtype }));
    const wanted = runOnHost(kernel, reads, writes);
    for (const parts of [1, 4]) {
      const found = await runLoop(backend, kernel, reads, writes, { parts });
      found.forEach((data, k) => assertClose(data, wanted[k]!, 1e-4, `${kinds[k]} ${dtype}`));
    }
  }
}

webgpuTest("an empty reduction gives the identity, and no rows run nothing", async (backend) => {
  const e = new ExprBuilder();
  const kernel = (rows: number): LoopKernel => ({
    rows: [rows],
    columns: [0],
    passes: [{
      reductions: [{ id: 0, reduce: "maximum", dtype: "f32", value: e.load(0, "f32", e.int(0)) }],
      stores: [],
    }],
    rowStores: [{ slot: 0, index: e.variable(0, rows), value: e.reduced(0, "f32") }],
  });
  const reads = [tensorOf("f32", [0], () => 0)];
  const [found] = await runLoop(backend, kernel(2), reads, [{ shape: [2], dtype: "f32" }]);
  assertEquals(found, Float32Array.of(-Infinity, -Infinity));
  const [none] = await runLoop(backend, kernel(0), reads, [{ shape: [0], dtype: "f32" }]);
  assertEquals(none, new Float32Array(0));
});

webgpuTest(
  "indices may divide and repeat: a transposed, padded and gathered operand",
  async (backend) => {
    const [rows, columns] = [6, 10];
    const e = new ExprBuilder();
    const r = e.variable(0, rows), c = e.variable(1, columns);
    const flat = e.apply("add", e.apply("mul", r, e.int(columns)), c);
    const transposed = e.apply(
      "add",
      e.apply("mul", e.apply("modulo", flat, e.int(4)), e.int(15)),
      e.apply("divide", flat, e.int(4)),
    );
    const gathered = e.load(1, "i32", c);
    const inside = e.apply("lessEqual", e.int(3), c);
    const padded = e.apply(
      "where",
      inside,
      e.load(0, "f32", e.apply("sub", flat, e.int(3))),
      e.constant("f32", 0),
    );
    const sum = e.apply(
      "add",
      e.apply("add", e.load(0, "f32", transposed), padded),
      e.load(0, "f32", gathered),
    );
    const kernel: LoopKernel = {
      rows: [rows, columns],
      columns: [],
      passes: [],
      rowStores: [{ slot: 0, index: flat, value: sum }],
    };
    const reads = [
      tensorOf("f32", [60], (i) => i * i),
      tensorOf("i32", [columns], (i) => (i * 7) % 60),
    ];
    const writes = [{ shape: [rows, columns], dtype: "f32" as const }];
    assertEquals(await runLoop(backend, kernel, reads, writes), runOnHost(kernel, reads, writes));
  },
);

webgpuTest(
  "a buffer is updated in place, and other stores still see its old elements",
  async (backend) => {
    const n = 1000;
    const e = new ExprBuilder();
    const x = e.load(0, "f32", e.variable(0, n));
    const kernel = elementwise(e, n, [
      e.apply("add", x, e.constant("f32", 1)),
      e.apply("mul", x, x),
    ]);
    const reads = [tensorOf("f32", [n], (i) => i)];
    const writes = kernel.rowStores.map(() => ({ shape: [n], dtype: "f32" as const }));
    const found = await runLoop(backend, kernel, reads, writes, { inPlace: [0] });
    assertEquals(found, runOnHost(kernel, reads, writes));
  },
);

webgpuTest("f16 is stored and computed, and its sums are gathered in f32", async (backend) => {
  if (!backend.features.f16) return;
  const [rows, columns] = [9, 301];
  const e = new ExprBuilder();
  const index = e.apply(
    "add",
    e.apply("mul", e.variable(0, rows), e.int(columns)),
    e.variable(1, columns),
  );
  const x = e.load(0, "f16", index);
  const kernel: LoopKernel = {
    rows: [rows],
    columns: [columns],
    passes: [{
      reductions: [{ id: 0, reduce: "sum", dtype: "f16", value: x }],
      stores: [{ slot: 1, index, value: e.apply("tanh", x) }],
    }],
    rowStores: [{ slot: 0, index: e.variable(0, rows), value: e.reduced(0, "f16") }],
  };
  const reads = [tensorOf("f16", [rows, columns], (i) => 1 + noise(1)(i) * 0.25)];
  const writes = [{ shape: [rows], dtype: "f16" as const }, {
    shape: [rows, columns],
    dtype: "f16" as const,
  }];
  const found = await runLoop(backend, kernel, reads, writes);
  const wanted = runOnHost(kernel, reads, writes);
  found.forEach((data, k) => assertClose(data, wanted[k]!, 2e-3));
});
