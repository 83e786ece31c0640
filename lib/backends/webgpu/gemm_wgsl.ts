/** The matrix product that matmul, convolutions and the vocabulary's cross entropy share. */
import type { WgslDispatch, WgslTarget } from "../../op.ts";
import { type Gemm, type GemmVariant, gemmVariants, resultsOf, storeOf } from "./gemm.ts";
import { skinnyGemm } from "./gemm_skinny.ts";
import { tiledGemm } from "./gemm_tiled.ts";
import { dispatchOf, flatGrid, loopBound, mainArguments, repeat } from "./kernel_wgsl.ts";

export type { Gemm, GemmEpilogue, GemmFactor, GemmTile } from "./gemm.ts";
export { gemmScratch } from "./gemm.ts";

/** The dispatches that compute the products, in the way that suits their shape and the device. */
export function gemmWgsl(gemm: Gemm, target: WgslTarget): WgslDispatch[] {
  if (typeof gemm.store !== "function") return tiledGemm(gemm, gemm.store.tile, 1, target);
  const variants = gemmVariants(gemm, target);
  const variant = target.choose?.(problemOf(gemm), variants) ?? variants[0]!;
  return gemmWith(gemm, variant, target);
}

/** The dispatches of one way to compute the products; not for those with an epilogue of their own. */
export function gemmWith(gemm: Gemm, variant: GemmVariant, target: WgslTarget): WgslDispatch[] {
  switch (variant.kind) {
    case "plain":
      return [plainGemm(gemm, target)];
    case "skinny":
      return [skinnyGemm(gemm, variant, target)];
    case "tiled":
      return tiledGemm(gemm, variant.tile, variant.parts, target);
  }
}

/** Names all that the speed of a product depends on. */
function problemOf(
  { name, batch, rows, columns, depth, left, right, bindings, results }: Gemm,
): string {
  const factors = [left, right].map(({ along, vector }) => `${along}${vector ? "4" : ""}`);
  const types = [...bindings, ...results].map(({ dtype }) => dtype);
  return [name, batch, rows, columns, depth, ...factors, ...types].join(" ");
}

/** One thread for each element of the products, or for four neighbors. */
function plainGemm(gemm: Gemm, target: WgslTarget): WgslDispatch {
  const { batch, rows, columns, depth, left, right, vectorStore } = gemm;
  const span = vectorStore ? 4 : 1, threads = batch * rows * columns / span;
  const store = vectorStore?.store ?? storeOf(gemm);
  const grid = flatGrid(Math.ceil(threads / 64), target);
  const columnsAt = span === 1
    ? right.element("n", "k")
    : right.along === "side" && right.vector
    ? right.vector("n", "k")
    : `vec4<f32>(${repeat(4, (c) => right.element(`(n + ${c})`, "k"), ", ")})`;
  const wide = (x: string) => span === 1 ? x : `vec4<f32>(${x})`;
  const code = `${gemm.functions ?? ""}${gemm.resultFunctions ?? ""}
@compute @workgroup_size(64)
fn main(${mainArguments}) {
  ${grid.group}
  let local = group * 64 + i32(local_index);
  if (local >= ${threads}) { return; }
  let z = local / ${rows * columns / span};
  let m = (local / ${columns / span}) % ${rows};
  let n = (local % ${columns / span}) * ${span};
${gemm.prologue ?? ""}
  var sum = ${wide("0.0")};
  for (var k = 0; k < ${loopBound(depth, target)}; k++) {
    sum = fma(${wide(left.element("m", "k"))}, ${columnsAt}, sum);
  }
  ${store("m", "n", "sum")}
}
`;
  const results = resultsOf(gemm, span === 4);
  return dispatchOf(gemm.name, [...gemm.bindings, ...results], code, grid.workgroups);
}
