import { assert, assertEquals } from "@std/assert";
import { f32, i32, wasmModule } from "./assembler.ts";
import { emitGemm, type GemmShape, gemmWord, gemmWords, planGemm } from "./gemm.ts";
import { doubledTile, type GemmTile, gemmTile, plainTile } from "./gemm_tile.ts";
import { createMemory } from "./memory.ts";
import { createPool } from "./threads.ts";

type Layout = "rows" | "columns" | "strided";

/** Strides of a batch of matrices whose elements lie as the layout says. */
function strides(layout: Layout, rows: number, columns: number, shared: boolean, batch1: number) {
  const [row, column] = layout === "rows"
    ? [columns, 1]
    : layout === "columns"
    ? [1, rows]
    : [3 * columns + 1, 3];
  const size = Math.max(rows * row, columns * column) + 5;
  const batch: [number, number] = shared ? [0, 0] : [batch1 * size, size];
  return { row, column, batch };
}

function setUp(
  tile: GemmTile,
  module = wasmModule(),
  options: Parameters<typeof emitGemm>[1] = {},
) {
  emitGemm(module, { tile, ...options });
  const memory = createMemory();
  const pool = createPool(memory, { threads: 2 });
  const { kernels } = pool.load(module);
  let state = 7;
  const random = () => (state = (state * 48271) % 2147483647) / 2147483647 - 0.5;

  /** Runs a product on random matrices; returns the largest error and the kernels. */
  const check = (shape: GemmShape) => {
    const { m, n, k, batch, a, b, c } = shape;
    const extent = (
      s: { row: number; column?: number; batch: readonly number[] },
      r: number,
      q: number,
    ) =>
      1 + Math.max(0, r - 1) * s.row + Math.max(0, q - 1) * (s.column ?? 1) +
      (batch[0] - 1) * s.batch[0] + (batch[1] - 1) * s.batch[1];
    const plan = planGemm(shape, { threads: 2, scratchBytes: pool.scratchBytes, tile });
    const sizes = [extent(a, m, k), extent(b, k, n), extent(c, m, n)];
    const blocks = sizes.map((size) => memory.malloc(4 * size));
    const workspace = memory.malloc(plan.workspaceBytes);
    const args = memory.malloc(4 * gemmWords + 64);
    const [x, y, z] = blocks.map((address, i) => {
      const view = memory.views().f32.subarray(address / 4, address / 4 + sizes[i]);
      for (let j = 0; j < view.length; j++) view[j] = random();
      return view;
    });
    const before = z.slice();
    const words = memory.views().i32;
    words.set(plan.words, args / 4);
    words.set([...blocks, workspace], args / 4);
    for (const { kernel, chunks } of plan.jobs) pool.run(kernels[kernel], args, chunks);
    const touched = new Set<number>();
    let error = 0;
    for (let g = 0; g < batch[0]; g++) {
      for (let h = 0; h < batch[1]; h++) {
        const [oa, ob, oc] = [a, b, c].map((s) => g * s.batch[0] + h * s.batch[1]);
        for (let i = 0; i < m; i++) {
          for (let j = 0; j < n; j++) {
            const at = oc + i * c.row + j;
            let sum = shape.accumulate ? before[at] : 0;
            for (let l = 0; l < k; l++) {
              sum += x[oa + i * a.row + l * a.column] * y[ob + l * b.row + j * b.column];
            }
            error = Math.max(error, Math.abs(sum - z[at]));
            touched.add(at);
          }
        }
      }
    }
    const isUntouched = z.every((value, at) => touched.has(at) || value === before[at]);
    [...blocks, workspace, args].forEach(memory.free);
    return { error, isUntouched, kernels: plan.jobs.map((job) => job.kernel).join(), z };
  };
  return { pool, check };
}

