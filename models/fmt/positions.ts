/** The fixed sine-cosine table of a grid's positions. */
import type { Grid } from "../sar/order.ts";

/**
 * The fixed two-dimensional sine-cosine table: for each of row and column d/4 sines and d/4 cosines of
 * `place · 10000^(-j / (d/4))`.
 *
 * Source: Vaswani et al. (2017), section 3.5, per axis as in MAE (He et al. 2022).
 *
 * @param grid Height and width, N = H·W.
 * @param dim Features d, a multiple of 4.
 * @param amplitude The greatest value (default 1).
 * @returns The table [N, d], by grid index.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { sineCosineTable } from "./positions.ts";
 *
 * const table = sineCosineTable({ height: 1, width: 2 }, 4);
 * assertEquals(table, Float32Array.of(0, 1, 0, 1, 0, 1, Math.sin(1), Math.cos(1)));
 * ```
 */
export function sineCosineTable({ height, width }: Grid, dim: number, amplitude = 1): Float32Array {
  const quarter = dim / 4;
  return Float32Array.from({ length: height * width * dim }, (_, i) => {
    const cell = Math.floor(i / dim), feature = i % dim;
    const place = feature < 2 * quarter ? Math.floor(cell / width) : cell % width;
    const angle = place * 10000 ** (-(feature % quarter) / quarter);
    const isSine = feature % (2 * quarter) < quarter;
    return amplitude * (isSine ? Math.sin(angle) : Math.cos(angle));
  });
}
