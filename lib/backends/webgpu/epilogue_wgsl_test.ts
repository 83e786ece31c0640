import { assertEquals } from "@std/assert";
import {
  add,
  cast,
  greater,
  matmul,
  mul,
  placeholder,
  planOf,
  reshape,
  rotary2d,
  silu,
  swapAxes,
  type Tensor,
  transpose,
} from "../../../mod.ts";
import { matmulWgsl } from "../../../ops/matmul/wgsl.ts";
import { use } from "../../device.ts";
import type { DType } from "../../dtype.ts";
import { type Shape, sizeOf } from "../../shape.ts";
import { type GemmVariant, mostParts } from "./gemm.ts";
import { assertClose, noise, onReference, runPlanWith, tensorOf, webgpuTest } from "./testing.ts";

const tile = {
  threadRows: 4,
  threadColumns: 4,
  rows: 4,
  columns: 4,
  depth: 4,
  buffers: 1,
} as const;
/** Every way in which a product is computed, with tiles that are soon compiled. */
const variants: GemmVariant[] = [
  { kind: "plain" },
  { kind: "tiled", tile, parts: 1 },
  { kind: "tiled", tile: { ...tile, buffers: 2 }, parts: 2 },
  { kind: "skinny", lanes: 1, threads: 64, subgroups: false },
];

/** Functions that end in one product each. */
const endings: {
  name: string;
  types: DType[];
  shapes: Shape[];
  run: (...x: Tensor[]) => Tensor[];
}[] = [
  {
    name: "bias and activation, kept and not, in vectors",
    types: ["f32", "f16"],
    shapes: [[9, 520], [520, 24], [24]],
    run(x, w, b) {
      const inner = add(matmul(x!, w!), b!);
      return [inner, silu(inner), cast(greater(inner, 0.1), "i32")];
    },
  },
  {
    name: "a product that is wanted itself, and its residual",
    types: ["f32", "f16"],
    shapes: [[2, 5, 520], [2, 520, 7], [2, 5, 7]],
    run(a, b, x) {
      const product = matmul(a!, b!);
      return [product, add(mul(product, 0.5), x!)];
    },
  },
  {
    name: "a transposed result of many rows and few columns",
    types: ["f32"],
    shapes: [[37, 520], [520, 8], [8]],
    run: (a, b, bias) => [mul(swapAxes(add(matmul(a!, b!), bias!), 0, 1), 2)],
  },
  {
    name: "neighbors turned by their positions",
    types: ["f32"],
    shapes: [[12, 520], [520, 32], [6, 4], [6, 4]],
    run(x, w, cos, sin) {
      const heads = transpose(reshape(matmul(x!, w!), [2, 6, 4, 8]), [0, 2, 1, 3]);
      return [rotary2d(heads, cos!, sin!)];
    },
  },
];

for (const { name, types, shapes, run } of endings) {
  for (const dtype of types) {
    webgpuTest(`${name}: every way to multiply ends in it, ${dtype}`, async (backend) => {
      if (dtype === "f16" && !backend.features.f16) return;
      const given = shapes.map((shape, i) => {
        const draw = noise(i + 1), scale = i < 2 ? shapes[0]!.at(-1)! ** -0.25 : 1;
        return tensorOf(dtype, shape, (j) => scale * draw(j));
      });
      const wanted = await onReference(run, given);
      use(backend);
      const plan = planOf(run, shapes.map((shape) => placeholder(shape, dtype)));
      const [step, ...others] = plan.steps;
      assertEquals([step!.kind, others.length], ["kernel", 0], step!.name);
      if (step!.kind !== "kernel") return;
      const [rows, columns] = step.spec.outputs[0]!.shape.slice(-2) as [number, number];
      const batch = sizeOf(step.spec.outputs[0]!.shape.slice(0, -2));
      const depth = shapes[0]!.at(-1)!;
      const vectorsOnly = step.spec.epilogue!.parts.some(({ span }) => span > 1);
      for (const choice of variants) {
        if (choice.kind === "skinny") {
          if (Math.min(rows, columns) > 16 || (rows > columns && vectorsOnly)) continue;
        }
        const most = mostParts({ batch, rows, columns, depth });
        const variant = choice.kind === "tiled"
          ? { ...choice, parts: Math.min(choice.parts, most) }
          : choice;
        const wgsl: typeof matmulWgsl = (spec, target) =>
          matmulWgsl(spec, { ...target, choose: <V>() => variant as V });
        const found = await runPlanWith(backend, plan, given, wgsl);
        for (const [i, values] of wanted.entries()) {
          const tolerance = dtype === "f32" ? 2e-5 : 4e-3;
          assertClose(found[i]!, values, tolerance, `${JSON.stringify(variant)}, result ${i}`);
        }
      }
    });
  }
}
