/**
 * Matrix multiplication C = A · B (or C += A · B) of any strides, over batches and threads; blocks of
 * C may come from a library.
 *
 * @module
 */
import {
  type Expr,
  type FunctionBuilder,
  i32,
  type Local,
  type ModuleBuilder,
  type Operand,
  select,
} from "./assembler.ts";
import { blasOrder, isForBlas } from "./blas.ts";
import {
  at,
  directColumns,
  directRows,
  emitDirectGemm,
  emitDotGemm,
  emitPack,
  emitPackedTile,
  roundUp4,
  tileScratchBytes,
} from "./gemm_kernels.ts";
import { type GemmTile, plainTile } from "./gemm_tile.ts";

/**
 * How many tiles of rows, and columns, are worked on at a time: so many rows of A stay in the second
 * cache. C is gone over once for every block of k.
 */
const blockTiles = 32;
const blockColumns = 2048;

/** Sizes and strides, in elements, of a batched product; the batch has two dimensions. */
export interface GemmShape {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly batch: readonly [number, number];
  readonly a: { row: number; column: number; batch: readonly [number, number] };
  readonly b: { row: number; column: number; batch: readonly [number, number] };
  /** The columns of C are contiguous. */
  readonly c: { row: number; batch: readonly [number, number] };
  /** Whether the product is added to what C holds. */
  readonly accumulate: boolean;
}

/** The names of the 32-bit words of a job's arguments, in their order. */
const fields = [
  ...["a", "b", "c", "workspace"] as const,
  ...["m", "n", "k", "batch0", "batch1", "accumulate"] as const,
  ...["aRow", "aColumn", "aBatch0", "aBatch1"] as const,
  ...["bRow", "bColumn", "bBatch0", "bBatch1"] as const,
  ...["cRow", "cBatch0", "cBatch1"] as const,
  ...["rowUnit", "rowBlocks", "columnUnit", "columnBlocks"] as const,
  ...["packs", "packBlocks", "libraryThreads"] as const,
];
type Field = typeof fields[number];

/** The word of each field; the first four are the addresses that a plan leaves open. */
export const gemmWord = Object.fromEntries(fields.map((name, i) => [name, i])) as Record<
  Field,
  number
>;

/** The number of words before those that an epilogue may use. */
export const gemmWords: number = fields.length;

/** The least common multiple of two numbers. */
export function leastCommonMultiple(a: number, b: number): number {
  let [x, y] = [a, b];
  while (y) [x, y] = [y, x % y];
  return a / x * b;
}

/** The kernels of `emitGemm`. */
export type GemmKernel = "gemmPack" | "gemmBlocks" | "gemmDirect" | "gemmDot" | "gemmBlas";

/** How to do a product: the jobs to run in order, all with the same arguments. */
export interface GemmPlan {
  /** The arguments; `a`, `b`, `c` and `workspace` are addresses to fill in. */
  readonly words: Int32Array;
  /** The size of the block that `workspace` must point to. */
  readonly workspaceBytes: number;
  readonly jobs: readonly { kernel: GemmKernel; chunks: number }[];
}

/**
 * What follows on a finished block of C: it gets the arguments, the batch's two indices, and the
 * range of rows and columns.
 */
export type Epilogue = (
  args: Local<"i32">,
  batch: readonly [Expr<"i32">, Expr<"i32">],
  rows: readonly [Expr<"i32">, Expr<"i32">],
  columns: readonly [Expr<"i32">, Expr<"i32">],
) => Expr<"void">;

/** Adds the functions that kernels of matrix multiplication call. */
export function emitGemmParts(m: ModuleBuilder, tile: GemmTile) {
  const packB = emitPack(m, tile.columns);
  return {
    packA: emitPack(m, tile.rows),
    packB,
    packDirect: tile.columns === directColumns ? packB : emitPack(m, directColumns),
    tile: emitPackedTile(m, tile),
    direct: emitDirectGemm(m),
    dot: emitDotGemm(m),
  };
}

/**
 * Adds the kernels of matrix multiplication to a module, and exports them by the names of
 * `GemmKernel` with a suffix.
 *
 * @param m the module
 * @param options `tile`; `epilogue`: makes the call that ends every block of C; `suffix`; `parts`, if
 *   the module has them already
 */
