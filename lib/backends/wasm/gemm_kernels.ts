/**
 * Emits the parts of matrix multiplication: packing, the tile on packed panels, the tile that reads
 * its operands where they lie, and dot products for few rows. All strides here are in bytes.
 *
 * @module
 */
import {
  type Expr,
  f32,
  f32x4,
  type Func,
  type FunctionBuilder,
  i32,
  type Local,
  madd,
  type ModuleBuilder,
  type Operand,
  shuffle,
  v128,
} from "./assembler.ts";
import { type GemmTile, plainTile } from "./gemm_tile.ts";

type I32 = Expr<"i32">;
type Params<N extends string> = Record<N, Local<"i32">>;

/** Most rows, and the columns, of a tile that reads A where it lies. */
export const directRows = 5;
export const directColumns = 8;

/** The scratch that tiles at an edge need. */
export const tileScratchBytes = 5 * 32 * 4;

/** Declares a function whose parameters are all i32 and come by name. */
export function i32Function<N extends string>(
  m: ModuleBuilder,
  names: readonly N[],
  body: (f: FunctionBuilder, p: Params<N>) => void,
): (args: Record<N, Operand<"i32">>) => Expr<"void"> {
  const params = names.map(() => "i32" as const);
  const fn: Func<"i32"[]> = m.func({ params }, (f, ...locals) => {
    body(f, Object.fromEntries(names.map((name, i) => [name, locals[i]])) as Params<N>);
  });
  return (args) => fn(...names.map((name) => args[name]));
}

/** a + b × c of addresses. */
export function at(base: Operand<"i32">, index: Operand<"i32">, stride: Operand<"i32">): I32 {
  return i32.add(base, i32.mul(index, stride));
}

/** The next multiple of 4. */
export function roundUp4(x: I32): I32 {
  return i32.and(i32.add(x, 3), -4);
}

function transpose4([a, b, c, d]: readonly Expr<"v128">[], f: FunctionBuilder): Expr<"v128">[] {
  const low = [shuffle(a, b, [0, 4, 1, 5]), shuffle(c, d, [0, 4, 1, 5])].map((x) => f.let(x));
  const high = [shuffle(a, b, [2, 6, 3, 7]), shuffle(c, d, [2, 6, 3, 7])].map((x) => f.let(x));
  return [low, high].flatMap(([x, y]) => [
    shuffle(x, y, [0, 1, 4, 5]),
    shuffle(x, y, [2, 3, 6, 7]),
  ]);
}

const packParams = ["to", "from", "count", "k", "lane", "step"] as const;

/** Packs `count` rows (or columns) `lane` bytes apart, `k` long with elements `step` bytes apart. */
export type Pack = (args: Record<typeof packParams[number], Operand<"i32">>) => Expr<"void">;

/** The first of every four lanes; the last four overlap others, where the width is no multiple of 4. */
function fours(width: number): number[] {
  return Array.from({ length: Math.ceil(width / 4) }, (_, i) => Math.min(4 * i, width - 4));
}

/** How many strips are packed at a time where their lanes lie side by side: some cache lines. */
const stripsAtOnce = 2;

/**
 * Emits the packing into strips of `width` lanes, rows of A or columns of B. A strip holds, for every
 * step of k, `width` floats; k is filled up to a multiple of four with zeros, and so is `count`.
 */
