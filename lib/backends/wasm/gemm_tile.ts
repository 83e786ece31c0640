/** The register tiles of matrix multiplication, and which of them suits the host. */
import { environment } from "../../environment.ts";

/** The part of C that is summed up in registers, and how its operands are packed. */
export interface GemmTile {
  readonly rows: number;
  /** A multiple of 8. */
  readonly columns: number;
  /** How a value of A comes into all lanes: by shuffles of a vector of several, or loaded so. */
  readonly a: "shuffles" | "splats";
  /** The steps of k whose panel of B stays in the first cache; a multiple of 4. */
  readonly depth: number;
}

/**
 * Deno checks the bounds of every access, so that few and wide loads are best; and there are 15
 * vector registers: 5 × 8 sums, 2 vectors of B, 2 of A and 1 lane of it broadcast are 15.
 */
export const checkedTile: GemmTile = { rows: 5, columns: 8, a: "shuffles", depth: 512 };

/** Where guard pages do the checks, as in browsers, loads are cheap: 6 × 8 sums, 2 of B, 1 of A. */
export const guardedTile: GemmTile = { rows: 6, columns: 8, a: "splats", depth: 512 };

/** Where V8 makes one vector of 256 bits out of two: 6 × 16 sums take 12 registers. */
export const doubledTile: GemmTile = { rows: 6, columns: 16, a: "splats", depth: 256 };

/**
 * The tile for a host.
 *
 * @param host Whether it is Deno, and the flags of V8 in its environment; by default, this one.
 * @returns In Deno, the tile that V8's flags in `DENO_V8_FLAGS` allow: with
 * `--no-wasm-bounds-checks` as in browsers, with `--experimental-wasm-revectorize` too vectors of
 * 256 bits. Results are the same to the bit, but for blocks of k of another depth.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { gemmTile } from "./gemm_tile.ts";
 * assertEquals(gemmTile({ isDeno: true, flags: "" }).rows, 5);
 * assertEquals(gemmTile({ isDeno: false, flags: "" }).rows, 6);
 * ```
 */
export function gemmTile(
  { isDeno, flags }: { isDeno: boolean; flags: string } = {
    isDeno: typeof Deno !== "undefined",
    flags: environment("DENO_V8_FLAGS") ?? "",
  },
): GemmTile {
  if (!isDeno) return guardedTile;
  const given = flags.split(/[\s,]+/).map((flag) => flag.replace(/^-+/, "").replaceAll("_", "-"));
  if (!given.includes("no-wasm-bounds-checks")) return checkedTile;
  return given.includes("experimental-wasm-revectorize") ? doubledTile : guardedTile;
}
