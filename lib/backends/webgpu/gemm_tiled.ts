/**
 * Matrix products by tiles: both factors go through workgroup memory, each thread keeps a block of
 * the result in registers, and the next tiles are on their way while a tile is multiplied.
 */
import type { WgslDispatch, WgslTarget } from "../../op.ts";
import { type Gemm, type GemmFactor, type GemmTile, resultsOf, storeOf } from "./gemm.ts";
import { dispatchOf, flatGrid, loopBound, mainArguments, repeat } from "./kernel_wgsl.ts";

/** Row tiles in a band: workgroups that run side by side share the tiles of both factors. */
const bandHeight = 8;

/**
 * The dispatches: the product, and the sum of its parts where the depth is cut.
 *
 * @param gemm The product.
 * @param tile The tiling.
 * @param parts Into how many parts the depth is cut; more than 1 only with `gemm.parts`.
 */
export function tiledGemm(
  gemm: Gemm,
  tile: GemmTile,
  parts: number,
  target: WgslTarget,
): WgslDispatch[] {
  const { threadRows, threadColumns } = tile;
  const tileRows = threadRows * tile.rows, tileColumns = threadColumns * tile.columns;
  const rowTiles = Math.ceil(gemm.rows / tileRows);
  const columnTiles = Math.ceil(gemm.columns / tileColumns);
  const threads = threadRows * threadColumns;
  const vectorRows = tile.rows / 4, vectorColumns = tile.columns / 4;
  const share = Math.ceil(gemm.depth / parts / tile.depth) * tile.depth;
  const grid = flatGrid(gemm.batch * parts * rowTiles * columnTiles, target);

  const sides = [
    sideOf("left", gemm.left, gemm.rows, tileRows, "tile_row"),
    sideOf("right", gemm.right, gemm.columns, tileColumns, "tile_column"),
  ] as const;

  /** Loads a factor's share of the tile at `at` into registers, and from there into the tile. */
  function sideOf(
    name: "left" | "right",
    factor: GemmFactor,
    bound: number,
    length: number,
    origin: string,
  ) {
    const { element, vector, along } = factor;
    // Vectors along the depth come as blocks of 4 × 4, which are transposed in registers.
    const block = vector !== undefined && along === "depth";
    const vectors = length / 4, deep = block ? tile.depth / 4 : tile.depth;
    const count = vectors * deep, rounds = Math.ceil(count / threads);
    const perRound = block ? 4 : 1;
    // Neighbors along the depth would meet in the same banks.
    const stride = vectors + (along === "depth" ? 1 : 0);
    const clampX = (x: string, span: number) =>
      bound % length === 0 ? `(${x})` : `min(${x}, ${bound - span})`;
    const clampK = (k: string, span: number) =>
      gemm.depth % share === 0 ? `(${k})` : `min(${k}, ${gemm.depth - span})`;
    const values = () => {
      const x = (j: number) => `${origin} + side * 4 + ${j}`;
      const k = clampK("at + k", block ? 4 : 1);
      if (!vector) return [`vec4<f32>(${repeat(4, (j) => element(clampX(x(j), 1), k), ", ")})`];
      if (!block) return [vector(clampX(x(0), 4), k)];
      return [0, 1, 2, 3].map((j) => vector(clampX(x(j), 1), k));
    };
    // The other side goes through the threads in reverse: what is left over falls to all.
    const first = name === "left" ? "local" : `${threads - 1} - local`;
    const place = (i: number) =>
      `      let entry = ${first} + ${i * threads};
      let k = ${
        along === "depth"
          ? `i32(u32(entry) % ${deep}u)${block ? " * 4" : ""}`
          : `i32(u32(entry) / ${vectors}u)`
      };
      let side = ${
        along === "depth" ? `i32(u32(entry) / ${deep}u)` : `i32(u32(entry) % ${vectors}u)`
      };`;
    const each = (lines: (i: number) => string) =>
      repeat(rounds, (i) => {
        const guard = (i + 1) * threads > count ? `if (${first} + ${i * threads} < ${count}) ` : "";
        return `    ${guard}{\n${place(i)}\n${lines(i)}\n    }`;
      });
    const register = (i: number, j: number) => `${name}${i}_${j}`;
    return {
      stride,
      declare: repeat(
        rounds,
        (i) => repeat(perRound, (j) => `  var ${register(i, j)} = vec4<f32>();`),
      ),
      load: each((i) => {
        const loads = values().map((text, j) => `      ${register(i, j)} = ${text};`).join("\n");
        if (gemm.depth % share === 0) return loads;
        const zeros = repeat(perRound, (j) => `${register(i, j)} = vec4<f32>();`, " ");
        return `${loads}\n      if (at + k >= ${gemm.depth}) { ${zeros} }`;
      }),
      put: each((i) =>
        repeat(block ? 4 : 1, (kk) => {
          const c = "xyzw"[kk];
          const value = block
            ? `vec4<f32>(${repeat(4, (j) => `${register(i, j)}.${c}`, ", ")})`
            : register(i, 0);
          return `      ${name}_tile[fill * ${
            tile.depth * stride
          } + (k + ${kk}) * ${stride} + side] = ${value};`;
        })
      ),
    };
  }
  const [left, right] = sides;

  const step = (k: string) =>
    [
      repeat(vectorRows, (i) => `let a${i} = left_tile[left_at + ${k} * ${left.stride} + ${i}];`),
      repeat(vectorColumns, (j) =>
        `let b${j} = right_tile[right_at + ${k} * ${right.stride} + ${j * threadColumns}];`),
      repeat(tile.rows, (i) =>
        repeat(vectorColumns, (j) =>
          `sum${i}_${j} = fma(vec4<f32>(a${i >> 2}.${"xyzw"[i & 3]}), b${j}, sum${i}_${j});`, " ")),
    ].join("\n");
  // Unrolled where that is cheap to compile: loops carry a counter that bounds them.
  const multiply = `    let left_at = turn * ${tile.depth * left.stride} + row * ${vectorRows};
    let right_at = turn * ${tile.depth * right.stride} + column;
${
    target.software
      ? `    for (var k = 0; k < ${loopBound(tile.depth, target)}; k++) {\n${step("k")}\n    }`
      : repeat(tile.depth, (k) => `    {\n${step(String(k))}\n    }`)
  }`;
  const load = `${left.load}\n${right.load}`, put = `${left.put}\n${right.put}`;
  const next = `    at += ${tile.depth};
    if (at < end) {
${load}
    }`;
  const loop = tile.buffers === 2
    ? `  var turn = 0;
  {
    let fill = 0;
${put}
  }
  workgroupBarrier();
  while (at < end) {
${next}
${multiply}
    if (at < end) {
    let fill = 1 - turn;
${put}
    }
    workgroupBarrier();
    turn = 1 - turn;
  }`
    : `  let turn = 0;
  let fill = 0;
  while (at < end) {
${put}
    workgroupBarrier();
${next}
${multiply}
    workgroupBarrier();
  }`;
  const code = `${gemm.functions ?? ""}${parts === 1 ? gemm.resultFunctions ?? "" : ""}${
    typeof gemm.store === "function" ? "" : gemm.store.declarations
  }
var<workgroup> left_tile: array<vec4<f32>, ${tile.buffers * tile.depth * left.stride}>;
var<workgroup> right_tile: array<vec4<f32>, ${tile.buffers * tile.depth * right.stride}>;
@compute @workgroup_size(${threads})
fn main(${mainArguments}) {
  ${grid.group}
  let local = i32(local_index);
  let row = local / ${threadColumns};
  let column = local % ${threadColumns};
${placeTile(gemm.batch, parts, rowTiles, columnTiles)}
  let tile_row = row_tile * ${tileRows};
  let tile_column = column_tile * ${tileColumns};
${gemm.prologue ?? ""}
${left.declare}
${right.declare}
${repeat(tile.rows, (i) => repeat(vectorColumns, (j) => `  var sum${i}_${j} = vec4<f32>();`))}
  var at = part * ${share};
  let end = min(at + ${share}, ${gemm.depth}${target.software ? " + i32(workgroup.z)" : ""});
  if (at < end) {
${load}
  }
${loop}
  let m = tile_row + row * ${tile.rows};
  let n = tile_column + column * 4;
${finish(gemm, tile, parts)}
}
`;
  if (parts === 1) {
    const results = resultsOf(gemm, gemm.vectorStore !== undefined);
    return [dispatchOf(gemm.name, [...gemm.bindings, ...results], code, grid.workgroups)];
  }
  return [
    dispatchOf(gemm.name, [...gemm.bindings, gemm.parts!], code, grid.workgroups),
    sumParts(gemm, parts, target),
  ];
}

