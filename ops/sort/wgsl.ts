/**
 * Sorting on WebGPU: a bitonic network per line, on keys that are ordered as unsigned integers;
 * equal keys keep their order because positions break ties.
 */
import type { DType } from "../../lib/dtype.ts";
import type { KernelSpec, View, WgslDispatch, WgslTarget } from "../../lib/op.ts";
import {
  dispatchOf,
  flatGrid,
  loopBound,
  mainArguments,
  type NamedBinding,
} from "../../lib/backends/webgpu/kernel_wgsl.ts";
import { sizeOf } from "../../lib/shape.ts";

/** The longest line that is sorted in workgroup memory (8 bytes for each element). */
const longestShared = 2048;

function sizesOf({ inputs: [x] }: KernelSpec) {
  const length = x!.shape.at(-1)!;
  const padded = 2 ** Math.ceil(Math.log2(Math.max(2, length)));
  return { length, lines: sizeOf(x!.shape.slice(0, -1)), padded };
}

/** Keys and positions of lines that are too long for workgroup memory. */
export function sortScratch(spec: KernelSpec): number[] {
  const { lines, padded } = sizesOf(spec);
  return padded <= longestShared ? [] : [4 * lines * padded, 4 * lines * padded];
}

/** x [..., n] to its sorted values and their positions, along the last axis; NaN last. */
export function sortWgsl(spec: KernelSpec, target: WgslTarget): WgslDispatch[] {
  const [x] = spec.inputs as [View];
  const { length, lines, padded } = sizesOf(spec);
  if (length === 0) return [];
  const shared = padded <= longestShared;
  const most = target.software
    ? 64
    : Math.min(1024, target.limits.maxComputeInvocationsPerWorkgroup);
  const threads = Math.min(most, padded / 2);
  const grid = flatGrid(lines, target);
  const scratch = (name: string, index: number, dtype: DType): NamedBinding => ({
    name,
    operand: "scratch",
    index,
    access: "read_write",
    dtype,
  });
  const code = `${
    shared
      ? `var<workgroup> keys: array<u32, ${padded}>;
var<workgroup> positions: array<i32, ${padded}>;
`
      : ""
  }${keyFunction(x.dtype, spec.attributes.descending)}
@compute @workgroup_size(${threads})
fn main(${mainArguments}) {
  ${grid.group}
  let local = i32(local_index);
  let line = group * ${length};
  let origin = ${shared ? "0" : `group * ${padded}`};
  for (var i = local; i < ${loopBound(padded, target)}; i += ${threads}) {
    var key = 0xffffffffu;
    if (i < ${length}) { key = key_of(x[line + i]); }
    keys[origin + i] = key;
    positions[origin + i] = i;
  }
  ${shared ? "workgroupBarrier();" : "storageBarrier();"}
  for (var size = 2; size <= ${loopBound(padded, target)}; size *= 2) {
    for (var reach = size / 2; reach > 0; reach /= 2) {
      for (var pair = local; pair < ${loopBound(padded / 2, target)}; pair += ${threads}) {
        let low = origin + 2 * pair - pair % reach;
        let high = low + reach;
        let rising = ((low - origin) & size) == 0;
        let low_key = keys[low];
        let high_key = keys[high];
        let low_position = positions[low];
        let high_position = positions[high];
        let swapped = low_key > high_key || (low_key == high_key && low_position > high_position);
        if (swapped == rising) {
          keys[low] = high_key;
          keys[high] = low_key;
          positions[low] = high_position;
          positions[high] = low_position;
        }
      }
      ${shared ? "workgroupBarrier();" : "storageBarrier();"}
    }
  }
  for (var i = local; i < ${loopBound(length, target)}; i += ${threads}) {
    let position = positions[origin + i];
    values[line + i] = x[line + position];
    indices[line + i] = position;
  }
}
`;
  return [dispatchOf(
    "sort",
    [
      { name: "x", operand: "input", index: 0, access: "read", dtype: x.dtype },
      { name: "values", operand: "output", index: 0, access: "read_write", dtype: x.dtype },
      { name: "indices", operand: "output", index: 1, access: "read_write", dtype: "i32" },
      ...(shared ? [] : [scratch("keys", 0, "u32"), scratch("positions", 1, "i32")]),
    ],
    code,
    grid.workgroups,
  )];
}

/** A function from an element to an unsigned integer of the same order. */
function keyFunction(dtype: DType, descending: boolean): string {
  const directed = descending ? "~rising" : "rising";
  if (dtype === "f32" || dtype === "f16") {
    return `fn key_of(x: ${dtype}) -> u32 {
  let bits = select(bitcast<u32>(f32(x)), 0u, x == 0.0);
  if ((bits & 0x7fffffffu) > 0x7f800000u) { return 0xffffffffu; }
  let rising = select(bits | 0x80000000u, ~bits, (bits & 0x80000000u) != 0u);
  return ${directed};
}`;
  }
  const rising = dtype === "i32" ? "bitcast<u32>(x) ^ 0x80000000u" : "x";
  return `fn key_of(x: ${dtype === "i32" ? "i32" : "u32"}) -> u32 {
  let rising = ${rising};
  return ${directed};
}`;
}