for (const tile of [plainTile, doubledTile]) {
  Deno.test(`products of all sizes, layouts and batches equal plain sums, by tiles of ${tile.rows} × ${tile.columns}`, async () => {
    const { pool, check } = setUp(tile);
    await pool.ready;
    const used = new Set<string>();
    const sizes = [
      ...[[1, 1, 1], [1, 40, 3], [2, 5, 17], [3, 33, 64], [4, 9, 19], [5, 8, 4], [6, 7, 5]],
      ...[[8, 70, 33], [11, 16, 9], [49, 49, 24], [70, 65, 66], [130, 90, 300], [161, 17, 520]],
      ...[[1, 100, 30], [7, 3, 0], [66, 1, 70]],
    ];
    const layouts: Layout[] = ["rows", "columns", "strided"];
    for (const [m, n, k] of sizes) {
      for (const layoutA of layouts) {
        for (const layoutB of layouts) {
          const accumulate = (m + n + k + layouts.indexOf(layoutA)) % 2 === 0;
          const batch: [number, number] = m * n * k > 1e5 ? [1, 1] : [2, 3];
          const shape: GemmShape = {
            ...{ m, n, k, batch, accumulate },
            a: strides(layoutA, m, k, false, batch[1]),
            b: strides(layoutB, k, n, layoutB === "rows" && m > 8, batch[1]),
            c: { row: n + 2, batch: [batch[1] * (n + 2) * m, (n + 2) * m] },
          };
          const { error, isUntouched, kernels } = check(shape);
          used.add(kernels);
          const limit = 2e-7 * (k + 2);
          assert(error <= limit, `${m}×${n}×${k} ${layoutA} ${layoutB} ${kernels}: error ${error}`);
          assert(isUntouched, `${m}×${n}×${k} ${layoutA} ${layoutB} ${kernels}: stray writes`);
        }
      }
    }
    assertEquals([...used].sort(), ["gemmDirect", "gemmDot", "gemmPack,gemmBlocks"]);
    pool.close();
  });
}

Deno.test("large batches pack every matrix of B", () => {
  const { pool, check } = setUp(plainTile);
  const [m, n, k] = [260, 72, 80];
  for (const shared of [true, false]) {
    const { error, kernels } = check({
      ...{ m, n, k, batch: [2, 2], accumulate: false },
      a: strides("rows", m, k, false, 2),
      b: strides("columns", k, n, shared, 2),
      c: { row: n, batch: [2 * m * n, m * n] },
    });
    assertEquals(kernels, "gemmPack,gemmBlocks");
    assert(error < 2e-5, `error ${error}`);
  }
  pool.close();
});

Deno.test("an epilogue sees every element of C once, when it is finished", () => {
  const m = wasmModule();
  const clear = m.func(
    { params: ["i32", "i32", "i32", "i32", "i32", "i32", "i32"] },
    (f, args, i0, i1, row, rowEnd, column, columnEnd) => {
      const word = (name: keyof typeof gemmWord) => i32.load(args, 4 * gemmWord[name]);
      f.for(row, rowEnd, 1, (i) =>
        f.for(column, columnEnd, 1, (j) => {
          const base = i32.add(word("c"), i32.mul(i1, word("cBatch1")));
          const start = i32.add(base, i32.mul(i0, word("cBatch0")));
          const at = f.let(i32.add(start, i32.add(i32.mul(i, word("cRow")), i32.shl(j, 2))));
          f.store.f32(at, f32.add(f32.load(at), 100));
        }));
    },
  );
  const { pool, check } = setUp(plainTile, m, {
    epilogue: (args, [i0, i1], [row, rowEnd], [column, columnEnd]) =>
      clear(args, i0, i1, row, rowEnd, column, columnEnd),
  });
  for (const [rows, columns, k] of [[3, 20, 30], [20, 20, 5], [150, 100, 70]]) {
    const { z } = check({
      ...{ m: rows, n: columns, k, batch: [1, 2], accumulate: false },
      a: strides("rows", rows, k, false, 2),
      b: strides("columns", k, columns, false, 2),
      c: { row: columns, batch: [0, rows * columns] },
    });
    assert(z.every((value) => value > 80 && value < 120));
  }
  pool.close();
});

Deno.test("the tile is twice as wide where V8 has the flags for it", () => {
  const unchecked = "--no-wasm-bounds-checks", doubled = "--experimental_wasm_revectorize";
  assertEquals(gemmTile(""), plainTile);
  assertEquals(gemmTile(doubled), plainTile);
  assertEquals(gemmTile(`--stack-size=900,${unchecked}`), plainTile);
  assertEquals(gemmTile(`${unchecked},${doubled}`), doubledTile);
});

Deno.test("threads get as many blocks of a large product each", () => {
  for (const threads of [2, 3, 4]) {
    for (const size of [1024, 1500, 2048]) {
      const matrix = { row: size, column: 1, batch: [0, 0] } as const;
      const plan = planGemm({
        ...{ m: size, n: size, k: size, batch: [1, 1], accumulate: false },
        ...{ a: matrix, b: matrix, c: matrix },
      }, { threads, scratchBytes: 2 ** 20 });
      const { kernel, chunks } = plan.jobs.at(-1)!;
      assertEquals([kernel, chunks % threads], ["gemmBlocks", 0], `${size} on ${threads} threads`);
    }
  }
});
