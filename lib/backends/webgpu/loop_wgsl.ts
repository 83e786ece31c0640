/** Fused kernels as WGSL: one compute shader for a `LoopKernel`. */
import type { DType } from "../../dtype.ts";
import type { LoopKernel, LoopReduction, LoopStore } from "../../compiler/plan.ts";
import type { WgslDispatch, WgslTarget } from "../../op.ts";
import { sizeOf } from "../../shape.ts";
import { ExpressionWriter } from "./expression_wgsl.ts";
import { loopBound } from "./kernel_wgsl.ts";
import { constantWgsl, functionsFor } from "./scalar_wgsl.ts";
import { identityOf } from "./split_reduction.ts";
import { chooseTiling, type Tiling } from "./tiling.ts";

/** The operands of a loop step; `buffer` tells which are the same memory. */
export interface LoopOperands {
  readonly reads: readonly { readonly buffer: number; readonly dtype: DType }[];
  readonly writes: readonly { readonly buffer: number; readonly dtype: DType }[];
}

/** A compute shader of fused kernels side by side. */
export interface LoopWgsl extends Omit<WgslDispatch, "bindings"> {
  /** The distinct buffers, each once, and whether they are written. */
  readonly bindings: readonly {
    readonly buffer: number;
    readonly access: "read" | "read_write";
  }[];
}

/**
 * The compute shader of a fused kernel, on one set of operands or on several side by side.
 *
 * @param name Shown in profiles.
 * @param kernel What to compute.
 * @param members Types of the buffers that it reads and writes; all alike but for the buffers.
 * @param target The device.
 * @returns One dispatch.
 */
export function loopWgsl(
  name: string,
  kernel: LoopKernel,
  members: readonly LoopOperands[],
  target: WgslTarget,
): LoopWgsl {
  const { bindings, declarations, readNames, writeNames } = bind(members);
  const { shared, size, groups, body, subgroups } = loopBody(kernel, members[0]!, target);
  const all = groups * members.length;
  const most = target.limits.maxComputeWorkgroupsPerDimension;
  const gridX = Math.min(all, most), gridY = all === 0 ? 0 : Math.ceil(all / gridX);
  const functions = members.map((_, i) => [
    `fn member${i}(group: i32, local: u32, workgroup: vec3<u32>, width: i32) {`,
    ...indented(body).map((line) =>
      line.replaceAll(
        /\b(read|write)_(\d+)\b/g,
        (_, kind, slot) => (kind === "read" ? readNames : writeNames)[i]![slot]!,
      )
    ),
    `}`,
  ]);
  const calls = members.length === 1
    ? [`  member0(flat, local, workgroup, width);`]
    : members.map((_, i) =>
      `  ${i > 0 ? "else " : ""}if (flat < ${(i + 1) * groups}) ` +
      `{ member${i}(flat - ${i * groups}, local, workgroup, width); }`
    );
  const code = [
    ...declarations,
    ...shared.map((declaration) => declaration.replace("SIZE", String(size))),
    ...functions.flat(),
    `@compute @workgroup_size(${size})`,
    `fn main(@builtin(workgroup_id) workgroup: vec3<u32>,`,
    `  @builtin(local_invocation_index) local: u32${
      subgroups ? ", @builtin(subgroup_size) subgroup_size: u32" : ""
    }) {`,
    `  let width = ${subgroups ? "i32(subgroup_size)" : "1"};`,
    `  let flat = i32(workgroup.x + workgroup.y * ${gridX}u);`,
    ...calls,
    `}`,
    ``,
  ].join("\n");
  const shown = members.length > 1 ? `${members.length} × ${name}` : name;
  return {
    name: shown,
    code: functionsFor(code) + code,
    bindings,
    workgroups: [gridX, gridY, 1],
  };
}

