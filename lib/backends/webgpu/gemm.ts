/** A matrix product as the WGSL generators see it, and the ways in which it may be cut up. */
import type { NamedBinding } from "./kernel_wgsl.ts";

/** A factor of a product: its f32 elements as WGSL, and how they lie in memory. */
export interface GemmFactor {
  /** An element; the arguments are i32 expressions within bounds. */
  element(x: string, k: string): string;
  /**
   * The four neighbors from an element on along `along`, as a `vec4<f32>`; the first index along it
   * is a multiple of 4. Present only where the length along it is one, too.
   */
  readonly vector?: (x: string, k: string) => string;
  /** The index along which neighbors lie side by side: that of the result's axis, or the depth. */
  readonly along: "side" | "depth";
}

/** A batch of products `[rows, depth] · [depth, columns]` on elements that the caller addresses. */
export interface Gemm {
  readonly name: string;
  readonly batch: number;
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  /** What the factors are read from. */
  readonly bindings: readonly NamedBinding[];
  /** What the stores read and write besides. */
  readonly results: readonly NamedBinding[];
  /** Lines before the product, where `z` is the number in the batch. */
  readonly prologue?: string;
  /** The left factor, whose elements are (row, depth). */
  readonly left: GemmFactor;
  /** The right factor, whose elements are (column, depth). */
  readonly right: GemmFactor;
  /** The statement that stores the f32 `value` at a row and column, or what is done instead. */
  readonly store: ((m: string, n: string, value: string) => string) | GemmEpilogue;
  /**
   * The same for the four columns from `n` on, into a binding that the shader then sees in vectors;
   * present only if the columns are a multiple of 4.
   */
  readonly vectorStore?: {
    readonly binding: string;
    /** Whether elements alone cannot be stored. */
    readonly always?: boolean;
    store(m: string, n: string, value: string): string;
  };
  /** WGSL functions that the factors' expressions call, and those that the stores call. */
  readonly functions?: string;
  readonly resultFunctions?: string;
  /** A scratch buffer for `gemmScratch` bytes, with which the depth may be cut into parts. */
  readonly parts?: NamedBinding;
}

/**
 * What a workgroup does with its tile: the element in row `m + i` and column `n + c` of its block,
 * `n` being a multiple of 4, stands in the thread's `sum${i}_0`. It decides the tiling.
 */
export interface GemmEpilogue {
  readonly tile: GemmTile;
  /** Module-scope declarations. */
  readonly declarations: string;
  readonly code: string;
}

/** How the work is cut: threads of a workgroup, rows and columns of each, and the depth of a tile. */
export interface GemmTile {
  readonly threadRows: number;
  readonly threadColumns: number;
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  /** Tiles of each factor in workgroup memory: with two, one is filled while the other is used. */
  readonly buffers: 1 | 2;
}

/** A way to compute a product; plain data, so that the choice can be kept. */
export type GemmVariant =
  /** One thread for each element. */
  | { readonly kind: "plain" }
  /** Few rows: `lanes` times four columns for each workgroup, whose threads share the depth. */
  | {
    readonly kind: "skinny";
    readonly lanes: number;
    readonly threads: number;
    readonly subgroups: boolean;
  }
  /** Tiles, and into how many parts the depth is cut. */
  | { readonly kind: "tiled"; readonly tile: GemmTile; readonly parts: number };

/** The most rows that the skinny way takes. */
export const skinnyRows = 16;

/** Multiplications below which a software adapter is longer compiling tiles than computing. */
const worthTiling = 2 ** 22;

/** The statement that stores an element; a product with an epilogue of its own has none. */
export function storeOf({ name, store }: Gemm) {
  if (typeof store !== "function") throw new TypeError(`${name}: expected a store statement`);
  return store;
}

/** The bindings of stores in vectors, or not. */
export function resultsOf({ results, vectorStore }: Gemm, inVectors: boolean): NamedBinding[] {
  return results.map((binding) =>
    inVectors && binding.name === vectorStore?.binding ? { ...binding, vectors: true } : binding
  );
}

type Problem = Pick<Gemm, "batch" | "rows" | "columns" | "depth">;

/** The most parts that the depth of a product may be cut into; more never pay. */
export function mostParts({ batch, rows, columns, depth }: Problem): number {
  const tiles = batch * Math.ceil(rows / 64) * Math.ceil(columns / 64);
  const wanted = Math.min(256 / tiles, depth / 256, 32);
  return wanted < 2 ? 1 : 2 ** Math.floor(Math.log2(wanted));
}

/** Bytes of scratch with which the depth of a product may be cut into parts. */
export function gemmScratch(problem: Problem): number[] {
  const parts = mostParts(problem);
  return parts === 1 ? [] : [4 * parts * problem.batch * problem.rows * problem.columns];
}

