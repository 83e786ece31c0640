/** The matrix product that matmul, convolutions and the vocabulary's cross entropy share. */
import type { WgslDispatch, WgslTarget } from "../../op.ts";
import { type Gemm, type GemmVariant, gemmVariants, storeOf } from "./gemm.ts";
import { skinnyGemm } from "./gemm_skinny.ts";
import { tiledGemm } from "./gemm_tiled.ts";
import { dispatchOf, flatGrid, loopBound, mainArguments } from "./kernel_wgsl.ts";

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
function problemOf({ name, batch, rows, columns, depth, left, right, bindings }: Gemm): string {
  const factors = [left, right].map(({ along, vector }) => `${along}${vector ? "4" : ""}`);
  const types = bindings.map(({ dtype }) => dtype);
  return [name, batch, rows, columns, depth, ...factors, ...types].join(" ");
}

/** One thread for each element of the products. */
function plainGemm(gemm: Gemm, target: WgslTarget): WgslDispatch {
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
    sum = fma(${gemm.left.element("m", "k")}, ${gemm.right.element("n", "k")}, sum);
  }
  ${storeOf(gemm)("m", "n", "sum")}
}
`;
  return dispatchOf(gemm.name, gemm.bindings, code, grid.workgroups);
}