export function emitPack(m: ModuleBuilder, width: number): Pack {
  const groups = fours(width);
  const copies = [stripsAtOnce, 1].map((strips) =>
    [strips, emitCopySteps(m, width, strips)] as const
  );
  const strip = i32Function(m, packParams, (f, { to, from, count, k, lane, step }) => {
    const lanes = Array.from({ length: width }, (_, i) => f.let(at(from, i, lane)));
    const advance = () => {
      const bytes = f.let(i32.shl(step, 2));
      lanes.forEach((address) => f.set(address, i32.add(address, bytes)));
      f.set(to, i32.add(to, 16 * width));
      f.set(k, i32.sub(k, 4));
    };
    f.if(i32.and(i32.eq(count, width), i32.eq(step, 4)), () =>
      f.while(i32.geS(k, 4), () => {
        for (const group of groups) {
          const four = lanes.slice(group, group + 4).map((x) => f.let(v128.load(x)));
          transpose4(four, f).forEach((x, j) => f.store.v128(to, x, 4 * (width * j + group)));
        }
        advance();
      }));
    f.while(i32.gtS(k, 0), () => {
      for (let i = 0; i < width; i++) {
        for (let j = 0; j < 4; j++) {
          const offset = 4 * (width * j + i);
          f.store.i32(to, 0, offset);
          f.if(i32.and(i32.gtS(count, i), i32.gtS(k, j)), () => {
            f.store.f32(to, f32.load(at(lanes[i], j, step)), offset);
          });
        }
      }
      advance();
    });
  });
  return i32Function(m, packParams, (f, { to, from, count, k, lane, step }) => {
    const stripBytes = f.let(i32.mul(roundUp4(k), 4 * width));
    const advance = (strips: number) => {
      f.set(to, at(to, strips, stripBytes));
      f.set(from, at(from, strips * width, lane));
      f.set(count, i32.sub(count, strips * width));
    };
    f.if(i32.eq(lane, 4), () => {
      for (const [strips, copy] of copies) {
        f.while(i32.geS(count, strips * width), () => {
          f.do(copy({ to, from, k, step, stripBytes }));
          advance(strips);
        });
      }
    });
    f.while(i32.gtS(count, 0), () => {
      f.do(strip({ to, from, count: i32.minU(count, width), k, lane, step }));
      advance(1);
    });
  });
}

/** Emits the packing of whole strips whose lanes lie side by side, a step of k after the other. */
function emitCopySteps(m: ModuleBuilder, width: number, strips: number) {
  const groups = fours(width);
  return i32Function(m, ["to", "from", "k", "step", "stripBytes"], (f, p) => {
    const { from, k, step } = p;
    const tos = Array.from({ length: strips }, (_, i) => f.let(at(p.to, i, p.stripBytes)));
    const end = f.let(i32.add(p.to, p.stripBytes));
    const write = (value: (lane: number) => Expr<"v128">) => {
      tos.forEach((to, strip) => {
        for (const lane of groups) f.store.v128(to, value(width * strip + lane), 4 * lane);
        f.set(to, i32.add(to, 4 * width));
      });
    };
    f.while(i32.gtS(k, 0), () => {
      write((lane) => v128.load(from, 4 * lane));
      f.set(from, i32.add(from, step));
      f.set(k, i32.sub(k, 1));
    });
    f.while(i32.ltU(tos[0], end), () => write(() => f32x4.const(0, 0, 0, 0)));
  });
}

/** Sums of a tile: rows × vectors, set to zero. */
function emitSums(f: FunctionBuilder, rows: number, vectors: number): Local<"v128">[][] {
  return Array.from({ length: rows }, () => {
    return Array.from({ length: vectors }, () => f.let(f32x4.const(0, 0, 0, 0)));
  });
}

/** Adds a[row] × b to every row of sums, given one step of k. */
function emitStep(
  f: FunctionBuilder,
  sums: Local<"v128">[][],
  a: (row: number) => Expr<"v128">,
  b: Expr<"v128">[],
) {
  const bs = b.map((x) => f.let(x));
  sums.forEach((row, r) => {
    const x = f.let(a(r));
    row.forEach((sum, j) => f.set(sum, madd(x, bs[j], sum)));
  });
}