const tile = (
  threadRows: number,
  threadColumns: number,
  side: number,
  depth: number,
  buffers: 1 | 2 = 1,
): GemmTile => ({ threadRows, threadColumns, rows: side, columns: side, depth, buffers });

/** Tiles for hardware, each with the share of a device's speed that it may be expected to reach. */
const tiles: readonly (readonly [GemmTile, number])[] = [
  [tile(16, 16, 8, 8, 2), 1],
  [tile(16, 16, 8, 16), 0.98],
  [tile(8, 16, 8, 8, 2), 0.92],
  [tile(8, 8, 8, 8, 2), 0.85],
  [tile(8, 8, 8, 16), 0.84],
  [tile(16, 16, 4, 16, 2), 0.7],
  [tile(8, 16, 4, 16), 0.6],
  [tile(8, 8, 4, 16), 0.5],
];

/** What the choice depends on besides the problem. */
export interface GemmDevice {
  readonly software: boolean;
  readonly features: { readonly subgroups: boolean };
  readonly limits: {
    readonly maxComputeWorkgroupStorageSize: number;
    readonly maxComputeInvocationsPerWorkgroup: number;
  };
}

/** Bytes of workgroup memory that the tiles take at most. */
export function tileBytes({ threadRows, threadColumns, rows, columns, depth, buffers }: GemmTile) {
  // Behind the rows of a tile there may be room for a vector, see `tiledGemm`.
  return 16 * buffers * depth * ((threadRows * rows + threadColumns * columns) / 4 + 2);
}

/**
 * The ways to compute a product that are worth trying on a device, the one to take without trying
 * first.
 */
export function gemmVariants(gemm: Gemm, device: GemmDevice): GemmVariant[] {
  const { batch, rows, columns, depth } = gemm;
  const { limits: { maxComputeWorkgroupStorageSize, maxComputeInvocationsPerWorkgroup } } = device;
  if (device.software) {
    if (batch * rows * columns * depth <= worthTiling) return [{ kind: "plain" }];
    const [across, depthOfTile] = rows <= 16 ? [tile(2, 8, 4, 8), 8] : [tile(8, 8, 4, 8), 8];
    return [{ kind: "tiled", tile: { ...across, depth: depthOfTile }, parts: 1 }];
  }
  const found: { variant: GemmVariant; cost: number }[] = [];
  const transposes = rows > columns;
  if (Math.min(rows, columns) <= skinnyRows && !(transposes && gemm.vectorStore?.always)) {
    const { along } = transposes ? gemm.left : gemm.right;
    const lanes = along === "depth" ? [1, 2] : [8, 4, 16];
    const threads = [along === "depth" && depth < 512 ? 64 : 128, 64, 256];
    for (const subgroups of device.features.subgroups ? [true, false] : [false]) {
      for (const lane of lanes) {
        for (const count of new Set(threads)) {
          if (count > maxComputeInvocationsPerWorkgroup) continue;
          if (16 * count * Math.min(rows, columns) > maxComputeWorkgroupStorageSize) continue;
          const variant = { kind: "skinny", lanes: lane, threads: count, subgroups } as const;
          found.push({ variant, cost: found.length });
        }
      }
    }
    // Without one that fits, and to be tried beside them, there are the tiles.
    found.splice(8);
  }
  const skinny = found.length > 0;
  const partChoices = gemm.parts ? powersOfTwo(mostParts(gemm)) : [1];
  for (const [shape, speed] of tiles) {
    if (tileBytes(shape) > maxComputeWorkgroupStorageSize) continue;
    if (shape.threadRows * shape.threadColumns > maxComputeInvocationsPerWorkgroup) continue;
    for (const parts of partChoices) {
      const cost = (skinny ? 1e30 : 0) + costOf(gemm, shape, speed, parts);
      found.push({ variant: { kind: "tiled", tile: shape, parts }, cost });
    }
  }
  const sorted = found.sort((a, b) => a.cost - b.cost).slice(0, 12);
  return sorted.map(({ variant }) => variant);
}

function powersOfTwo(most: number): number[] {
  return Array.from({ length: 1 + Math.log2(most) }, (_, i) => 2 ** i);
}

/** Tiles that a device computes side by side, about: half of a large GPU's multiprocessors. */
const sideBySide = 64;

/** What a tiling costs, in multiplications that a workgroup has to wait for. */
function costOf(
  { batch, rows, columns, depth }: Gemm,
  shape: GemmTile,
  speed: number,
  parts: number,
) {
  const height = shape.threadRows * shape.rows, width = shape.threadColumns * shape.columns;
  const groups = batch * parts * Math.ceil(rows / height) * Math.ceil(columns / width);
  const turns = Math.ceil(groups / sideBySide);
  // A small tile shares its multiprocessor with others, a large one needs it for itself.
  const each = height * width * (depth / parts + 2 * shape.depth) / speed;
  const sums = parts === 1 ? 0 : 64 * (parts + 1) * batch * rows * columns / sideBySide;
  return turns * each + sums;
}