/** The number in the batch, the part of the depth, and the tile of a workgroup. */
function placeTile(batch: number, parts: number, rowTiles: number, columnTiles: number): string {
  const tiles = rowTiles * columnTiles;
  const outer = `  let tile = ${batch * parts === 1 ? "group" : `group % ${tiles}`};
  let part = ${parts === 1 ? "0" : `(group / ${tiles}) % ${parts}`};
  let z = ${batch === 1 ? "0" : `group / ${tiles * parts}`};
`;
  if (rowTiles <= bandHeight || columnTiles <= bandHeight) {
    return `${outer}  let row_tile = tile / ${columnTiles};
  let column_tile = tile % ${columnTiles};`;
  }
  return `${outer}  let band = tile / ${bandHeight * columnTiles};
  let height = min(${bandHeight}, ${rowTiles} - band * ${bandHeight});
  let in_band = tile % ${bandHeight * columnTiles};
  let row_tile = band * ${bandHeight} + in_band % height;
  let column_tile = in_band / height;`;
}

/** Stores the sums of a thread, or its part of them. */
function finish(gemm: Gemm, tile: GemmTile, parts: number): string {
  const { rows, columns, store } = gemm;
  if (typeof store !== "function") return store.code;
  const tileRows = tile.threadRows * tile.rows, tileColumns = tile.threadColumns * tile.columns;
  const raw = (m: string, n: string, value: string) =>
    `${
      gemm.parts!.name
    }[((part * ${gemm.batch} + z) * ${rows} + ${m}) * ${columns} + ${n}] = ${value};`;
  const storeOne = parts === 1 ? store : raw;
  const storeVector = parts === 1 ? gemm.vectorStore?.store : undefined;
  const guarded = (statement: string, m: string, n: string) => {
    const checks = [
      ...(rows % tileRows ? [`${m} < ${rows}`] : []),
      ...(columns % tileColumns ? [`${n} < ${columns}`] : []),
    ];
    return checks.length ? `  if (${checks.join(" && ")}) { ${statement} }` : `  ${statement}`;
  };
  return repeat(tile.rows, (i) =>
    repeat(tile.columns / 4, (j) => {
      const m = `(m + ${i})`, sum = `sum${i}_${j}`;
      const n = (c: number) => `(n + ${4 * j * tile.threadColumns + c})`;
      if (storeVector) return guarded(storeVector(m, n(0), sum), m, n(0));
      return repeat(4, (c) => guarded(storeOne(m, n(c), `${sum}.${"xyzw"[c]}`), m, n(c)));
    }));
}