/** Writes (or adds) sums to C: whole, or by way of the scratch where the tile is cut off. */
function emitStoreTile(
  f: FunctionBuilder,
  sums: Local<"v128">[][],
  { c, cRow, columns, accumulate, scratch }: Params<
    "c" | "cRow" | "columns" | "accumulate" | "scratch"
  >,
  rows: Operand<"i32"> = sums.length,
) {
  const width = sums[0].length * 4;
  const isWhole = i32.and(i32.eq(columns, width), i32.eq(rows, sums.length));
  const writeRows = (add: boolean) => {
    sums.forEach((row, r) => {
      const to = f.let(at(c, r, cRow));
      row.forEach((sum, j) => {
        f.store.v128(to, add ? f32x4.add(sum, v128.load(to, 16 * j)) : sum, 16 * j);
      });
    });
  };
  f.if(isWhole, () => f.if(accumulate, () => writeRows(true), () => writeRows(false)), () => {
    sums.flat().forEach((sum, j) => f.store.v128(scratch, sum, 16 * j));
    f.for(0, rows, 1, (r) => {
      const from = f.let(at(scratch, r, width * 4));
      const to = f.let(at(c, r, cRow));
      f.for(0, i32.shl(columns, 2), 4, (j) => {
        const value = f.let(f32.load(i32.add(from, j)));
        const target = f.let(i32.add(to, j));
        f.if(accumulate, () => f.set(value, f32.add(value, f32.load(target))));
        f.store.f32(target, value);
      });
    });
  });
}

/**
 * Emits C[rows, columns] (+)= A · B for one strip of packed A and one of packed B, `k` padded to
 * a multiple of 4.
 */
export function emitPackedTile(m: ModuleBuilder, tile: GemmTile) {
  const emitSteps = tile === plainTile ? emitRotatedSteps : emitSplatSteps;
  return i32Function(
    m,
    ["a", "b", "k", "c", "cRow", "rows", "columns", "accumulate", "scratch"],
    (f, p) => emitStoreTile(f, emitSteps(f, p, tile), p, p.rows),
  );
}

/** Goes through packed panels of A and B, four steps of k at a time. */
function emitFourSteps(
  f: FunctionBuilder,
  { a, b, k }: Params<"a" | "b" | "k">,
  { rows, columns }: GemmTile,
  step: (aOffset: number, b: Expr<"v128">[]) => void,
) {
  f.while(i32.gtS(k, 0), () => {
    for (let j = 0; j < 4; j++) {
      const vectors = Array.from({ length: columns / 4 }, (_, i) => 4 * columns * j + 16 * i);
      step(4 * rows * j, vectors.map((offset) => f.let(v128.load(b, offset))));
    }
    f.set(a, i32.add(a, 16 * rows));
    f.set(b, i32.add(b, 16 * columns));
    f.set(k, i32.sub(k, 4));
  });
}

/** Sums of a tile: each value of A is loaded into all lanes, and multiplied with vectors of B. */
function emitSplatSteps(f: FunctionBuilder, p: Params<"a" | "b" | "k">, tile: GemmTile) {
  const sums = emitSums(f, tile.rows, tile.columns / 4);
  emitFourSteps(f, p, tile, (offset, b) => {
    emitStep(f, sums, (row) => v128.load32Splat(p.a, offset + 4 * row), b);
  });
  return sums;
}

/**
 * Sums of 6 × 8 with four loads a step instead of eight, for hosts that check the bounds of each: a
 * vector of four rows of A, and one of two rows twice, are rotated by a lane and multiplied with
 * vectors of B. The sums of row r + l, modulo the rows of a vector, are then in lane l of its r-th
 * rotation; blends put them in order in the end.
 */
function emitRotatedSteps(f: FunctionBuilder, p: Params<"a" | "b" | "k">, tile: GemmTile) {
  const rotations = emitSums(f, tile.rows, tile.columns / 4);
  const [four, two] = [rotations.slice(0, 4), rotations.slice(4)];
  emitFourSteps(f, p, tile, (offset, b) => {
    const addRotated = (vector: Local<"v128">, sums: Local<"v128">[][]) => {
      sums.forEach((row, r) => {
        if (r > 0) f.set(vector, shuffle(vector, vector, [1, 2, 3, 0]));
        row.forEach((sum, j) => f.set(sum, madd(vector, b[j], sum)));
      });
    };
    addRotated(f.let(v128.load(p.a, offset)), four); // one at a time: there are 15 registers
    addRotated(f.let(v128.load64Splat(p.a, offset + 16)), two);
  });
  const odd = [0, 5, 2, 7] as const;
  const columns = rotations[0].map((_, j) => {
    const [s0, s1, s2, s3] = four.map((row) => row[j]);
    const halves = [[s0, s2], [s1, s3], [s2, s0], [s3, s1]].map(([low, high]) =>
      f.let(shuffle(low, high, [0, 1, 6, 7]))
    );
    const pairs = two.map((row) => row[j]);
    return [halves, pairs].flatMap((rows) =>
      rows.map((row, i) => f.let(shuffle(row, rows.at(i - 1)!, odd)))
    );
  });
  return rotations.map((_, row) => columns.map((column) => column[row]));
}

