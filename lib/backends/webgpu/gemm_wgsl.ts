/** The tiled matrix product that matmul, convolutions and the vocabulary's cross entropy share. */
import type { WgslDispatch, WgslTarget } from "../../op.ts";
import {
  dispatchOf,
  flatGrid,
  loopBound,
  mainArguments,
  type NamedBinding,
  repeat,
} from "./kernel_wgsl.ts";

/** A batch of products `[rows, depth] · [depth, columns]` on elements that the caller addresses. */
export interface Gemm {
  readonly name: string;
  readonly batch: number;
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  readonly bindings: readonly NamedBinding[];
  /** Lines before the product, where `z` is the number in the batch. */
  readonly prologue?: string;
  /** The f32 element of the left factor; its arguments are i32 expressions within bounds. */
  left(m: string, k: string): string;
  /** The f32 element of the right factor. */
  right(k: string, n: string): string;
  /** The statement that stores the f32 `value` at a row and column, or what is done instead. */
  readonly store: ((m: string, n: string, value: string) => string) | GemmEpilogue;
  /** Along which index the elements of the factors lie side by side in memory. */
  readonly leftAlong: "rows" | "depth";
  readonly rightAlong: "columns" | "depth";
  /** WGSL functions that the expressions call. */
  readonly functions?: string;
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
}

/**
 * One dispatch that computes the products. Tiles of both factors go through workgroup memory; each
 * thread keeps a small block of the result in registers.
 */
export function gemmWgsl(gemm: Gemm, target: WgslTarget): WgslDispatch {
  const { store, batch, rows, columns, depth } = gemm;
  const work = batch * rows * columns * depth;
  if (target.software && typeof store === "function" && work <= worthTiling) {
    return plainWgsl(gemm, store, target);
  }
  const tile = typeof store === "function" ? chooseTile(gemm, target) : store.tile;
  const { threadRows, threadColumns } = tile;
  const tileRows = threadRows * tile.rows, tileColumns = threadColumns * tile.columns;
  const rowTiles = Math.ceil(gemm.rows / tileRows);
  const columnTiles = Math.ceil(gemm.columns / tileColumns);
  const grid = flatGrid(gemm.batch * rowTiles * columnTiles, target);
  const threads = threadRows * threadColumns;
  const vectorRows = tile.rows / 4, vectorColumns = tile.columns / 4;

  const clampTo = (index: string, length: number, tileLength: number) =>
    length % tileLength === 0 ? `(${index})` : `min(${index}, ${length - 1})`;
  /** Fills a tile: element (k, x) of four neighboring x makes one vector. */
  const fill = (
    name: string,
    length: number,
    along: boolean,
    element: (x: string, k: string) => string,
    bound: number,
    origin: string,
  ) => {
    const vectors = length / 4, count = vectors * tile.depth;
    return repeat(Math.ceil(count / threads), (i) => {
      const partial = (i + 1) * threads > count;
      const values = repeat(
        4,
        (j) => element(clampTo(`${origin} + side * 4 + ${j}`, bound, length), clampedDepth()),
        ", ",
      );
      const guard = gemm.depth % tile.depth === 0 ? "" : `
      if (depth + k >= ${gemm.depth}) { loaded = vec4<f32>(); }`;
      return `    ${partial ? `if (local + ${i * threads} < ${count}) ` : ""}{
      let entry = local + ${i * threads};
      let k = ${along ? `i32(u32(entry) % ${tile.depth}u)` : `i32(u32(entry) / ${vectors}u)`};
      let side = ${along ? `i32(u32(entry) / ${tile.depth}u)` : `i32(u32(entry) % ${vectors}u)`};
      var loaded = vec4<f32>(${values});${guard}
      ${name}[k * ${vectors} + side] = loaded;
    }`;
    });
  };
  const clampedDepth = () => clampTo("depth + k", gemm.depth, tile.depth);

  const step = (k: string) =>
    [
      repeat(vectorRows, (i) =>
        `let a${i} = left_tile[${k} * ${tileRows / 4} + row * ${vectorRows} + ${i}];`),
      repeat(vectorColumns, (j) =>
        `let b${j} = right_tile[${k} * ${tileColumns / 4} + column + ${j * threadColumns}];`),
      repeat(tile.rows, (i) =>
        repeat(vectorColumns, (j) =>
          `sum${i}_${j} = fma(vec4<f32>(a${i >> 2}.${"xyzw"[i & 3]}), b${j}, sum${i}_${j});`, " ")),
    ].join("\n");

  const finish = typeof store !== "function"
    ? store.code
    : repeat(tile.rows, (i) =>
      repeat(vectorColumns, (j) =>
        repeat(4, (c) => {
          const m = `(m + ${i})`, n = `(n + ${4 * j * threadColumns + c})`;
          const statement = store(m, n, `sum${i}_${j}.${"xyzw"[c]}`);
          const checks = [
            ...(gemm.rows % tileRows ? [`${m} < ${gemm.rows}`] : []),
            ...(gemm.columns % tileColumns ? [`${n} < ${gemm.columns}`] : []),
          ];
          return checks.length
            ? `  if (${checks.join(" && ")}) { ${statement} }`
            : `  ${statement}`;
        })));

  // Unrolled where that is cheap to compile: loops carry a counter that bounds them.
  const unroll = target.software ? 1 : tile.depth;
  const inner = unroll === tile.depth
    ? repeat(tile.depth, (k) => `    {\n${step(String(k))}\n    }`)
    : `    for (var k = 0; k < ${loopBound(tile.depth, target)}; k++) {\n${step("k")}\n    }`;
  const code = `${gemm.functions ?? ""}${typeof store === "function" ? "" : store.declarations}
var<workgroup> left_tile: array<vec4<f32>, ${tile.depth * tileRows / 4}>;
var<workgroup> right_tile: array<vec4<f32>, ${tile.depth * tileColumns / 4}>;
@compute @workgroup_size(${threads})
fn main(${mainArguments}) {
  ${grid.group}
  let local = i32(local_index);
  let row = local / ${threadColumns};
  let column = local % ${threadColumns};
  let z = group / ${rowTiles * columnTiles};
  let tile_row = ((group / ${columnTiles}) % ${rowTiles}) * ${tileRows};
  let tile_column = (group % ${columnTiles}) * ${tileColumns};
${gemm.prologue ?? ""}
${repeat(tile.rows, (i) => repeat(vectorColumns, (j) => `  var sum${i}_${j} = vec4<f32>();`))}
  for (var depth = 0; depth < ${loopBound(gemm.depth, target)}; depth += ${tile.depth}) {
${fill("left_tile", tileRows, gemm.leftAlong === "depth", gemm.left, gemm.rows, "tile_row")}
${
    fill(
      "right_tile",
      tileColumns,
      gemm.rightAlong === "depth",
      (x, k) => gemm.right(k, x),
      gemm.columns,
      "tile_column",
    )
  }
    workgroupBarrier();
${inner}
    workgroupBarrier();
  }
  let m = tile_row + row * ${tile.rows};
  let n = tile_column + column * 4;
${finish}
}
`;
  return dispatchOf(gemm.name, gemm.bindings, code, grid.workgroups);
}

