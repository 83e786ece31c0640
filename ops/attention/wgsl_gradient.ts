/** The gradients of attention on WebGPU: weights are recomputed from the logsumexp. */
import type { KernelSpec, View, WgslDispatch, WgslTarget } from "../../lib/op.ts";
import {
  dispatchOf,
  elementAt,
  loopBound,
  type NamedBinding,
  repeat,
} from "../../lib/backends/webgpu/kernel_wgsl.ts";
import {
  addScaled,
  asF32,
  declareRow,
  declareTiles,
  eachVector,
  fillTiles,
  input,
  limits,
  limitsDeclarations,
  loadRow,
  main,
  output,
  place,
  product,
  scaleOf,
  type Sizes,
  sizesOf,
  storeRow,
  threads,
  vectorAt,
} from "./wgsl_rows.ts";

/** One f32 for each query: the sum of `dout * out`. */
export function attentionGradientScratch({ inputs }: KernelSpec): number[] {
  const [batch, heads, queries] = inputs[0]!.shape as [number, number, number];
  return [4 * batch * heads * queries];
}

/**
 * `q, k, v, visible, out, logsumexp, dout` to `dq, dk, dv`; no dispatch binds more than the eight
 * buffers that every device allows.
 */
export function attentionGradientWgsl(spec: KernelSpec, target: WgslTarget): WgslDispatch[] {
  return [
    outputProducts(spec, target),
    queryGradient(spec, target),
    keyGradient(spec, target),
    valueGradient(spec, target),
  ];
}

/** `deltas`, the sum of `dout * out` of each query. */
function outputProducts(spec: KernelSpec, target: WgslTarget): WgslDispatch {
  const [q, k, , , out, , dout] = spec.inputs as View[] as Seven;
  const sizes = sizesOf(q, k, target);
  const { workgroups, code: placed } = place(sizes.queries, threads, sizes, target);
  const vector = (name: string, view: View, d: number | string) =>
    vectorAt(name, view, "i", d, sizes.width);
  const code = main(`${placed}
  var sums = vec4<f32>();
${
    eachVector(sizes, (d) =>
      `  sums = fma(${vector("dout", dout, d)}, ${vector("out", out, d)}, sums);`)
  }
  if (inside) { ${deltaOf(sizes, "row")} = sums.x + sums.y + sums.z + sums.w; }
`);
  return dispatchOf(
    "attentionGradient deltas",
    [input("out", 4, out), input("dout", 6, dout), { ...deltas, access: "read_write" }],
    code,
    workgroups,
  );
}

const deltas: NamedBinding = {
  name: "deltas",
  operand: "scratch",
  index: 0,
  access: "read",
  dtype: "f32",
};

function deltaOf({ heads, queries }: Sizes, row: string): string {
  return `deltas[(b * ${heads} + h) * ${queries} + ${row}]`;
}

/** `dq`, a thread for each query. */
function queryGradient(spec: KernelSpec, target: WgslTarget): WgslDispatch {
  const [q, k, v, visible, , logsumexp, dout] = spec.inputs as View[] as Seven;
  const sizes = sizesOf(q, k, target);
  const { tile, queries } = sizes;
  const { workgroups, code: placed } = place(queries, threads, sizes, target);
  const scale = scaleOf(spec);
  const code = `${limitsDeclarations}${declareTiles(["k_tile", "v_tile"], sizes)}${
    main(`${placed}${limits(visible, sizes)}
${loadRow("q_row", "q", q, "i", sizes)}
${loadRow("g_row", "dout", dout, "i", sizes)}
  let delta = ${deltaOf(sizes, "i")};
  let normalizer = ${asF32(logsumexp, `logsumexp[${elementAt(logsumexp, ["b", "h", "i"])}]`)};
  ${declareRow("dq_row", sizes)}
  for (var start = 0; start < end; start += ${tile}) {
${
      fillTiles(
        [{ tile: "k_tile", name: "k", view: k }, { tile: "v_tile", name: "v", view: v }],
        sizes,
      )
    }
    workgroupBarrier();
    let count = min(${tile}, limit - start);
    for (var j = 0; j < count; j++) {
${product("s", "q_row", "k_tile", "j", sizes)}${product("dp", "g_row", "v_tile", "j", sizes)}
      let ds = exp(s * ${scale} - normalizer) * (dp - delta);
${addScaled("dq_row", "ds", "k_tile", "j", sizes)}
    }
    workgroupBarrier();
  }
  if (inside) {
${storeRow("dq", spec.outputs[0]!, "row", "dq_row", scale, sizes)}
  }
`)
  }`;
  return dispatchOf(
    "attentionGradient dq",
    [
      input("q", 0, q),
      input("k", 1, k),
      input("v", 2, v),
      input("visible", 3, visible),
      input("logsumexp", 5, logsumexp),
      input("dout", 6, dout),
      output("dq", 0, spec.outputs[0]!),
      deltas,
    ],
    code,
    workgroups,
  );
}