export function emitGemm(
  m: ModuleBuilder,
  { tile: size = plainTile, epilogue, suffix = "", parts = emitGemmParts(m, size) }: {
    tile?: GemmTile;
    epilogue?: Epilogue;
    suffix?: string;
    parts?: ReturnType<typeof emitGemmParts>;
  } = {},
): void {
  const { packA, packB, packDirect, tile, direct, dot } = parts;
  const { rows: tileRows, columns: tileColumns, depth: blockK } = size;
  const params = ["i32", "i32", "i32"] as const;
  const arg = (args: Expr<"i32">, name: Field) => i32.load(args, 4 * gemmWord[name]);
  /** The start and the size of a block of those that `total` is cut into, as `Cut` says. */
  const blockOf = (
    f: FunctionBuilder,
    index: Expr<"i32">,
    blocks: Expr<"i32">,
    unit: Operand<"i32">,
    total: Expr<"i32">,
  ) => {
    const units = f.let(i32.divU(i32.sub(i32.add(total, unit), 1), unit));
    const fewest = f.let(i32.divU(units, blocks));
    const larger = f.let(i32.remU(units, blocks));
    const edge = (block: Expr<"i32">) => {
      const before = i32.add(i32.mul(block, fewest), i32.minU(block, larger));
      return f.let(i32.minU(total, i32.mul(before, unit)));
    };
    const start = edge(index);
    return [start, f.let(i32.sub(edge(i32.add(index, 1)), start))] as const;
  };

  m.func({ params, export: `gemmPack${suffix}` }, (f, args, chunk) => {
    const [n, k, bRow, bColumn, batch1] = [
      ...["n", "k", "bRow", "bColumn", "batch1"] as const,
    ].map((name) => f.let(arg(args, name)));
    const blocks = f.let(arg(args, "packBlocks"));
    const kBlocks = f.let(i32.divU(i32.add(k, blockK - 1), blockK));
    const [column, columns] = blockOf(f, f.let(i32.remU(chunk, blocks)), blocks, tileColumns, n);
    f.set(chunk, i32.divU(chunk, blocks));
    const step = f.let(i32.mul(i32.remU(chunk, kBlocks), blockK));
    const batch = f.let(i32.divU(chunk, kBlocks));
    const [i0, i1] = [i32.divU(batch, batch1), i32.remU(batch, batch1)];
    const from = [
      [i0, arg(args, "bBatch0")],
      [i1, arg(args, "bBatch1")],
      [step, bRow],
      [column, bColumn],
    ].reduce((address, [index, stride]) => at(address, index, stride), arg(args, "b"));
    const depth = f.let(i32.minU(i32.sub(k, step), blockK));
    f.do(packB({
      to: packedAt(tileColumns, arg(args, "workspace"), batch, step, column, depth, n, k),
      from,
      count: columns,
      k: depth,
      lane: bColumn,
      step: bRow,
    }));
  });

  /** The parts of a job that compute blocks of C; one chunk is a block, of one batch. */
  const blockKernel = (
    name: GemmKernel,
    body: (block: {
      f: FunctionBuilder;
      args: Local<"i32">;
      scratch: Local<"i32">;
      batch: Local<"i32">;
      a: Local<"i32">;
      b: Expr<"i32">;
      c: Local<"i32">;
      row: Local<"i32">;
      column: Local<"i32">;
      rows: Local<"i32">;
      columns: Local<"i32">;
    }) => void,
  ) =>
    m.func({ params, export: `${name}${suffix}` }, (f, args, chunk, scratch) => {
      const split = (blocks: Field) => {
        const count = f.let(arg(args, blocks));
        const index = f.let(i32.remU(chunk, count));
        f.set(chunk, i32.divU(chunk, count));
        return index;
      };
      const blockAlong = (side: "row" | "column", total: "m" | "n") => {
        const blocks = f.let(arg(args, `${side}Blocks`));
        return blockOf(
          f,
          split(`${side}Blocks`),
          blocks,
          f.let(arg(args, `${side}Unit`)),
          arg(args, total),
        );
      };
      const [row, rows] = blockAlong("row", "m");
      const [column, columns] = blockAlong("column", "n");
      const batch = f.let(chunk);
      const i1 = split("batch1");
      const i0 = chunk;
      const base = (operand: "a" | "b" | "c") =>
        at(
          at(arg(args, operand), i0, arg(args, `${operand}Batch0`)),
          i1,
          arg(args, `${operand}Batch1`),
        );
      const a = f.let(at(base("a"), row, arg(args, "aRow")));
      const c = f.let(at(at(base("c"), row, arg(args, "cRow")), column, 4));
      body({ f, args, scratch, batch, a, b: base("b"), c, row, column, rows, columns });
      if (epilogue) {
        const end = (start: Expr<"i32">, count: Expr<"i32">) => i32.add(start, count);
        f.do(epilogue(args, [i0, i1], [row, end(row, rows)], [column, end(column, columns)]));
      }
    });

  blockKernel("gemmBlocks", ({ f, args, scratch, batch, a, c, column, rows, columns }) => {
    const [n, k, aRow, aColumn, cRow, accumulate] = [
      ...["n", "k", "aRow", "aColumn", "cRow", "accumulate"] as const,
    ].map((name) => f.let(arg(args, name)));
    const packed = f.let(i32.add(scratch, tileScratchBytes));
    const bBatch = f.let(i32.mul(batch, i32.gtU(arg(args, "packs"), 1)));
    f.for(0, k, blockK, (step) => {
      const depth = f.let(i32.minU(i32.sub(k, step), blockK));
      const padded = f.let(roundUp4(depth));
      f.do(packA({ to: packed, from: a, count: rows, k: depth, lane: aRow, step: aColumn }));
      const b = f.let(
        packedAt(tileColumns, arg(args, "workspace"), bBatch, step, column, depth, n, k),
      );
      f.for(0, columns, tileColumns, (j) => {
        const strip = f.let(packed);
        const to = f.let(at(c, j, 4));
        f.for(0, rows, tileRows, (i) => {
          f.do(tile({
            ...{ a: strip, b, k: padded, c: to, cRow, accumulate, scratch },
            rows: i32.minU(i32.sub(rows, i), tileRows),
            columns: i32.minU(i32.sub(columns, j), tileColumns),
          }));
          f.set(strip, at(strip, padded, 4 * tileRows));
          f.set(to, at(to, cRow, tileRows));
        });
        f.set(b, at(b, padded, 4 * tileColumns));
      });
      f.set(a, at(a, aColumn, blockK));
      f.set(accumulate, 1);
    });
  });

  blockKernel("gemmDirect", ({ f, args, scratch, a, b: base, c, column, rows, columns }) => {
    const [k, bRow, bColumn] = [
      ...["k", "bRow", "bColumn"] as const,
    ].map((name) => f.let(arg(args, name)));
    const b = f.let(at(base, column, bColumn));
    const bPanel = f.let(i32.const(4 * directColumns));
    const bStep = f.let(bRow);
    f.if(arg(args, "packs"), () => {
      const to = f.let(i32.add(scratch, tileScratchBytes));
      f.do(packDirect({ to, from: b, count: columns, k, lane: bColumn, step: bRow }));
      f.set(b, to);
      f.set(bPanel, i32.mul(roundUp4(k), 4 * directColumns));
      f.set(bStep, i32.const(4 * directColumns));
    });
    f.do(direct({
      ...{ a, b, bPanel, bStep, c, k, scratch, m: rows, n: columns },
      aRow: arg(args, "aRow"),
      aStep: arg(args, "aColumn"),
      cRow: arg(args, "cRow"),
      accumulate: arg(args, "accumulate"),
    }));
  });

  const { sgemm } = m.imports;
  if (sgemm) {
    blockKernel("gemmBlas", ({ f, args, a, b, c, column, rows, columns }) => {
      const ordered = (row: Field, column: Field) => {
        const [rowBytes, columnBytes] = [f.let(arg(args, row)), f.let(arg(args, column))];
        const isPlain = f.let(i32.eq(columnBytes, 4));
        const leading = i32.shrU(select(isPlain, rowBytes, columnBytes), 2);
        return [
          select(isPlain, i32.const(blasOrder.plain), i32.const(blasOrder.transposed)),
          leading,
        ] as const;
      };
      const [orderA, leadingA] = ordered("aRow", "aColumn");
      const [orderB, leadingB] = ordered("bRow", "bColumn");
      const from = at(b, column, arg(args, "bColumn"));
      const leadingC = i32.shrU(arg(args, "cRow"), 2);
      f.do(sgemm(
        ...[orderA, orderB, rows, columns, arg(args, "k"), a, leadingA, from, leadingB],
        ...[arg(args, "accumulate"), c, leadingC, arg(args, "libraryThreads")],
      ));
    });
  }

  blockKernel("gemmDot", ({ f, args, a, b, c, column, rows, columns }) => {
    const bColumn = f.let(arg(args, "bColumn"));
    f.do(dot({
      ...{ a, bColumn, c, m: rows, n: columns },
      b: at(b, column, bColumn),
      aRow: arg(args, "aRow"),
      k: arg(args, "k"),
      cRow: arg(args, "cRow"),
      accumulate: arg(args, "accumulate"),
    }));
  });
}

