/** Where tokens lie, and the fixed sine-cosine table of their places. */
import type { FmtConfig } from "./config.ts";

/** Where a token lies, in rows and columns of the (finest) grid. */
export interface Place {
  readonly row: number;
  readonly column: number;
  /** The number of its scale, from 0. */
  readonly level: number;
}

/**
 * The places of a model's tokens. A token of a coarser scale lies at the center of the cells of the finest grid that
 * it stands for: cell i of s lies at `(i + 1/2) · S/s - 1/2` of S, which may be a fraction.
 *
 * @param model Its grid and scales.
 * @returns N places: the grid row by row, or those of each scale, coarse to fine.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { placesOf } from "./positions.ts";
 *
 * const places = placesOf({ grid: { height: 2, width: 2 }, scales: [1, 2] });
 * assertEquals(places[0], { row: 0.5, column: 0.5, level: 0 });
 * assertEquals(places[3], { row: 1, column: 0, level: 1 });
 * ```
 */
export function placesOf({ grid, scales }: Pick<FmtConfig, "grid" | "scales">): Place[] {
  const levels = scales.length === 0
    ? [grid]
    : scales.map((side) => ({ height: side, width: side }));
  const center = (i: number, count: number, finest: number) => (i + 0.5) * finest / count - 0.5;
  return levels.flatMap(({ height, width }, level) =>
    Array.from({ length: height * width }, (_, cell) => ({
      row: center(Math.floor(cell / width), height, grid.height),
      column: center(cell % width, width, grid.width),
      level,
    }))
  );
}

/**
 * The fixed two-dimensional sine-cosine table: for each of row and column d/4 sines and d/4 cosines of
 * `place · 10000^(-j / (d/4))`.
 *
 * Source: Vaswani et al. (2017), section 3.5, per axis as in MAE (He et al. 2022).
 *
 * @param places Rows and columns of N tokens.
 * @param dim Features d, a multiple of 4.
 * @param amplitude The greatest value (default 1).
 * @returns The table [N, d].
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { sineCosineTable } from "./positions.ts";
 *
 * const table = sineCosineTable([{ row: 0, column: 1 }], 4);
 * assertEquals(table, Float32Array.of(0, 1, Math.sin(1), Math.cos(1)));
 * ```
 */
export function sineCosineTable(
  places: readonly Pick<Place, "row" | "column">[],
  dim: number,
  amplitude = 1,
): Float32Array {
  const quarter = dim / 4;
  return Float32Array.from({ length: places.length * dim }, (_, i) => {
    const { row, column } = places[Math.floor(i / dim)]!, feature = i % dim;
    const place = feature < 2 * quarter ? row : column;
    const angle = place * 10000 ** (-(feature % quarter) / quarter);
    const isSine = feature % (2 * quarter) < quarter;
    return amplitude * (isSine ? Math.sin(angle) : Math.cos(angle));
  });
}