/** The lines of a kernel for the operands `read_0`, `write_0` and so on, and its workgroups. */
function loopBody(kernel: LoopKernel, operands: LoopOperands, target: WgslTarget) {
  const rowCount = sizeOf(kernel.rows), columnCount = sizeOf(kernel.columns);
  const tiling = chooseTiling(kernel, target);
  const size = tiling.rows * tiling.threads;
  const groups = Math.ceil(rowCount / tiling.rows);
  // Buffers that are the same go by the name of the write.
  const writeNames = operands.writes.map((_, i) => `write_${i}`);
  const readNames = operands.reads.map(({ buffer }, i) => {
    const written = operands.writes.findIndex((write) => write.buffer === buffer);
    return written < 0 ? `read_${i}` : writeNames[written]!;
  });
  const writer = new ExpressionWriter(kernel, operands.reads, readNames);

  // All values are evaluated before the first store, which may overwrite what they load.
  const store = (stores: readonly LoopStore[]): string[] =>
    stores.map(({ slot, index, value }) => {
      const text = stores.length > 1 ? writer.writeNamed(value) : writer.write(value);
      const stored = operands.writes[slot]!.dtype === "bool" ? `u32(${text})` : text;
      return `${writeNames[slot]}[${writer.write(index)}] = ${stored};`;
    });
  const shared: string[] = [];
  const passes = kernel.passes.map((pass) => {
    const accumulators = pass.reductions.map(accumulator);
    writer.openColumns();
    const updates = pass.reductions.map((reduction, i) =>
      accumulators[i]!.update(writer.write(reduction.value))
    );
    const stores = store(pass.stores);
    const columnLines = writer.closeColumns();
    const guarded = tiling.threads > 1 && stores.length > 0
      ? [`if (inside) {`, ...stores, `}`]
      : stores;
    const rowLines = writer.takeRowLines();
    for (const [i, { id }] of pass.reductions.entries()) {
      writer.setReduced(id, accumulators[i]!.result);
    }
    if (tiling.threads > 1) shared.push(...accumulators.map(({ shared }) => shared));
    return [
      ...rowLines,
      ...accumulators.map(({ start }) => start),
      `for (var column = ${tiling.threads > 1 ? "thread" : "0"}; column < ${
        loopBound(columnCount, target)
      }; column += ${tiling.threads}) {`,
      ...columnLines,
      ...updates,
      ...guarded,
      `}`,
      ...(tiling.threads > 1 ? combineThreads(accumulators, tiling, target) : []),
      ...accumulators.map(({ finish }) => finish),
    ];
  });
  const rowStores = store(kernel.rowStores);
  const rowLines = writer.takeRowLines();
  const end = tiling.threads > 1 && rowStores.length > 0
    ? [`storageBarrier();`, `if (inside && thread == 0) {`, ...rowLines, ...rowStores, `}`]
    : [...rowLines, ...rowStores];

  const body = [
    ...rowIndex(tiling, rowCount, groups),
    ...passes.flat(),
    ...end,
  ];
  const subgroups = tiling.threads > 1 && usesSubgroups(tiling, target);
  return { shared, size, groups, body, subgroups };
}

/** Declares every distinct buffer once: read_write where it is written, else read. */
function bind(members: readonly LoopOperands[]) {
  const bindings: LoopWgsl["bindings"][number][] = [];
  const declarations: string[] = [];
  const nameOf = new Map<number, string>();
  const declare = (
    access: "read" | "read_write",
    { buffer, dtype }: LoopOperands["reads"][number],
  ): string => {
    const known = nameOf.get(buffer);
    if (known) return known;
    const name = `buffer${bindings.length}`;
    declarations.push(
      `@group(0) @binding(${bindings.length}) var<storage, ${access}> ${name}: ` +
        `array<${dtype === "bool" ? "u32" : dtype}>;`,
    );
    bindings.push({ buffer, access });
    nameOf.set(buffer, name);
    return name;
  };
  const writeNames = members.map(({ writes }) =>
    writes.map((write) => declare("read_write", write))
  );
  const readNames = members.map(({ reads }) => reads.map((read) => declare("read", read)));
  return { bindings, declarations, readNames, writeNames };
}

/** Which row and which share of its columns a thread has. */
function rowIndex({ rows, threads, rowFastest }: Tiling, rowCount: number, groups: number) {
  if (threads === 1) {
    return [`let row = group * ${rows} + i32(local);`, `if (row >= ${rowCount}) { return; }`];
  }
  const [row, thread] = rowFastest
    ? [`i32(local % ${rows}u)`, `i32(local / ${rows}u)`]
    : [`i32(local / ${threads}u)`, `i32(local % ${threads}u)`];
  return [
    `if (group >= ${groups}) { return; }`,
    `let thread = ${thread};`,
    `let lane = ${row};`,
    `let inside = group * ${rows} + lane < ${rowCount};`,
    `let row = min(group * ${rows} + lane, ${rowCount - 1});`,
  ];
}