/** `dk`, a thread for each key. */
function keyGradient(spec: KernelSpec, target: WgslTarget): WgslDispatch {
  const [q, k, v, visible, , logsumexp, dout] = spec.inputs as View[] as Seven;
  const sizes = sizesOf(q, k, target);
  return keySide(spec, target, {
    name: "attentionGradient dk",
    registers: [{ register: "k_row", name: "k", view: k }, {
      register: "v_row",
      name: "v",
      view: v,
    }],
    scalars: [
      {
        name: "normalizers",
        value: asF32(logsumexp, `logsumexp[${elementAt(logsumexp, ["b", "h", "r"])}]`),
      },
      { name: "delta_tile", value: deltaOf(sizes, "r") },
    ],
    pair: `${product("dp", "v_row", "g_tile", "r", sizes)}
      let ds = exp(s * ${scaleOf(spec)} - normalizers[r]) * (dp - delta_tile[r]) * ${
      scaleOf(spec)
    };`,
    weight: "ds",
    tile: "q_tile",
    output: 1,
    bindings: [
      input("q", 0, q),
      input("k", 1, k),
      input("v", 2, v),
      input("visible", 3, visible),
      input("logsumexp", 5, logsumexp),
      input("dout", 6, dout),
      deltas,
    ],
  });
}

/** `dv`, a thread for each key. */
function valueGradient(spec: KernelSpec, target: WgslTarget): WgslDispatch {
  const [q, k, , visible, , logsumexp, dout] = spec.inputs as View[] as Seven;
  return keySide(spec, target, {
    name: "attentionGradient dv",
    registers: [{ register: "k_row", name: "k", view: k }],
    scalars: [
      {
        name: "normalizers",
        value: asF32(logsumexp, `logsumexp[${elementAt(logsumexp, ["b", "h", "r"])}]`),
      },
    ],
    pair: `      let p = exp(s * ${scaleOf(spec)} - normalizers[r]);`,
    weight: "p",
    tile: "g_tile",
    output: 2,
    bindings: [
      input("q", 0, q),
      input("k", 1, k),
      input("visible", 3, visible),
      input("logsumexp", 5, logsumexp),
      input("dout", 6, dout),
    ],
  });
}

type Seven = [View, View, View, View, View, View, View];

/** A gradient of keys or values: `Σ weight · row of tile` over the queries that see the key. */
function keySide(
  spec: KernelSpec,
  target: WgslTarget,
  side: {
    readonly name: string;
    readonly registers: readonly { register: string; name: string; view: View }[];
    /** Numbers that belong to the query `r`, kept beside the tiles. */
    readonly scalars: readonly { name: string; value: string }[];
    readonly pair: string;
    readonly weight: string;
    readonly tile: "q_tile" | "g_tile";
    readonly output: number;
    readonly bindings: readonly NamedBinding[];
  },
): WgslDispatch {
  const [q, k, , visible, , , dout] = spec.inputs as View[] as Seven;
  const sizes = sizesOf(q, k, target);
  const { tile, queries, keys } = sizes;
  const { workgroups, code: placed } = place(keys, threads, sizes, target);
  const result = spec.outputs[side.output]!;
  const seenVectors = Math.ceil(tile / 4);
  const scalars = side.scalars.map(({ name }) => `var<workgroup> ${name}: array<f32, ${tile}>;\n`);
  const code = `${declareTiles(["q_tile", "g_tile"], sizes)}${scalars.join("")}
fn visible_to(b: i32, start: i32, r: i32) -> i32 {
  if (r >= ${tile} || start + r >= ${queries}) { return 0; }
  return i32(visible[${elementAt(visible, ["b", "(start + r)"])}]);
}
var<workgroup> seen: array<vec4<i32>, ${seenVectors}>;
var<workgroup> furthest: i32;
${
    main(`${placed}
${
      side.registers.map(({ register, name, view }) => loadRow(register, name, view, "i", sizes))
        .join("\n")
    }
  ${declareRow("d_row", sizes)}
  for (var start = 0; start < ${loopBound(queries, target)}; start += ${tile}) {
    if (local < ${seenVectors}) {
      seen[local] = vec4<i32>(${repeat(4, (c) => `visible_to(b, start, 4 * local + ${c})`, ", ")});
    }
    workgroupBarrier();
    if (local == 0) {
      var most = vec4<i32>();
      for (var t = 0; t < ${loopBound(seenVectors, target)}; t++) { most = max(most, seen[t]); }
      furthest = max(max(most.x, most.y), max(most.z, most.w));
    }
    // No query of the tile sees the first key here, hence none of the keys.
    if (workgroupUniformLoad(&furthest) <= first_row) { continue; }
${
      fillTiles([{ tile: "q_tile", name: "q", view: q }, {
        tile: "g_tile",
        name: "dout",
        view: dout,
      }], sizes)
    }
    if (local < ${tile}) {
      let r = min(start + local, ${queries - 1});
${side.scalars.map(({ name, value }) => `      ${name}[local] = ${value};`).join("\n")}
    }
    workgroupBarrier();
    for (var r = 0; r < ${loopBound(tile, target)}; r++) {
      if (seen[r / 4][r % 4] <= i) { continue; }
${product("s", "k_row", "q_tile", "r", sizes)}
${side.pair}
${addScaled("d_row", side.weight, side.tile, "r", sizes)}
    }
    workgroupBarrier();
  }
  if (inside) {
${storeRow("result", result, "row", "d_row", "1.0", sizes)}
  }
`)
  }`;
  const bindings = [...side.bindings, output("result", side.output, result)];
  return dispatchOf(side.name, bindings, code, workgroups);
}