/** Sums the parts of every element, or of four neighbors, and stores them. */
function sumParts(gemm: Gemm, parts: number, target: WgslTarget): WgslDispatch {
  const { batch, rows, columns, vectorStore } = gemm;
  const store = vectorStore?.store ?? storeOf(gemm);
  const span = vectorStore ? 4 : 1, size = batch * rows * columns / span;
  const grid = flatGrid(Math.ceil(size / 64), target);
  const scratch = { ...gemm.parts!, access: "read", vectors: span === 4 } as const;
  return dispatchOf(
    `${gemm.name} sum`,
    [...resultsOf(gemm, span === 4), scratch],
    `${gemm.resultFunctions ?? ""}
@compute @workgroup_size(64)
fn main(${mainArguments}) {
  ${grid.group}
  let local = group * 64 + i32(local_index);
  if (local >= ${size}) { return; }
  let z = local / ${rows * columns / span};
  let m = (local / ${columns / span}) % ${rows};
  let n = (local % ${columns / span}) * ${span};
${gemm.prologue ?? ""}
  var sum = ${scratch.name}[local];
  for (var part = 1; part < ${loopBound(parts, target)}; part++) {
    sum += ${scratch.name}[part * ${size} + local];
  }
  ${store("m", "n", "sum")}
}
`,
    grid.workgroups,
  );
}
