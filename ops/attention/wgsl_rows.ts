/** What the attention shaders share: a row per thread in registers, tiles of the other side. */
import type { KernelSpec, View, WgslTarget } from "../../lib/op.ts";
import type { EpilogueWgsl } from "../../lib/backends/webgpu/epilogue_wgsl.ts";
import {
  elementAt,
  flatGrid,
  loopBound,
  mainArguments,
  type NamedBinding,
  repeat,
} from "../../lib/backends/webgpu/kernel_wgsl.ts";

export const threads = 64;

/** Sizes of an attention, and texts that depend on them. */
export interface Sizes {
  readonly batch: number;
  readonly heads: number;
  readonly queries: number;
  readonly keys: number;
  readonly width: number;
  /** Vectors of four per row. */
  readonly vectors: number;
  /** Rows of the other side that stand in workgroup memory at a time. */
  readonly tile: number;
  readonly target: WgslTarget;
}

export function sizesOf(q: View, k: View, target: WgslTarget): Sizes {
  const [batch, heads, queries, width] = q.shape as [number, number, number, number];
  const vectors = Math.max(1, Math.ceil(width / 4));
  // Two tiles, and some room for the scalars of their rows.
  const room = Math.min(16384, target.limits.maxComputeWorkgroupStorageSize) - 2048;
  const tile = Math.max(1, Math.min(32, 2 ** Math.floor(Math.log2(room / (2 * 16 * vectors)))));
  return { batch, heads, queries, keys: k.shape[2]!, width, vectors, tile, target };
}

/** The vector number `d` (WGSL) or of a constant number of a row; zeros behind its end. */
export function vectorAt(
  name: string,
  view: View,
  row: string,
  d: number | string,
  width: number,
): string {
  const element = (c: number) => {
    const column = typeof d === "number" ? String(4 * d + c) : `4 * ${d} + ${c}`;
    const inBounds = typeof d === "number"
      ? column
      : width % 4
      ? `min(${column}, ${width - 1})`
      : column;
    const text = `${name}[${elementAt(view, ["b", "h", row, inBounds])}]`;
    const value = view.dtype === "f16" ? `f32(${text})` : text;
    if (typeof d === "number") return 4 * d + c < width ? value : "0.0";
    return width % 4 ? `select(0.0, ${value}, ${column} < ${width})` : value;
  };
  return `vec4<f32>(${repeat(4, element, ", ")})`;
}

/** The statement of every vector of a row: unrolled, but for software adapters, as a loop. */
export function eachVector(
  { vectors, target }: Sizes,
  statement: (d: number | string) => string,
): string {
  if (!target.software) return repeat(vectors, statement);
  const bound = loopBound(vectors, target);
  return `for (var d = 0; d < ${bound}; d++) {\n${statement("d")}\n}`;
}

/** Loads a row into registers. */
export function loadRow(
  register: string,
  name: string,
  view: View,
  row: string,
  sizes: Sizes,
  factor = "1.0",
): string {
  const scaled = factor === "1.0" ? "" : ` * ${factor}`;
  return `  ${declareRow(register, sizes)}\n` +
    eachVector(
      sizes,
      (d) => `  ${register}[${d}] = ${vectorAt(name, view, row, d, sizes.width)}${scaled};`,
    );
}

/** Registers for a row, all 0. */
export function declareRow(register: string, { vectors }: Sizes): string {
  return `var ${register}: array<vec4<f32>, ${vectors}>;`;
}

/** Stores a row of registers, times a factor, to a row-major output. */
export function storeRow(
  name: string,
  output: View,
  row: string,
  register: string,
  factor: string,
  sizes: Sizes,
): string {
  const wrap = (text: string) => output.dtype === "f16" ? `f16(${text})` : text;
  return `    let base = ${elementAt(output, ["b", "h", row, "0"])};\n` +
    eachVector(sizes, (d) => {
      const stores = eachComponent(
        sizes,
        d,
        (column, component) => `${name}[base + ${column}] = ${wrap(`r.${component}`)};`,
      );
      return `    { let r = ${register}[${d}] * ${factor}; ${stores} }`;
    });
}

/**
 * The statements that store vector number `d` of the result's row `matrix_row`, which stands in `r`, and
 * that end it.
 */
export function storeResult(
  { dtype }: View,
  epilogue: EpilogueWgsl | undefined,
  d: number | string,
  sizes: Sizes,
): string {
  const { width } = sizes;
  const kept = epilogue?.keeps ?? true
    ? eachComponent(
      sizes,
      d,
      (column, component) => `out[matrix_row * ${width} + ${column}] = ${dtype}(r.${component});`,
    )
    : "";
  if (!epilogue) return kept;
  const ended = width % 4 === 0
    ? epilogue.store("matrix_row", `4 * ${d}`, `vec4<${dtype}>(r)`, true)
    : eachComponent(
      sizes,
      d,
      (column, component) =>
        epilogue.store("matrix_row", column, `${dtype}(r.${component})`, false),
    );
  return `${kept} ${ended}`;
}

