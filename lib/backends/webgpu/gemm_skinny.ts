/**
 * Matrix products with few rows, as in decoding: every element of the large factor is read once, by
 * neighbors side by side, and the threads of a workgroup share the depth.
 */
import type { WgslDispatch, WgslTarget } from "../../op.ts";
import { type Gemm, type GemmFactor, type GemmVariant, resultsOf, storeOf } from "./gemm.ts";
import { dispatchOf, flatGrid, loopBound, mainArguments, repeat } from "./kernel_wgsl.ts";

/**
 * The dispatch of a product with few rows, or with few columns, which is taken as its transpose.
 *
 * @param gemm The product, with a store statement.
 * @param variant Columns and threads of a workgroup.
 */
export function skinnyGemm(
  gemm: Gemm,
  variant: GemmVariant & { kind: "skinny" },
  target: WgslTarget,
): WgslDispatch {
  const swapped = gemm.rows > gemm.columns;
  const [few, many] = swapped ? [gemm.right, gemm.left] : [gemm.left, gemm.right];
  const rows = Math.min(gemm.rows, gemm.columns), columns = Math.max(gemm.rows, gemm.columns);
  const { batch, depth } = gemm;
  const store = storeOf(gemm);
  const { lanes, threads } = variant;
  const shares = threads / lanes;
  const blocks = Math.ceil(columns / (4 * lanes));
  const grid = flatGrid(batch * blocks, target);
  const inDepth = many.along === "depth";

  // Four columns of `many` at a depth, or at four depths, times the same of each row of `few`.
  const deep = inDepth && many.vector ? 4 : 1;
  const column = (c: number) => columns % 4 ? `min(n + ${c}, ${columns - 1})` : `(n + ${c})`;
  const loads = deep === 4
    ? repeat(4, (c) => `    let w${c} = ${many.vector!(column(c), "k")};`)
    : `    let w = ${
      many.vector
        ? many.vector(`min(n, ${columns - 4})`, "k")
        : `vec4<f32>(${repeat(4, (c) => many.element(column(c), "k"), ", ")})`
    };`;
  const update = (m: number) =>
    deep === 4
      ? `    { let x = ${fourDeep(few, String(m))};
      sum${m} += vec4<f32>(${repeat(4, (c) => `dot(x, w${c})`, ", ")}); }`
      : `    sum${m} = fma(vec4<f32>(${few.element(String(m), "k")}), w, sum${m});`;

  // With one lane, subgroups add what their threads have; of any size, and numbered in order.
  const subgroups = variant.subgroups && lanes === 1;
  const gather = subgroups
    ? `${repeat(rows, (m) => `  sum${m} = subgroupAdd(sum${m});`)}
  let width = i32(subgroup_size);
  if (local % width == 0) {
${repeat(rows, (m) => `    sums[${m * threads} + local / width] = sum${m};`)}
  }
  workgroupBarrier();`
    : `${repeat(rows, (m) => `  sums[${m * threads} + place] = sum${m};`)}
  workgroupBarrier();
  for (var stride = ${loopBound(shares / 2, target)}; stride > 0; stride /= 2) {
    if (share < stride) {
${
      repeat(rows, (m) =>
        `      sums[${m * threads} + place] += sums[${m * threads} + place + stride];`)
    }
    }
    workgroupBarrier();
  }`;
  // One element after the other, or four, by all threads.
  const inVectors = !swapped && gemm.vectorStore !== undefined;
  const span = inVectors ? 1 : 4, component = inVectors ? "" : "[i % 4]";
  const first = inVectors ? "" : " + i % 4";
  const statement = swapped ? store("to", "m", "value") : store("m", "to", "value");
  const value = subgroups
    ? `var value = ${inVectors ? "vec4<f32>()" : "0.0"};
    for (var s = 0; s * width < ${threads}; s++) { value += sums[m * ${threads} + s]${component}; }`
    : `let value = sums[m * ${threads} + of_lane * ${shares}]${component};`;
  const finish = `    let m = i / ${span * lanes};
    let of_lane = (i / ${span}) % ${lanes};
    let to = ((group % ${blocks}) * ${lanes} + of_lane) * 4${first};
    if (to < ${columns}) {
    ${value}
    ${inVectors ? gemm.vectorStore!.store("m", "to", "value") : statement}
    }`;
  const [lane, share] = inDepth
    ? [`local / ${shares}`, `local % ${shares}`]
    : [`local % ${lanes}`, `local / ${lanes}`];
  const code = `${gemm.functions ?? ""}${gemm.resultFunctions ?? ""}
var<workgroup> sums: array<vec4<f32>, ${rows * threads}>;
@compute @workgroup_size(${threads})
fn main(${mainArguments}${subgroups ? ", @builtin(subgroup_size) subgroup_size: u32" : ""}) {
  ${grid.group}
  let local = i32(local_index);
  let lane = ${lane};
  let share = ${share};
  let place = lane * ${shares} + share;
  let z = group / ${blocks};
  let n = ((group % ${blocks}) * ${lanes} + lane) * 4;
${gemm.prologue ?? ""}
${repeat(rows, (m) => `  var sum${m} = vec4<f32>();`)}
  for (var k = share * ${deep}; k < ${loopBound(depth, target)}; k += ${shares * deep}) {
${loads}
${repeat(rows, update)}
  }
${gather}
  for (var i = local; i < ${
    loopBound(rows * lanes * (inVectors ? 1 : 4), target)
  }; i += ${threads}) {
${finish}
  }
}
`;
  return dispatchOf(
    gemm.name,
    [...gemm.bindings, ...resultsOf(gemm, inVectors)],
    code,
    grid.workgroups,
  );
}

/** Four neighbors of a factor along the depth. */
function fourDeep({ along, vector, element }: GemmFactor, x: string): string {
  if (along === "depth" && vector) return vector(x, "k");
  return `vec4<f32>(${repeat(4, (j) => element(x, `(k + ${j})`), ", ")})`;
}
