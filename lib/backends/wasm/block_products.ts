/**
 * Matrix products of blocks that one thread computes within a larger kernel, on its own scratch.
 *
 * @module
 */
import { type Expr, i32, type ModuleBuilder, type Operand } from "./assembler.ts";
import {
  at,
  directColumns,
  emitDirectGemm,
  emitDotGemm,
  emitPack,
  emitPackedTile,
  i32Function,
  type Pack,
  roundUp4,
  tileScratchBytes,
} from "./gemm_kernels.ts";
import { plainTile } from "./gemm_tile.ts";
import type { WasmProgram } from "./program.ts";

const productParams = [
  ...["a", "aRow", "aStep", "b", "bPanel", "c", "cRow", "m", "n", "k"] as const,
  ...["accumulate", "scratch"] as const,
];

/**
 * C[m, n] (+)= A[m, k] · B[k, n], with B packed. Strides are in bytes: those of A by row and by step
 * of k; `bPanel` from one panel of eight columns of B to the next.
 */
export type BlockProduct = (
  args: Record<typeof productParams[number], Operand<"i32">>,
) => Expr<"void">;

/** The parts of products. */
export interface BlockProducts {
  /** Packs B: `count` columns that are `lane` bytes apart, k steps that are `step` bytes apart. */
  readonly packB: Pack;
  /** Reads A where it lies: for rows that are contiguous. Scratch: `directScratchBytes`. */
  readonly direct: BlockProduct;
  /** The same with B where it lies, its columns contiguous: for few rows. `bStep` is from row to row. */
  readonly inPlace: (
    args: Omit<Parameters<BlockProduct>[0], "bPanel"> & { bStep: Operand<"i32"> },
  ) => Expr<"void">;
  /** A and B where they lie, both along k: for few rows. `bColumn` is from column to column. */
  readonly dots: ReturnType<typeof emitDotGemm>;
  /** Packs A first: for columns that are contiguous. Scratch: `packedScratchBytes(m, k)`. */
  readonly packed: BlockProduct;
}

/** The scratch that `direct` needs. */
export const directScratchBytes = tileScratchBytes;

/** Blocks are small: their panels of B are as narrow as can be. */
const tileRows = plainTile.rows;

/** The scratch that `packed` needs. */
export function packedScratchBytes(m: number, k: number): number {
  const rows = Math.ceil(m / tileRows) * tileRows;
  return tileScratchBytes + 4 * rows * 4 * Math.ceil(k / 4);
}

/** The size of B when it is packed. */
export function packedBytes(n: number, k: number): number {
  return 4 * Math.ceil(n / directColumns) * directColumns * 4 * Math.ceil(k / 4);
}

/** The bytes from one panel of packed B to the next. */
export function panelBytes(k: Operand<"i32">): Operand<"i32"> {
  const row = 4 * directColumns;
  return typeof k === "number" ? row * 4 * Math.ceil(k / 4) : i32.mul(roundUp4(k), row);
}

/** The parts of products in a program's module. */
export function blockProducts(program: WasmProgram): BlockProducts {
  return program.once("block products", emitBlockProducts);
}

function emitBlockProducts(m: ModuleBuilder): BlockProducts {
  const packA = emitPack(m, tileRows);
  const packB = emitPack(m, directColumns);
  const tile = emitPackedTile(m, plainTile);
  const direct = emitDirectGemm(m);
  const packed = i32Function(m, productParams, (f, p) => {
    const { k, cRow, accumulate, scratch, n } = p;
    const from = f.let(i32.add(scratch, tileScratchBytes));
    f.do(packA({ to: from, from: p.a, count: p.m, k, lane: p.aRow, step: p.aStep }));
    const padded = f.let(roundUp4(k));
    f.for(0, n, directColumns, (j) => {
      const strip = f.let(from);
      const to = f.let(at(p.c, j, 4));
      f.for(0, p.m, tileRows, (i) => {
        f.do(tile({
          ...{ a: strip, b: p.b, k: padded, c: to, cRow, accumulate, scratch },
          rows: i32.minU(i32.sub(p.m, i), tileRows),
          columns: i32.minU(i32.sub(n, j), directColumns),
        }));
        f.set(strip, at(strip, padded, 4 * tileRows));
        f.set(to, at(to, cRow, tileRows));
      });
      f.set(p.b, i32.add(p.b, p.bPanel));
    });
  });
  return {
    packB,
    direct: (args) => direct({ ...args, bStep: 4 * directColumns }),
    inPlace: (args) => direct({ ...args, bPanel: 4 * directColumns }),
    dots: emitDotGemm(m),
    packed,
  };
}
