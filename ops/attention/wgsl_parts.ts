/**
 * Attention of few queries on many keys: the keys are shared out to several workgroups, whose states of
 * the softmax a small kernel then brings together.
 *
 * Source: Dao, Haziza, Massa and Sizov, "Flash-Decoding for long-context inference" (2023).
 */
import type { KernelSpec, View, WgslDispatch, WgslTarget } from "../../lib/op.ts";
import { type EpilogueWgsl, epilogueWgsl } from "../../lib/backends/webgpu/epilogue_wgsl.ts";
import {
  dispatchOf,
  flatGrid,
  loopBound,
  mainArguments,
  type NamedBinding,
} from "../../lib/backends/webgpu/kernel_wgsl.ts";
import { sizeOf } from "../../lib/shape.ts";
import {
  eachVector,
  minusInfinity,
  output,
  type Sizes,
  sizesOf,
  storeResult,
  threads,
} from "./wgsl_rows.ts";

/** Workgroups that a large GPU wants at least: about two for each of its multiprocessors. */
const wantedGroups = 256;
/** Keys that are worth a workgroup of their own. */
const keysOfPart = 128;
const mostParts = 32;

/** How many threads share the keys of a query. */
export function threadsOfQuery(queries: number): number {
  return queries >= 32 ? 1 : Math.min(16, threads / 2 ** Math.ceil(Math.log2(queries || 1)));
}

/** Into how many parts the keys are cut. */
function partsOf({ inputs: [q, k] }: KernelSpec): number {
  const [batch, heads, queries] = q!.shape as [number, number, number];
  const blocks = Math.ceil(queries * threadsOfQuery(queries) / threads);
  const wanted = Math.ceil(wantedGroups / Math.max(1, batch * heads * blocks));
  return Math.max(1, Math.min(wanted, Math.floor(k!.shape[2]! / keysOfPart), mostParts));
}

/** Room for the states of the parts, if there are several. */
export function attentionScratch(spec: KernelSpec): number[] {
  const parts = partsOf(spec), [batch, heads, queries, width] = spec.inputs[0]!.shape;
  const vectors = Math.max(1, Math.ceil(width! / 4));
  return parts === 1 ? [] : [16 * parts * batch! * heads! * queries! * (vectors + 1)];
}

/** Into how many parts the keys are cut on a device; a software adapter is busy with one. */
export function partsOn(spec: KernelSpec, { software }: WgslTarget): number {
  return software ? 1 : partsOf(spec);
}

/** For each part and query the vectors of `Σ exp(score - largest) v`, then `largest, Σ exp(score - largest)`. */
export const states: NamedBinding = {
  name: "states",
  operand: "scratch",
  index: 0,
  access: "read_write",
  dtype: "f32",
  vectors: true,
};

/** Where the state of a query, a row of all there are, begins. */
function stateOf(part: string, row: string, { batch, heads, queries, vectors }: Sizes): string {
  return `(${part} * ${batch * heads * queries} + ${row}) * ${vectors + 1}`;
}

/** Stores the state of this thread's query. */
export function storeState(sizes: Sizes): string {
  return `    let base = ${stateOf("part", "matrix_row", sizes)};
${eachVector(sizes, (d) => `    states[base + ${d}] = o_row[${d}];`)}
    states[base + ${sizes.vectors}] = vec4<f32>(largest, sum, 0.0, 0.0);
`;
}

/** What the kernel that has the results writes, and reads to end them. */
export function resultBindings(
  { outputs: [out, logsumexp] }: KernelSpec,
  epilogue: EpilogueWgsl | undefined,
): NamedBinding[] {
  return [
    ...epilogue?.keeps ?? true ? [output("out", 0, out!)] : [],
    output("logsumexp", 1, logsumexp!),
    ...epilogue?.bindings ?? [],
  ];
}

/** The results from the states of all parts, a thread for four elements. */
export function combineParts(spec: KernelSpec, target: WgslTarget, parts: number): WgslDispatch {
  const [q, k] = spec.inputs as [View, View];
  const [out, logsumexp] = spec.outputs as [View, View];
  const sizes = sizesOf(q, k, target), { vectors } = sizes;
  const epilogue = epilogueWgsl(spec);
  const count = sizeOf(logsumexp.shape) * vectors;
  const grid = flatGrid(Math.ceil(count / threads), target);
  const bound = loopBound(parts, target);
  const code = `${minusInfinity}${epilogue?.functions ?? ""}
@compute @workgroup_size(${threads})
fn main(${mainArguments}) {
  ${grid.group}
  let at = group * ${threads} + i32(local_index);
  if (at >= ${count}) { return; }
  let matrix_row = at / ${vectors};
  let d = at % ${vectors};
  var largest = -3.0e38;
  for (var part = 0; part < ${bound}; part++) {
    largest = max(largest, states[${stateOf("part", "matrix_row", sizes)} + ${vectors}].x);
  }
  var sum = 0.0;
  var total = vec4<f32>();
  for (var part = 0; part < ${bound}; part++) {
    let base = ${stateOf("part", "matrix_row", sizes)};
    let state = states[base + ${vectors}];
    let weight = exp(state.x - largest);
    sum += state.y * weight;
    total += states[base + d] * weight;
  }
  // No part has seen a key.
  let empty = sum == 0.0;
  if (d == 0) { logsumexp[matrix_row] = select(largest + log(sum), minus_infinity(), empty); }
  let r = total * select(1.0 / sum, 0.0, empty);
  ${storeResult(out, epilogue, "d", sizes)}
}
`;
  return dispatchOf(
    "attention of parts",
    [
      { ...states, access: "read" },
      ...resultBindings(spec, epilogue),
    ],
    code,
    grid.workgroups,
  );
}