const directParams = ["a", "aRow", "aStep", "b", "bStep", "k"] as const;
const outputParams = ["c", "cRow", "columns", "accumulate", "scratch"] as const;

/** Emits the tile of `rows` × 4 `vectors` that reads A by its strides, and rows of B in place. */
function emitDirectTile(m: ModuleBuilder, rows: number, vectors: number) {
  return i32Function(m, [...directParams, ...outputParams], (f, p) => {
    const { a, aRow, aStep, b, bStep, k } = p;
    const sums = emitSums(f, rows, vectors);
    const as = Array.from({ length: rows }, (_, r) => f.let(at(a, r, aRow)));
    const step = (j: number) => {
      const bs = Array.from({ length: vectors }, (_, i) => v128.load(b, 16 * i));
      emitStep(f, sums, (r) => v128.load32Splat(as[r], 4 * j), bs);
      f.set(b, i32.add(b, bStep));
    };
    const advance = (steps: number, bytes: Operand<"i32">) => {
      as.forEach((address) => f.set(address, i32.add(address, bytes)));
      f.set(k, i32.sub(k, steps));
    };
    f.if(i32.eq(aStep, 4), () =>
      f.while(i32.geS(k, 4), () => {
        for (let j = 0; j < 4; j++) step(j);
        advance(4, 16);
      }));
    f.while(i32.gtS(k, 0), () => {
      step(0);
      advance(1, aStep);
    });
    emitStoreTile(f, sums, p);
  });
}

/**
 * Emits C[m, n] (+)= A · B without packing A. Panels of eight columns of B lie `bPanel` bytes apart
 * (32 if B's columns are contiguous), and their rows `bStep` bytes.
 */
export function emitDirectGemm(m: ModuleBuilder) {
  const tiles = Array.from(
    { length: directRows },
    (_, i) => emitDirectTile(m, i + 1, directColumns / 4),
  );
  // One or two rows wait for B, of which they read whole cache lines.
  const wideTiles = ([[1, 8], [2, 4]] as const).map(([rows, vectors]) => {
    return { rows, width: 4 * vectors, tile: emitDirectTile(m, rows, vectors) };
  });
  return i32Function(
    m,
    [
      "a",
      "aRow",
      "aStep",
      "b",
      "bPanel",
      "bStep",
      "c",
      "cRow",
      "m",
      "n",
      "k",
      "accumulate",
      "scratch",
    ],
    (f, p) => {
      const { a, aRow, aStep, bStep, cRow, k, accumulate, scratch } = p;
      const common = { aRow, aStep, bStep, k, cRow, accumulate, scratch };
      const column = f.local("i32");
      for (const { rows, width, tile } of wideTiles) {
        f.if(
          i32.and(i32.eq(p.m, rows), i32.eq(p.bPanel, 4 * directColumns)),
          () =>
            f.while(i32.leU(i32.add(column, width), p.n), () => {
              const [b, c] = [p.b, p.c].map((base) => at(base, column, 4));
              f.do(tile({ ...common, a, b, c, columns: width }));
              f.set(column, i32.add(column, width));
            }),
        );
      }
      const strips = i32.divU(i32.add(p.m, directRows - 1), directRows);
      const stripRows = f.let(i32.divU(i32.sub(i32.add(p.m, strips), 1), strips));
      f.while(i32.ltU(column, p.n), () => {
        const b = f.let(at(p.b, i32.shrU(column, 3), p.bPanel));
        const columns = f.let(i32.minU(i32.sub(p.n, column), directColumns));
        f.for(0, p.m, stripRows, (row) => {
          const rows = f.let(i32.minU(i32.sub(p.m, row), stripRows));
          const c = i32.add(at(p.c, row, cRow), i32.shl(column, 2));
          const args = { ...common, a: at(a, row, aRow), b, c, columns };
          f.block((done) => {
            for (const tile of tiles.toReversed()) {
              f.if(i32.eq(rows, tiles.indexOf(tile) + 1), () => {
                f.do(tile(args));
                f.br(done);
              });
            }
          });
        });
        f.set(column, i32.add(column, directColumns));
      });
    },
  );
}