/** The statements of those elements of vector `d` that are within the row. */
function eachComponent(
  { width }: Sizes,
  d: number | string,
  statement: (column: string, component: string) => string,
): string {
  const components = typeof d === "number" ? Math.min(4, width - 4 * d) : 4;
  return repeat(components, (c) => {
    const column = `4 * ${d} + ${c}`, text = statement(column, "xyzw"[c]!);
    return typeof d === "string" && width % 4 !== 0
      ? `if (${column} < ${width}) { ${text} }`
      : text;
  }, " ");
}

/** Fills tiles with the rows `start..` of operands; rows behind the last repeat it. */
export function fillTiles(
  tiles: readonly { tile: string; name: string; view: View }[],
  { tile, vectors, width, target }: Sizes,
): string {
  const rows = tiles[0]!.view.shape[2]!;
  return `    // a block
    for (var e = local; e < ${loopBound(tile * vectors, target)}; e += ${threads}) {
      let d = e % ${vectors};
      let r = min(start + e / ${vectors}, ${rows - 1});
${
    tiles.map(({ tile, name, view }) =>
      `      ${tile}[e] = ${vectorAt(name, view, "r", "d", width)};`
    ).join("\n")
  }
    }
`;
}

/** The product of a row of registers with row `j` of a tile, as statements that define `name`. */
export function product(
  name: string,
  register: string,
  tile: string,
  j: string,
  sizes: Sizes,
): string {
  const term = (d: number | string) =>
    `      ${name}_v = fma(${register}[${d}], ${tile}[${j} * ${sizes.vectors} + ${d}], ${name}_v);`;
  return `      var ${name}_v = vec4<f32>();
${eachVector(sizes, term)}
      let ${name} = ${name}_v.x + ${name}_v.y + ${name}_v.z + ${name}_v.w;
`;
}

/** Adds a multiple of row `j` of a tile to a row of registers. */
export function addScaled(
  register: string,
  factor: string,
  tile: string,
  j: string,
  sizes: Sizes,
): string {
  return eachVector(
    sizes,
    (d) =>
      `      ${register}[${d}] = fma(vec4<f32>(${factor}), ${tile}[${j} * ${sizes.vectors} + ${d}], ${register}[${d}]);`,
  );
}

export function declareTiles(names: readonly string[], { tile, vectors }: Sizes): string {
  return names.map((name) => `var<workgroup> ${name}: array<vec4<f32>, ${tile * vectors}>;\n`).join(
    "",
  );
}

/** `group` to `part`, batch `b`, head `h` and this thread's row among `rows`, `perGroup` to a workgroup. */
export function place(
  rows: number,
  perGroup: number,
  { batch, heads }: Sizes,
  target: WgslTarget,
  parts = 1,
) {
  const blocks = Math.ceil(rows / perGroup);
  const all = batch * heads * blocks;
  const grid = flatGrid(all * parts, target);
  const share = threads / perGroup;
  return {
    workgroups: grid.workgroups,
    code: `  ${grid.group}
  let local = i32(local_index);
  let part = group / ${Math.max(1, all)};
  let b = (group / ${blocks * heads}) % ${batch};
  let h = (group / ${blocks}) % ${heads};
  let first_row = (group % ${blocks}) * ${perGroup};
  let row = first_row + local / ${share};
  let inside = row < ${rows};
  let i = min(row, ${rows - 1});
`,
  };
}

/** Finds how many keys this thread's query sees (`limit`), and the most of any here (`end`). */
export function limits(visible: View, { keys, target }: Sizes): string {
  return `  var limit = 0;
  if (inside) { limit = clamp(i32(visible[${elementAt(visible, ["b", "i"])}]), 0, ${keys}); }
  limits[local] = limit;
  workgroupBarrier();
  if (local == 0) {
    var most = 0;
    for (var t = 0; t < ${loopBound(threads, target)}; t++) { most = max(most, limits[t]); }
    furthest = most;
  }
  let end = workgroupUniformLoad(&furthest);
`;
}

export const limitsDeclarations = `var<workgroup> limits: array<i32, ${threads}>;
var<workgroup> furthest: i32;
`;

export const minusInfinity =
  `fn minus_infinity() -> f32 { var bits = 0xff800000u; return bitcast<f32>(bits); }
`;

export function main(body: string): string {
  return `@compute @workgroup_size(${threads})\nfn main(${mainArguments}) {\n${body}}\n`;
}

export const input = (name: string, index: number, { dtype }: View): NamedBinding => ({
  name,
  operand: "input",
  index,
  access: "read",
  dtype,
});

export const output = (name: string, index: number, { dtype }: View): NamedBinding => ({
  name,
  operand: "output",
  index,
  access: "read_write",
  dtype,
});

/** The factor on the products of queries and keys. */
export function scaleOf({ attributes }: KernelSpec): string {
  return `f32(${attributes.scale})`;
}

export function asF32({ dtype }: View, text: string): string {
  return dtype === "f16" ? `f32(${text})` : text;
}
