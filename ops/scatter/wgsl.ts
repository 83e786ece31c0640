/** Adding rows and writing slices on WebGPU, at places that are known only when they run. */
import type { KernelSpec, View, WgslDispatch, WgslTarget } from "../../lib/op.ts";
import {
  dispatchOf,
  flatGrid,
  loopBound,
  mainArguments,
  type NamedBinding,
} from "../../lib/backends/webgpu/kernel_wgsl.ts";
import { sizeOf } from "../../lib/shape.ts";

const input = (name: string, index: number, { dtype }: View): NamedBinding => ({
  name,
  operand: "input",
  index,
  access: "read",
  dtype,
});

const output = (name: string, { dtype }: View): NamedBinding => ({
  name,
  operand: "output",
  index: 0,
  access: "read_write",
  dtype,
});

/** Threads of a workgroup, and indices that it looks through at a time. */
const threads = 256;

/**
 * base [N, ...rest] (in place), indices [R], updates [R, ...rest]. A workgroup owns a block of
 * elements of the base, looks through all indices, and adds what falls into its block in the
 * order of the updates: sums do not depend on timing.
 */
export function scatterAddWgsl(spec: KernelSpec, target: WgslTarget): WgslDispatch[] {
  const [base, indices, updates] = spec.inputs as [View, View, View];
  const rows = base.shape[0]!, columns = sizeOf(base.shape.slice(1)), count = indices.shape[0]!;
  if (rows * columns === 0) return [];
  const blockColumns = Math.min(threads, 2 ** Math.ceil(Math.log2(columns)));
  const blockRows = threads / blockColumns;
  const columnBlocks = Math.ceil(columns / blockColumns);
  const grid = flatGrid(Math.ceil(rows / blockRows) * columnBlocks, target);
  const wide = base.dtype === "f16" ? "f32" : base.dtype;
  const code = `var<workgroup> found: array<atomic<u32>, ${threads / 32}>;
@compute @workgroup_size(${threads})
fn main(${mainArguments}) {
  ${grid.group}
  let local = i32(local_index);
  let first = group / ${columnBlocks} * ${blockRows};
  let row = first + local / ${blockColumns};
  let column = group % ${columnBlocks} * ${blockColumns} + local % ${blockColumns};
  let inside = row < ${rows} && column < ${columns};
  let place = min(row, ${rows - 1}) * ${columns} + min(column, ${columns - 1});
  var total = ${wide}(base[place]);
  for (var start = 0; start < ${loopBound(count, target)}; start += ${threads}) {
    if (local < ${threads / 32}) { atomicStore(&found[local], 0u); }
    workgroupBarrier();
    if (start + local < ${count}) {
      let at = i32(indices[start + local]);
      if (at >= first && at < first + ${blockRows}) {
        atomicOr(&found[local / 32], 1u << u32(local % 32));
      }
    }
    workgroupBarrier();
    for (var word = 0; word < ${loopBound(threads / 32, target)}; word++) {
      var bits = atomicLoad(&found[word]);
      while (bits != 0u) {
        let source = start + word * 32 + i32(firstTrailingBit(bits));
        bits &= bits - 1u;
        if (i32(indices[source]) == row && inside) {
          total += ${wide}(updates[source * ${columns} + column]);
        }
      }
    }
    workgroupBarrier();
  }
  if (inside) { base[place] = ${base.dtype}(total); }
}
`;
  return [dispatchOf(
    "scatterAdd",
    [output("base", base), input("indices", 1, indices), input("updates", 2, updates)],
    code,
    grid.workgroups,
  )];
}

/** base (in place), update of the same rank, start []: writes along `attributes.axis`. */
export function updateSliceWgsl(spec: KernelSpec, target: WgslTarget): WgslDispatch[] {
  const [base, update, start] = spec.inputs as [View, View, View];
  const axis: number = spec.attributes.axis;
  const inner = sizeOf(base.shape.slice(axis + 1));
  const length = base.shape[axis]!, written = update.shape[axis]!;
  const count = sizeOf(update.shape);
  const grid = flatGrid(Math.ceil(count / 64), target);
  const code = `@compute @workgroup_size(64)
fn main(${mainArguments}) {
  ${grid.group}
  let i = group * 64 + i32(local_index);
  if (i >= ${count}) { return; }
  let first = clamp(i32(start[0]), 0, ${length - written});
  let outer = i / ${Math.max(1, written * inner)};
  base[outer * ${(length - written) * inner} + first * ${inner} + i] = updates[i];
}
`;
  return [dispatchOf(
    "updateSlice",
    [output("base", base), input("updates", 1, update), input("start", 2, start)],
    code,
    grid.workgroups,
  )];
}
