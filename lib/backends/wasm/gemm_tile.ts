/** The register tiles of matrix multiplication, and which of them suits the host. */
import { environment } from "../../environment.ts";

/** The part of C that is summed up in registers. */
export interface GemmTile {
  readonly rows: number;
  /** A multiple of 8. */
  readonly columns: number;
  /** The steps of k whose panel of B stays in the first cache; a multiple of 4. */
  readonly depth: number;
}

/** There are 15 vector registers: 6 × 8 sums, 2 vectors of B and 1 of A are 15. */
export const plainTile: GemmTile = { rows: 6, columns: 8, depth: 512 };

/** Where V8 makes one vector of 256 bits out of two, 6 × 16 sums take 12 registers. */
export const doubledTile: GemmTile = { rows: 6, columns: 16, depth: 256 };

/** The flags of V8 that let it do so: without them, each half of a vector is checked by itself. */
const doublingFlags = ["no-wasm-bounds-checks", "experimental-wasm-revectorize"];

/**
 * The tile for a host.
 *
 * @param flags V8's flags, separated by commas; by default those in `DENO_V8_FLAGS`.
 * @returns `doubledTile` with `--no-wasm-bounds-checks,--experimental-wasm-revectorize`, else
 * `plainTile`. Sums are the same to the bit but for where k is cut into blocks.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { gemmTile, plainTile } from "./gemm_tile.ts";
 * assertEquals(gemmTile("--stack-size=900"), plainTile);
 * ```
 */
export function gemmTile(flags: string = environment("DENO_V8_FLAGS") ?? ""): GemmTile {
  const given = flags.split(/[\s,]+/).map((flag) => flag.replace(/^-+/, "").replaceAll("_", "-"));
  return doublingFlags.every((flag) => given.includes(flag)) ? doubledTile : plainTile;
}
