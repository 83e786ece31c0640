/**
 * The cross entropy of a linear layer on WebGPU. Forward, every tile of logits is reduced where it
 * is computed; backward, the logits come back in chunks of classes.
 */
import type { KernelSpec, View, WgslDispatch, WgslTarget } from "../../lib/op.ts";
import { type GemmTile, gemmWgsl } from "../../lib/backends/webgpu/gemm_wgsl.ts";
import {
  dispatchOf,
  flatGrid,
  loopBound,
  mainArguments,
  type NamedBinding,
  repeat,
} from "../../lib/backends/webgpu/kernel_wgsl.ts";

const binding = (
  name: string,
  operand: NamedBinding["operand"],
  index: number,
  dtype: NamedBinding["dtype"],
  access: NamedBinding["access"] = operand === "input" ? "read" : "read_write",
): NamedBinding => ({ name, operand, index, access, dtype });

const stored = ({ dtype }: View, value: string) => dtype === "f16" ? `f16(${value})` : value;

function sizesOf({ inputs: [x, w] }: KernelSpec) {
  const [rows, width] = x!.shape as [number, number];
  return { rows, width, classes: w!.shape[0]! };
}

/** Classes in a tile of the forward pass; every tile leaves two numbers per row. */
const tileClasses = 64;

/** Of each row and tile, the largest logit and the sum of the exponentials relative to it. */
export function linearCrossEntropyScratch(spec: KernelSpec): number[] {
  const { rows, classes } = sizesOf(spec);
  return [8 * rows * Math.ceil(classes / tileClasses)];
}

/** x [R, D], w [V, D], targets [R] to loss [R] and logsumexp [R]. */
export function linearCrossEntropyWgsl(spec: KernelSpec, target: WgslTarget): WgslDispatch[] {
  const { rows, width, classes } = sizesOf(spec);
  const [x, w, targets] = spec.inputs as [View, View, View];
  const tiles = Math.ceil(classes / tileClasses);
  const tile: GemmTile = {
    threadRows: 16,
    threadColumns: tileClasses / 4,
    rows: 4,
    columns: 4,
    depth: target.software ? 8 : 16,
    buffers: 1,
  };
  const across = tile.threadColumns, down = tile.threadRows * tile.rows;
  const [reduce] = gemmWgsl({
    name: "linearCrossEntropy logits",
    batch: 1,
    rows,
    columns: classes,
    depth: width,
    bindings: [
      binding("x", "input", 0, x.dtype),
      binding("w", "input", 1, w.dtype),
    ],
    results: [binding("parts", "scratch", 0, "f32")],
    left: { along: "depth", element: (m, k) => `f32(x[${m} * ${width} + ${k}])` },
    right: { along: "depth", element: (n, k) => `f32(w[${n} * ${width} + ${k}])` },
    store: {
      tile,
      declarations: `var<workgroup> largest: array<f32, ${down * across}>;
var<workgroup> sums: array<f32, ${down * across}>;
`,
      code: `${
        repeat(tile.rows, (i) =>
          `  {
    let inside = vec4<i32>(n, n + 1, n + 2, n + 3) < vec4<i32>(${classes});
    let v = select(vec4<f32>(-3.0e38), sum${i}_0, inside);
    let most = max(max(v.x, v.y), max(v.z, v.w));
    let e = exp(v - most);
    largest[(row * ${tile.rows} + ${i}) * ${across} + column] = most;
    sums[(row * ${tile.rows} + ${i}) * ${across} + column] = e.x + e.y + e.z + e.w;
  }`)
      }
  workgroupBarrier();
  if (local < ${down} && tile_row + local < ${rows}) {
    var most = -3.0e38;
    for (var c = 0; c < ${
        loopBound(across, target)
      }; c++) { most = max(most, largest[local * ${across} + c]); }
    var sum = 0.0;
    for (var c = 0; c < ${loopBound(across, target)}; c++) {
      sum += sums[local * ${across} + c] * exp(largest[local * ${across} + c] - most);
    }
    let part = 2 * ((tile_row + local) * ${tiles} + tile_column / ${tileClasses});
    parts[part] = most;
    parts[part + 1] = sum;
  }`,
    },
  }, target);

  const grid = flatGrid(rows, target);
  const merge = dispatchOf(
    "linearCrossEntropy rows",
    [
      binding("x", "input", 0, x.dtype),
      binding("w", "input", 1, w.dtype),
      binding("targets", "input", 2, targets.dtype),
      binding("parts", "scratch", 0, "f32", "read"),
      binding("loss", "output", 0, "f32"),
      binding("logsumexp", "output", 1, "f32"),
    ],
    `var<workgroup> shares: array<vec3<f32>, 64>;
fn together(a: vec3<f32>, b: vec3<f32>) -> vec3<f32> {
  let most = max(a.x, b.x);
  return vec3<f32>(most, a.y * exp(a.x - most) + b.y * exp(b.x - most), a.z + b.z);
}
@compute @workgroup_size(64)
fn main(${mainArguments}) {
  ${grid.group}
  let local = i32(local_index);
  let row = group;
  // The largest logit, the sum of exponentials, and the logit of the target.
  var share = vec3<f32>(-3.0e38, 0.0, 0.0);
  for (var t = local; t < ${loopBound(tiles, target)}; t += 64) {
    let part = 2 * (row * ${tiles} + t);
    share = together(share, vec3<f32>(parts[part], parts[part + 1], 0.0));
  }
  let label = i32(targets[row]);
  if (label >= 0 && label < ${classes}) {
    for (var d = local; d < ${loopBound(width, target)}; d += 64) {
      share.z += f32(x[row * ${width} + d]) * f32(w[label * ${width} + d]);
    }
  }
  shares[local] = share;
  workgroupBarrier();
  for (var stride = ${loopBound(32, target)}; stride > 0; stride /= 2) {
    if (local < stride) { shares[local] = together(shares[local], shares[local + stride]); }
    workgroupBarrier();
  }
  if (local == 0) {
    let all = shares[0];
    let normalizer = all.x + log(all.y);
    loss[row] = normalizer - all.z;
    logsumexp[row] = normalizer;
  }
}
`,
    grid.workgroups,
  );
  return [reduce!, merge];
}