/** The variable in which a thread gathers its share of a reduction. */
function accumulator({ id, reduce, dtype }: LoopReduction) {
  const wide: DType = dtype === "f16" ? "f32" : dtype === "bool" ? "u32" : dtype;
  const name = `total${id}`, shared = `shared${id}`, result = `result${id}`;
  const combine = (a: string, b: string) => {
    if (reduce === "sum") return `${a} + ${b}`;
    if (reduce === "product") return `${a} * ${b}`;
    return `${reduce === "maximum" ? "max" : "min"}${wide === "f32" ? "_or_nan" : ""}(${a}, ${b})`;
  };
  return {
    name,
    shared: `var<workgroup> ${shared}: array<${wide}, SIZE>;`,
    sharedName: shared,
    result,
    combine,
    /** Combines the values of a subgroup's threads; all of them get the result. */
    gather: (value: string) => {
      const name = { sum: "Add", product: "Mul", maximum: "Max", minimum: "Min" }[reduce];
      // A maximum of floats is NaN where any is, which the function for subgroups does not promise.
      const swallows = wide === "f32" && name.startsWith("M") && name !== "Mul";
      const all = `subgroup${name}(${value})`;
      if (!swallows) return all;
      const anyNan = `subgroupAny((bitcast<u32>(${value}) & 0x7fffffffu) > 0x7f800000u)`;
      return `select(${all}, bitcast<f32>(0x7fc00000u | u32(workgroup.z)), ${anyNan})`;
    },
    start: `var ${name} = ${constantWgsl(wide, identityOf(reduce, wide))};`,
    update: (value: string) =>
      `${name} = ${combine(name, dtype === wide ? value : `${wide}(${value})`)};`,
    finish: `let ${result} = ${
      dtype === wide ? name : dtype === "bool" ? `(${name} != 0u)` : `f16(${name})`
    };`,
  };
}

/** Whether the threads of a row are whole subgroups, which combine what they have themselves. */
function usesSubgroups({ threads, rowFastest }: Tiling, { features, software }: WgslTarget) {
  return features.subgroups && !software && !rowFastest && threads >= features.largestSubgroup;
}

/** Combines the shares of a row's threads, as a tree in workgroup memory; all get the result. */
function combineThreads(
  accumulators: readonly ReturnType<typeof accumulator>[],
  tiling: Tiling,
  target: WgslTarget,
): string[] {
  const { rows, threads, rowFastest } = tiling;
  if (accumulators.length === 0) return [];
  if (usesSubgroups(tiling, target)) {
    const slot = `lane * ${threads}`;
    return [
      `workgroupBarrier();`,
      ...accumulators.map(({ name, gather }) => `${name} = ${gather(name)};`),
      `if (thread % width == 0) {`,
      ...accumulators.map(({ sharedName, name }) =>
        `${sharedName}[${slot} + thread / width] = ${name};`
      ),
      `}`,
      `workgroupBarrier();`,
      ...accumulators.map(({ sharedName, name }) => `${name} = ${sharedName}[${slot}];`),
      `for (var part = 1; part * width < ${threads}; part++) {`,
      ...accumulators.map(({ sharedName, name, combine }) =>
        `${name} = ${combine(name, `${sharedName}[${slot} + part]`)};`
      ),
      `}`,
    ];
  }
  const step = rowFastest ? `stride * ${rows}` : `stride`;
  const first = rowFastest ? `lane` : `lane * ${threads}`;
  return [
    `workgroupBarrier();`,
    ...accumulators.map(({ sharedName, name }) => `${sharedName}[local] = ${name};`),
    `workgroupBarrier();`,
    `for (var stride = ${loopBound(threads / 2, target)}; stride > 0; stride /= 2) {`,
    `if (thread < stride) {`,
    ...accumulators.map(({ sharedName: all, combine }) =>
      `${all}[local] = ${combine(`${all}[local]`, `${all}[i32(local) + ${step}]`)};`
    ),
    `}`,
    `workgroupBarrier();`,
    `}`,
    ...accumulators.map(({ sharedName, name }) => `${name} = ${sharedName}[${first}];`),
  ];
}

function indented(lines: readonly string[]): string[] {
  let depth = 1;
  return lines.map((line) => {
    if (line.startsWith("}")) depth--;
    const text = "  ".repeat(depth) + line;
    if (line.endsWith("{")) depth++;
    return text;
  });
}