/** Multiplications below which a software adapter is longer compiling tiles than computing. */
const worthTiling = 2 ** 22;

/** One thread for each element of the products. */
function plainWgsl(
  gemm: Gemm,
  store: (m: string, n: string, value: string) => string,
  target: WgslTarget,
): WgslDispatch {
  const { batch, rows, columns, depth } = gemm;
  const elements = batch * rows * columns;
  const grid = flatGrid(Math.ceil(elements / 64), target);
  const code = `${gemm.functions ?? ""}
@compute @workgroup_size(64)
fn main(${mainArguments}) {
  ${grid.group}
  let local = group * 64 + i32(local_index);
  if (local >= ${elements}) { return; }
  let z = local / ${rows * columns};
  let m = (local / ${columns}) % ${rows};
  let n = local % ${columns};
${gemm.prologue ?? ""}
  var sum = 0.0;
  for (var k = 0; k < ${loopBound(depth, target)}; k++) {
    sum = fma(${gemm.left("m", "k")}, ${gemm.right("k", "n")}, sum);
  }
  ${store("m", "n", "sum")}
}
`;
  return dispatchOf(gemm.name, gemm.bindings, code, grid.workgroups);
}

function chooseTile({ batch, rows, columns }: Gemm, target: WgslTarget): GemmTile {
  const tile = (threadRows: number, threadColumns: number, rows: number, depth = 16): GemmTile => ({
    threadRows,
    threadColumns,
    rows,
    columns: rows,
    depth,
  });
  if (target.software) return rows <= 16 ? tile(2, 8, 4, 8) : tile(8, 8, 4, 8);
  if (rows <= 8) return { threadRows: 2, threadColumns: 32, rows: 4, columns: 4, depth: 16 };
  if (columns <= 8) return { threadRows: 32, threadColumns: 2, rows: 4, columns: 4, depth: 16 };
  const tiles = (size: number) => batch * Math.ceil(rows / size) * Math.ceil(columns / size);
  if (tiles(128) >= 128 && rows > 64 && columns > 64) return tile(16, 16, 8);
  if (tiles(64) >= 64 && rows > 32 && columns > 32) return tile(16, 16, 4);
  return tile(8, 8, 4);
}
