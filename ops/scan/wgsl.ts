/** Cumulative sums on WebGPU: a workgroup runs along each line, a block at a time. */
import type { KernelSpec, View, WgslDispatch, WgslTarget } from "../../lib/op.ts";
import {
  dispatchOf,
  flatGrid,
  loopBound,
  mainArguments,
} from "../../lib/backends/webgpu/kernel_wgsl.ts";
import { sizeOf } from "../../lib/shape.ts";

/** x to its sums along `attributes.axis`. */
export function cumulativeSumWgsl(spec: KernelSpec, target: WgslTarget): WgslDispatch[] {
  const [x] = spec.inputs as [View];
  const axis: number = spec.attributes.axis;
  const length = x.shape[axis]!;
  const inner = sizeOf(x.shape.slice(axis + 1)), outer = sizeOf(x.shape.slice(0, axis));
  const threads = target.software || length <= 64 ? 64 : 256;
  const grid = flatGrid(outer * inner, target);
  const wide = x.dtype === "f16" ? "f32" : x.dtype;
  const code = `var<workgroup> sums: array<${wide}, ${threads}>;
@compute @workgroup_size(${threads})
fn main(${mainArguments}) {
  ${grid.group}
  let local = i32(local_index);
  let line = group / ${Math.max(1, inner)} * ${length * inner} + group % ${Math.max(1, inner)};
  var before = ${wide}(0);
  for (var start = 0; start < ${loopBound(length, target)}; start += ${threads}) {
    let place = line + (start + local) * ${inner};
    let inside = start + local < ${length};
    var sum = ${wide}(0);
    if (inside) { sum = ${wide}(x[place]); }
    sums[local] = sum;
    workgroupBarrier();
    for (var reach = 1; reach < ${loopBound(threads, target)}; reach *= 2) {
      if (local >= reach) { sum += sums[local - reach]; }
      workgroupBarrier();
      sums[local] = sum;
      workgroupBarrier();
    }
    if (inside) { y[place] = ${x.dtype}(before + sum); }
    before += sums[${threads - 1}];
    workgroupBarrier();
  }
}
`;
  return [dispatchOf(
    "cumulativeSum",
    [
      { name: "x", operand: "input", index: 0, access: "read", dtype: x.dtype },
      { name: "y", operand: "output", index: 0, access: "read_write", dtype: x.dtype },
    ],
    code,
    grid.workgroups,
  )];
}