/** Where the panel of a column lies in the packed B: by batch, by block of k, by panel. */
function packedAt(
  tileColumns: number,
  workspace: Expr<"i32">,
  batch: Operand<"i32">,
  step: Expr<"i32">,
  column: Expr<"i32">,
  depth: Expr<"i32">,
  n: Expr<"i32">,
  k: Expr<"i32">,
): Expr<"i32"> {
  const rowBytes = i32.shl(i32.and(i32.add(n, tileColumns - 1), -tileColumns), 2);
  const block = at(at(workspace, batch, i32.mul(roundUp4(k), rowBytes)), step, rowBytes);
  return at(block, i32.mul(column, 4), roundUp4(depth));
}

/** Rows or columns in blocks that are as even as can be, each a number of units but for the last. */
interface Cut {
  readonly unit: number;
  readonly blocks: number;
}

/** Cuts `total` into about `parts` blocks of at most `most`. */
function cut(total: number, parts: number, unit: number, most = Infinity): Cut {
  const units = Math.ceil(total / unit);
  const size = Math.min(Math.ceil(units / Math.max(1, parts)), Math.floor(most / unit));
  return { unit, blocks: Math.ceil(units / Math.max(1, size)) };
}

/**
 * Chooses how to do a product.
 *
 * @param shape sizes and strides
 * @param host the number of threads, the scratch space that each has, the tile of the kernels, and
 *   whether there is a library
 * @param epilogue what follows on every block: blocks of columns begin at multiples of its granule
 * @returns the plan
 */
