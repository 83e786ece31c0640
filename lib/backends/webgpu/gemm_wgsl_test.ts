import type { WgslTarget } from "../../op.ts";
import { matmulScratch, matmulWgsl } from "../../../ops/matmul/wgsl.ts";
import { type GemmVariant, mostParts } from "./gemm.ts";
import {
  assertClose,
  noise,
  runKernel,
  tensorOf,
  type ViewedTensor,
  webgpuTest,
} from "./testing.ts";

const tile = {
  threadRows: 4,
  threadColumns: 4,
  rows: 4,
  columns: 8,
  depth: 8,
  buffers: 1,
} as const;
/** Every way in which the generator computes a product on hardware, with small tiles. */
const variants: GemmVariant[] = [
  { kind: "tiled", tile, parts: 1 },
  { kind: "tiled", tile: { ...tile, columns: 8, buffers: 2, depth: 4 }, parts: 4 },
  { kind: "skinny", lanes: 1, threads: 64, subgroups: false },
  { kind: "skinny", lanes: 1, threads: 64, subgroups: true },
  { kind: "skinny", lanes: 4, threads: 32, subgroups: false },
];

/** A target that takes one variant; its loops are not unrolled, which would take long to compile. */
function withVariant(target: WgslTarget, variant: GemmVariant): WgslTarget {
  return { ...target, choose: <V>() => variant as V };
}

/** A batch of matrices with the same elements whether they are stored by rows or by columns. */
function matrices([z, m, n]: readonly [number, number, number], byColumns: boolean, seed: number) {
  const element = noise(seed), size = z * m * n;
  const values = Float64Array.from({ length: size }, (_, i) => Math.fround(element(i)));
  const stored = tensorOf("f32", [z, m, n], (i) => {
    if (!byColumns) return values[i]!;
    const column = Math.floor(i / m) % n, matrix = Math.floor(i / (m * n));
    return values[(matrix * m + i % m) * n + column]!;
  });
  const strides = byColumns ? [m * n, 1, m] : [m * n, n, 1];
  const tensor: ViewedTensor = {
    ...stored,
    view: { shape: [z, m, n], dtype: "f32", strides, offset: 0 },
  };
  return { values, tensor };
}

/** In vectors and not, wide and tall, with a depth that fills no tile and one to be cut. */
const shapes = [[1, 20, 44, 36], [2, 7, 33, 21], [3, 3, 24, 1100], [1, 70, 5, 40]] as const;

for (const [z, m, n, k] of shapes) {
  webgpuTest(`every way to multiply ${z} times ${m} × ${k} by ${k} × ${n}`, async (backend) => {
    for (const [left, right] of [[false, true], [true, false]] as const) {
      const a = matrices([z, m, k], left, 1), b = matrices([z, k, n], right, 2);
      const wanted = new Float64Array(z * m * n);
      for (let i = 0; i < wanted.length; i++) {
        const row = Math.floor(i / n), start = Math.floor(row / m) * k * n + i % n;
        for (let j = 0; j < k; j++) wanted[i]! += a.values[row * k + j]! * b.values[start + j * n]!;
      }
      for (const choice of variants) {
        if (choice.kind === "skinny" && Math.min(m, n) > 16) continue;
        const most = mostParts({ batch: z, rows: m, columns: n, depth: k });
        const variant = choice.kind === "tiled"
          ? { ...choice, parts: Math.min(choice.parts, most) }
          : choice;
        const [found] = await runKernel(
          backend,
          {
            wgsl: (spec, target) =>
              variant.kind === "skinny" && variant.subgroups && !target.features.subgroups
                ? matmulWgsl(spec, target)
                : matmulWgsl(spec, withVariant(target, variant)),
            scratch: matmulScratch,
          },
          [a.tensor, b.tensor],
          [{ shape: [z, m, n], dtype: "f32" }],
        );
        assertClose(
          found!,
          wanted,
          1e-6 * Math.sqrt(k),
          `${JSON.stringify(variant)} ${left} ${right}`,
        );
      }
    }
  });
}
