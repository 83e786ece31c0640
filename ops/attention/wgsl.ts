/**
 * Attention on WebGPU, blockwise with online softmax (Dao et al., "FlashAttention", 2022): every
 * thread keeps one row in registers and meets the rows of the other side in workgroup memory.
 */
import type { KernelSpec, View, WgslDispatch, WgslTarget } from "../../lib/op.ts";
import { epilogueWgsl } from "../../lib/backends/webgpu/epilogue_wgsl.ts";
import { dispatchOf, loopBound, repeat } from "../../lib/backends/webgpu/kernel_wgsl.ts";
import {
  combineParts,
  partsOn,
  resultBindings,
  states,
  storeState,
  threadsOfQuery,
} from "./wgsl_parts.ts";
import {
  declareRow,
  declareTiles,
  eachVector,
  fillTiles,
  input,
  limits,
  limitsDeclarations,
  loadRow,
  main,
  minusInfinity,
  place,
  product,
  scaleOf,
  sizesOf,
  storeResult,
  threads,
} from "./wgsl_rows.ts";

export { attentionScratch } from "./wgsl_parts.ts";
export { attentionGradientScratch, attentionGradientWgsl } from "./wgsl_gradient.ts";

/**
 * `q [B, H, N, D]`, `k` and `v [B, H, M, D]`, `visible [B or 1, N]` to `out [B, H, N, D]` and
 * `logsumexp [B, H, N]`.
 */
export function attentionWgsl(spec: KernelSpec, target: WgslTarget): WgslDispatch[] {
  const [q, k, v, visible] = spec.inputs as [View, View, View, View];
  const [out] = spec.outputs as [View, View];
  const sizes = sizesOf(q, k, target);
  const epilogue = epilogueWgsl(spec);
  const { vectors, tile, queries, heads } = sizes;
  // With few queries, several threads share the keys of each, and so do several workgroups.
  const share = threadsOfQuery(queries), parts = partsOn(spec, target);
  const { workgroups, code: placed } = place(queries, threads / share, sizes, target, parts);

  /** Takes `count` keys from `j` on into the running maximum, sum and result. */
  const take = (count: number) => {
    const each = (f: (c: number) => string, separator: string) => repeat(count, f, separator);
    const weighted = (d: number | string) =>
      each((c) => `p${c} * v_tile[(j + ${c}) * ${vectors} + ${d}]`, " + ");
    return `${each((c) => product(`s${c}`, "q_row", "k_tile", `(j + ${c})`, sizes), "")}
      var larger = largest;
${each((c) => `      larger = max(larger, s${c});`, "\n")}
      let shrink = exp(largest - larger);
      largest = larger;
${each((c) => `      let p${c} = exp(s${c} - larger);`, "\n")}
      sum = sum * shrink + ${each((c) => `p${c}`, " + ")};
${eachVector(sizes, (d) => `      o_row[${d}] = o_row[${d}] * shrink + ${weighted(d)};`)}`;
  };
  // Threads take several keys at a time, but no more than leave some of a tile for the others.
  const step = target.software ? 1 : Math.max(1, Math.min(4, Math.floor(tile / share)));
  const several = step === 1 ? "" : `for (; j + ${step} <= count; j += ${step * share}) {
${take(step)}
    }
    `;
  const stride = step === 1 ? share : 1;
  const merge = share === 1 ? "" : `  shares[local] = vec4<f32>(largest, sum, 0.0, 0.0);
  workgroupBarrier();
  let first = (local / ${share}) * ${share};
  var overall = largest;
  for (var t = 0; t < ${loopBound(share, target)}; t++) {
    overall = max(overall, shares[first + t].x);
  }
  sum = 0.0;
  for (var t = 0; t < ${loopBound(share, target)}; t++) {
    sum += shares[first + t].y * exp(shares[first + t].x - overall);
  }
  let shrink = exp(largest - overall);
  largest = overall;
${
    eachVector(sizes, (d) =>
      `  workgroupBarrier();
  shares[local] = o_row[${d}] * shrink;
  workgroupBarrier();
  o_row[${d}] = shares[first];
  for (var t = 1; t < ${loopBound(share, target)}; t++) { o_row[${d}] += shares[first + t]; }`)
  }
`;
  // Parts are equal shares of the keys that some query here sees.
  const keysOfPart = parts === 1
    ? "let first_key = 0;\n  let end_key = end;"
    : `let share_of_keys = (end + ${parts * tile - 1}) / ${parts * tile} * ${tile};
  let first_key = part * share_of_keys;
  let end_key = min(end, first_key + share_of_keys);`;
  const result = `    let scale = select(1.0 / sum, 0.0, limit == 0);
    logsumexp[matrix_row] = select(largest + log(sum), minus_infinity(), limit == 0);
${
    eachVector(sizes, (d) =>
      `    { let r = o_row[${d}] * scale; ${storeResult(out, epilogue, d, sizes)} }`)
  }`;
  const code = `${minusInfinity}${limitsDeclarations}${declareTiles(["k_tile", "v_tile"], sizes)}${
    share === 1 ? "" : `var<workgroup> shares: array<vec4<f32>, ${threads}>;\n`
  }${parts === 1 && epilogue ? epilogue.functions : ""}${
    main(`${placed}${limits(visible, sizes)}
${loadRow("q_row", "q", q, "i", sizes, scaleOf(spec))}
  ${declareRow("o_row", sizes)}
  var largest = -3.0e38;
  var sum = 0.0;
  ${keysOfPart}
  for (var start = first_key; start < end_key; start += ${tile}) {
${
      fillTiles(
        [{ tile: "k_tile", name: "k", view: k }, { tile: "v_tile", name: "v", view: v }],
        sizes,
      )
    }
    workgroupBarrier();
    let count = min(${tile}, limit - start);
    var j = ${share === 1 ? "0" : `local % ${share} * ${step}`};
    ${several}for (; j < count; j += ${stride}) {
${take(1)}
    }
    workgroupBarrier();
  }
${merge}
  if (inside${share === 1 ? "" : ` && local % ${share} == 0`}) {
    let matrix_row = (b * ${heads} + h) * ${queries} + row;
${parts > 1 ? storeState(sizes) : result}
  }
`)
  }`;
  const attend = dispatchOf(
    "attention",
    [
      input("q", 0, q),
      input("k", 1, k),
      input("v", 2, v),
      input("visible", 3, visible),
      ...parts > 1 ? [states] : resultBindings(spec, epilogue),
    ],
    code,
    workgroups,
  );
  return parts > 1 ? [attend, combineParts(spec, target, parts)] : [attend];
}