/** Emits `rows` × `columns` dot products over contiguous k. */
function emitDotTile(m: ModuleBuilder, rows: number, columns: 1 | 4) {
  return i32Function(m, ["a", "aRow", "b", "bColumn", "k", "c", "cRow", "accumulate"], (f, p) => {
    const sums = emitSums(f, rows, columns);
    const as = Array.from({ length: rows }, (_, r) => f.let(at(p.a, r, p.aRow)));
    const bs = Array.from({ length: columns }, (_, j) => f.let(at(p.b, j, p.bColumn)));
    const left = f.let(p.k);
    const advance = (elements: number) => {
      [...as, ...bs].forEach((address) => f.set(address, i32.add(address, 4 * elements)));
      f.set(left, i32.sub(left, elements));
    };
    f.while(i32.geS(left, 4), () => {
      emitStep(f, sums, (r) => v128.load(as[r]), bs.map((x) => v128.load(x)));
      advance(4);
    });
    f.while(i32.gtS(left, 0), () => {
      emitStep(f, sums, (r) => v128.load32Zero(as[r]), bs.map((x) => v128.load32Zero(x)));
      advance(1);
    });
    sums.forEach((row, r) => {
      const to = f.let(at(p.c, r, p.cRow));
      if (columns === 4) {
        const [x, y, z, w] = transpose4(row, f);
        const total = f.let(f32x4.add(f32x4.add(x, y), f32x4.add(z, w)));
        f.if(p.accumulate, () => f.set(total, f32x4.add(total, v128.load(to))));
        f.store.v128(to, total);
      } else {
        const lane = (i: number) => f32x4.lane(row[0], i);
        const total = f.let(f32.add(f32.add(lane(0), lane(1)), f32.add(lane(2), lane(3))));
        f.if(p.accumulate, () => f.set(total, f32.add(total, f32.load(to))));
        f.store.f32(to, total);
      }
    });
  });
}

/** Emits C[m, n] (+)= A · B for few rows, where both run along k in memory. */
export function emitDotGemm(m: ModuleBuilder) {
  const tile = [1, 2].map((rows) => {
    return { 1: emitDotTile(m, rows, 1), 4: emitDotTile(m, rows, 4) };
  });
  const names = ["a", "aRow", "b", "bColumn", "k", "c", "cRow", "accumulate", "m", "n"] as const;
  return i32Function(m, names, (f, p) => {
    const { aRow, bColumn, k, cRow, accumulate } = p;
    const rowsFrom = (column: I32, columns: 1 | 4) => {
      const at_ = (row: I32) => ({
        ...{ aRow, bColumn, k, cRow, accumulate },
        a: at(p.a, row, aRow),
        b: at(p.b, column, bColumn),
        c: i32.add(at(p.c, row, cRow), i32.shl(column, 2)),
      });
      const pairs = i32.and(p.m, -2);
      f.for(0, pairs, 2, (row) => f.do(tile[1][columns](at_(row))));
      f.if(i32.and(p.m, 1), () => f.do(tile[0][columns](at_(pairs))));
    };
    const groups = f.let(i32.and(p.n, -4));
    f.for(0, groups, 4, (column) => rowsFrom(column, 4));
    f.for(groups, p.n, 1, (column) => rowsFrom(column, 1));
  });
}