export function planGemm(
  shape: GemmShape,
  { threads, scratchBytes, tile = plainTile, blas = false }: {
    threads: number;
    scratchBytes: number;
    tile?: GemmTile;
    blas?: boolean;
  },
  epilogue?: { readonly granule: number },
): GemmPlan {
  const { m, n, k, a, b, c } = shape;
  const { rows: tileRows, columns: tileColumns, depth: blockK } = tile;
  const blockRows = blockTiles * tileRows;
  const batches = shape.batch[0] * shape.batch[1];
  const paddedK = Math.ceil(k / 4) * 4;
  const paddedN = Math.ceil(n / tileColumns) * tileColumns;
  const wanted = 4 * threads;
  const granule = epilogue?.granule ?? 1;

  const plan = (
    kernel: GemmKernel,
    rows: Cut,
    columns: Cut,
    packs: number,
    libraryThreads = 1,
  ): GemmPlan => {
    const isPacked = kernel === "gemmBlocks";
    const kBlocks = Math.ceil(k / blockK);
    const packBlocks = cut(n, wanted / packs / kBlocks, tileColumns, blockColumns).blocks;
    const values: Partial<Record<Field, number>> = {
      ...{ m, n, k, packs, packBlocks, libraryThreads },
      ...{ rowUnit: rows.unit, rowBlocks: rows.blocks },
      ...{ columnUnit: columns.unit, columnBlocks: columns.blocks },
      ...{ batch0: shape.batch[0], batch1: shape.batch[1], accumulate: Number(shape.accumulate) },
      ...{ aRow: 4 * a.row, aColumn: 4 * a.column, bRow: 4 * b.row, bColumn: 4 * b.column },
      ...{ aBatch0: 4 * a.batch[0], aBatch1: 4 * a.batch[1] },
      ...{ bBatch0: 4 * b.batch[0], bBatch1: 4 * b.batch[1] },
      ...{ cRow: 4 * c.row, cBatch0: 4 * c.batch[0], cBatch1: 4 * c.batch[1] },
    };
    const job = { kernel, chunks: batches * rows.blocks * columns.blocks };
    const packChunks = packs * kBlocks * packBlocks;
    return {
      words: Int32Array.from(fields, (name) => values[name] ?? 0),
      workspaceBytes: isPacked ? packs * paddedK * paddedN * 4 : 0,
      jobs: isPacked ? [{ kernel: "gemmPack", chunks: packChunks }, job] : [job],
    };
  };
  const columnStep = leastCommonMultiple(tileColumns, granule);
  const whole = { rows: cut(m, 1, m), columns: cut(n, 1, n) };

  if (blas && isForBlas(shape)) {
    // Threads of the library's own share what they pack.
    if (!epilogue && batches === 1 && m * n * k >= 2 ** 26) {
      return plan("gemmBlas", whole.rows, whole.columns, 0, threads);
    }
    // The library packs A and B anew for every block: these are few, as square as can be, and more
    // than the threads only where they stay large.
    const most = Math.min(2 * threads, Math.max(threads, m * n * batches / 2 ** 16));
    const parts = Math.min(most / batches, m * n * k / 2 ** 20);
    const rowParts = Math.min(Math.sqrt(parts * m / n), parts);
    const rows = cut(m, Math.round(rowParts + 0.1), 16); // rather by rows, where two are alike
    const columns = cut(n, Math.round(parts / rows.blocks), leastCommonMultiple(16, granule));
    return plan("gemmBlas", rows, columns, 0);
  }
  const isSmall = m * n * k * batches < 2 ** 16;
  const parts = isSmall ? 1 : Math.ceil(wanted / batches);
  // Sums of lanes at the end cost as much as some steps of k, packing B as much as some rows.
  if (m <= (k < 64 ? 4 : 16) && b.row === 1 && a.column === 1 && k >= 16) {
    return plan("gemmDot", whole.rows, cut(n, parts, columnStep), 0);
  }
  const scratchColumns = Math.floor((scratchBytes - tileScratchBytes) / (paddedK * 32)) * 8;
  const inPlace = b.column === 1 && (m <= 2 * directRows || n * k <= 2 ** 11);
  const fits = scratchColumns >= Math.min(paddedN, Math.max(64, columnStep));
  // Tiles that read A in place save its packing; but rows that are multiples of 2 KiB apart fall on
  // the same lines of the first cache, and push each other out.
  const fallTogether = a.row > 0 && a.row % 512 === 0;
  const mostRows = a.column !== 1 ? 32 : fallTogether ? 2 ** 14 / a.row : 256;
  const isSlight = m <= mostRows || n <= 2 * directColumns || m * n * k < 64 ** 3;
  if (inPlace || (fits && isSlight)) {
    const byRows = inPlace && m >= 64;
    const rows = byRows ? cut(m, parts, directRows) : whole.rows;
    const columnParts = byRows ? 1 : epilogue ? parts / 4 : parts; // an epilogue goes along rows
    const columns = cut(n, columnParts, columnStep, inPlace ? Infinity : scratchColumns);
    return plan("gemmDirect", rows, columns, inPlace ? 0 : 1);
  }
  // As many blocks for every thread: the last that one works on keeps all the others waiting.
  const rowParts = Math.ceil(Math.max(parts, m / blockRows) / threads) * threads;
  const rows = cut(m, rowParts, tileRows, blockRows);
  const columns = cut(n, Math.ceil(parts / rows.blocks), columnStep, blockColumns);
  const isShared = b.batch.every((stride, i) => stride === 0 || shape.batch[i] === 1);
  return plan("gemmBlocks", rows, columns, isShared ? 1 : batches);
}