/** Bytes that a chunk of the logits' gradient may take. */
const chunkBytes = 64 * 2 ** 20;

function chunksOf({ rows, classes }: { rows: number; classes: number }) {
  const whole = Math.ceil(4 * rows * classes / chunkBytes);
  const chunk = Math.max(1, Math.ceil(classes / Math.max(1, whole) / 64)) * 64;
  const size = Math.min(chunk, Math.max(1, classes));
  return { size, count: Math.ceil(classes / size) };
}

/** A chunk of the logits' gradient, the number of the chunk, and for f16 the sums of dx in f32. */
export function linearCrossEntropyGradientScratch(spec: KernelSpec): number[] {
  const sizes = sizesOf(spec);
  const wide = spec.outputs[0]!.dtype === "f16" ? [4 * sizes.rows * sizes.width] : [];
  return [4 * sizes.rows * chunksOf(sizes).size, 4, ...wide];
}

/**
 * x, w, targets, logsumexp, dloss to dx [R, D] and dw [V, D]. The number of the chunk is kept on
 * the device, so that all chunks run the same shaders.
 */
export function linearCrossEntropyGradientWgsl(
  spec: KernelSpec,
  target: WgslTarget,
): WgslDispatch[] {
  const sizes = sizesOf(spec);
  const { rows, width, classes } = sizes;
  const [x, w, targets, logsumexp, dloss] = spec.inputs as [View, View, View, View, View];
  const [dx, dw] = spec.outputs as [View, View];
  const { size, count } = chunksOf(sizes);
  const slopes = binding("slopes", "scratch", 0, "f32", "read");
  const progress = binding("progress", "scratch", 1, "u32", "read");
  const prologue = `  let first = i32(progress[0]) * ${size};\n`;

  const slope = gemmWgsl({
    name: "linearCrossEntropyGradient slopes",
    batch: 1,
    rows,
    columns: size,
    depth: width,
    prologue,
    bindings: [
      binding("x", "input", 0, x.dtype),
      binding("w", "input", 1, w.dtype),
      progress,
    ],
    results: [
      binding("targets", "input", 2, targets.dtype),
      binding("logsumexp", "input", 3, logsumexp.dtype),
      binding("dloss", "input", 4, dloss.dtype),
      { ...slopes, access: "read_write" },
    ],
    left: { along: "depth", element: (m, k) => `f32(x[${m} * ${width} + ${k}])` },
    right: {
      along: "depth",
      element: (n, k) => `f32(w[min(first + ${n}, ${classes - 1}) * ${width} + ${k}])`,
    },
    store: (m, n, value) =>
      `{ let hit = select(0.0, 1.0, i32(targets[${m}]) == first + ${n});
      let s = f32(dloss[${m}]) * (exp(${value} - f32(logsumexp[${m}])) - hit);
      slopes[${m} * ${size} + ${n}] = select(0.0, s, first + ${n} < ${classes}); }`,
  }, target);

  const wide = dx.dtype === "f16";
  const total = wide ? "wide_dx" : "dx";
  const inputGradient = gemmWgsl({
    name: "linearCrossEntropyGradient dx",
    batch: 1,
    rows,
    columns: width,
    depth: size,
    prologue,
    bindings: [slopes, binding("w", "input", 1, w.dtype), progress],
    results: [wide ? binding(total, "scratch", 2, "f32") : binding(total, "output", 0, "f32")],
    left: { along: "depth", element: (m, k) => `slopes[${m} * ${size} + ${k}]` },
    right: {
      along: "side",
      element: (n, k) => `f32(w[min(first + ${k}, ${classes - 1}) * ${width} + ${n}])`,
    },
    store: (m, n, value) =>
      `{ let at = ${m} * ${width} + ${n};
      ${total}[at] = select(${total}[at], 0.0, first == 0) + ${value}; }`,
  }, target);

  const weightGradient = gemmWgsl({
    name: "linearCrossEntropyGradient dw",
    batch: 1,
    rows: size,
    columns: width,
    depth: rows,
    prologue,
    bindings: [slopes, binding("x", "input", 0, x.dtype), progress],
    results: [binding("dw", "output", 1, dw.dtype)],
    left: { along: "side", element: (m, k) => `slopes[${k} * ${size} + ${m}]` },
    right: { along: "side", element: (n, k) => `f32(x[${k} * ${width} + ${n}])` },
    store: (m, n, value) =>
      `if (first + ${m} < ${classes}) { dw[(first + ${m}) * ${width} + ${n}] = ${
        stored(dw, value)
      }; }`,
  }, target);

  const step = (name: string, statement: string) =>
    dispatchOf(
      `linearCrossEntropyGradient ${name}`,
      [{ ...progress, access: "read_write" }],
      `@compute @workgroup_size(1) fn main() { ${statement} }\n`,
      [1, 1, 1],
    );
  const chunk = [...slope, ...inputGradient, ...weightGradient];
  const next = step("next chunk", "progress[0] += 1u;");
  return [
    step("first chunk", "progress[0] = 0u;"),
    ...Array.from({ length: count }, (_, i) => i === 0 ? chunk : [next, ...chunk]).flat(),
    ...(wide ? [narrow(dx, target)] : []),
  ];
}

/** Rounds the sums of dx to f16. */
function narrow(dx: View, target: WgslTarget): WgslDispatch {
  const elements = dx.shape[0]! * dx.shape[1]!;
  const grid = flatGrid(Math.ceil(elements / 64), target);
  return dispatchOf(
    "linearCrossEntropyGradient round",
    [binding("wide_dx", "scratch", 2, "f32", "read"), binding("dx", "output", 0, dx.dtype)],
    `@compute @workgroup_size(64)
fn main(${mainArguments}) {
  ${grid.group}
  let i = group * 64 + i32(local_index);
  if (i < ${elements}) { dx[i] = f16(wide_dx[i]); }
}
`,
    grid.workgroups,
  );
}
