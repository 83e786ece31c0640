/**
 * Convolutions on WebGPU as matrix products whose factors are read straight from the images: a
 * column is a pixel, a row of the right factor one element of the patch around it.
 */
import type { KernelSpec, View, WgslDispatch, WgslTarget } from "../../lib/op.ts";
import { gemmScratch, gemmWgsl } from "../../lib/backends/webgpu/gemm_wgsl.ts";
import { type NamedBinding, unflatten } from "../../lib/backends/webgpu/kernel_wgsl.ts";
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

const stored = ({ dtype }: View, value: string) => dtype === "f16" ? `f16(${value})` : value;

/** A function that reads a pixel of row-major images [_, channels, height, width]; 0 outside. */
function pixelFunction(name: string, { shape }: View): string {
  const [, channels, height, width] = shape;
  return `fn ${name}_at(image: i32, channel: i32, r: i32, s: i32) -> f32 {
  if (r < 0 || r >= ${height} || s < 0 || s >= ${width}) { return 0.0; }
  return f32(${name}[((image * ${channels} + channel) * ${height} + r) * ${width} + s]);
}
`;
}

/** `let`s that split a flat number. */
function split(flat: string, shape: readonly number[], names: readonly string[]): string {
  return unflatten(flat, shape).map((text, i) => `  let ${names[i]} = ${text};\n`).join("");
}

/** x [B, C, H, W], w [O, C, kh, kw] to y [B, O, H', W']. */
export function conv2dWgsl(spec: KernelSpec, target: WgslTarget): WgslDispatch[] {
  const [x, w] = spec.inputs as [View, View];
  const [y] = spec.outputs as [View];
  const [batch, outputs, height, width] = y.shape as [number, number, number, number];
  const depth = sizeOf(w.shape.slice(1));
  const pixels = height * width;
  const { stride: [sy, sx], padding: [top, , left] } = spec.attributes;
  return gemmWgsl({
    name: "conv2d",
    batch: 1,
    rows: outputs,
    columns: batch * pixels,
    depth,
    bindings: [input("x", 0, x), input("w", 1, w)],
    results: [output("y", y)],
    functions: `${pixelFunction("x", x)}
fn pixel(k: i32, n: i32) -> f32 {
${split("k", w.shape.slice(1), ["channel", "i", "j"])}${
      split("n", [batch, height, width], ["image", "row", "column"])
    }  return x_at(image, channel, row * ${sy} + i - ${top}, column * ${sx} + j - ${left});
}
`,
    left: { along: "depth", element: (m, k) => `f32(w[${m} * ${depth} + ${k}])` },
    right: { along: "side", element: (n, k) => `pixel(${k}, ${n})` },
    store: (m, n, value) =>
      `y[(${n} / ${pixels} * ${outputs} + ${m}) * ${pixels} + ${n} % ${pixels}] = ${
        stored(y, value)
      };`,
  }, target);
}

/**
 * dy [B, O, H', W'], w [O, C, kh, kw] to dx [B, C, H, W]: a batch of products, one for each phase of
 * the strides, as rows and columns of dx that are a stride apart see the same taps of the kernel.
 */
export function conv2dInputGradientWgsl(spec: KernelSpec, target: WgslTarget): WgslDispatch[] {
  const [dy, w] = spec.inputs as [View, View];
  const [dx] = spec.outputs as [View];
  const [batch, channels, height, width] = dx.shape as [number, number, number, number];
  const [outputs, , kernelHeight, kernelWidth] = w.shape as [number, number, number, number];
  const { stride: [sy, sx], padding: [top, , left] } = spec.attributes;
  const rows = Math.ceil(height / sy), columns = Math.ceil(width / sx);
  const taps = [Math.ceil(kernelHeight / sy), Math.ceil(kernelWidth / sx)];
  const splitTap = split("k", [outputs, ...taps], ["output", "i", "j"]);
  const splitPlace = split("n", [batch, rows, columns], ["image", "row", "column"]);
  const phase = `  let y = z / ${sx};\n  let x = z % ${sx};\n`;
  return gemmWgsl({
    name: "conv2dInputGradient",
    batch: sy * sx,
    rows: channels,
    columns: batch * rows * columns,
    depth: outputs * taps[0]! * taps[1]!,
    bindings: [input("dy", 0, dy), input("w", 1, w)],
    results: [output("dx", dx)],
    functions: `${pixelFunction("dy", dy)}
fn tap(m: i32, k: i32, z: i32) -> f32 {
${phase}${splitTap}  let r = (y + ${top}) % ${sy} + i * ${sy};
  let s = (x + ${left}) % ${sx} + j * ${sx};
  if (r >= ${kernelHeight} || s >= ${kernelWidth}) { return 0.0; }
  return f32(w[((output * ${channels} + m) * ${kernelHeight} + r) * ${kernelWidth} + s]);
}
fn pixel(k: i32, n: i32, z: i32) -> f32 {
${phase}${splitTap}${splitPlace}  let r = row + (y + ${top}) / ${sy} - i;
  let s = column + (x + ${left}) / ${sx} - j;
  return dy_at(image, output, r, s);
}
`,
    resultFunctions: `fn put(m: i32, n: i32, z: i32, value: f32) {
${phase}${splitPlace}  let r = row * ${sy} + y;
  let s = column * ${sx} + x;
  if (r >= ${height} || s >= ${width}) { return; }
  dx[((image * ${channels} + m) * ${height} + r) * ${width} + s] = ${stored(dx, "value")};
}
`,
    left: { along: "depth", element: (m, k) => `tap(${m}, ${k}, z)` },
    right: { along: "side", element: (n, k) => `pixel(${k}, ${n}, z)` },
    store: (m, n, value) => `put(${m}, ${n}, z, ${value});`,
  }, target);
}

/** Room for partial sums of the weight's gradient. */
export function conv2dWeightGradientScratch({ inputs, outputs }: KernelSpec): number[] {
  const dy = inputs[1]!.shape, dw = outputs[0]!.shape;
  return gemmScratch({
    batch: 1,
    rows: dw[0]!,
    columns: sizeOf(dw.slice(1)),
    depth: dy[0]! * dy[2]! * dy[3]!,
  });
}

/** x [B, C, H, W], dy [B, O, H', W'] to dw [O, C, kh, kw]. */
export function conv2dWeightGradientWgsl(spec: KernelSpec, target: WgslTarget): WgslDispatch[] {
  const [x, dy] = spec.inputs as [View, View];
  const [dw] = spec.outputs as [View];
  const [batch, outputs, height, width] = dy.shape as [number, number, number, number];
  const columns = sizeOf(dw.shape.slice(1)), pixels = height * width;
  const { stride: [sy, sx], padding: [top, , left] } = spec.attributes;
  const canSplit = conv2dWeightGradientScratch(spec).length > 0;
  return gemmWgsl({
    name: "conv2dWeightGradient",
    batch: 1,
    rows: outputs,
    columns,
    depth: batch * pixels,
    bindings: [input("x", 0, x), input("dy", 1, dy)],
    results: [output("dw", dw)],
    functions: `${pixelFunction("x", x)}
fn slope(m: i32, k: i32) -> f32 {
  return f32(dy[(k / ${pixels} * ${outputs} + m) * ${pixels} + k % ${pixels}]);
}
fn pixel(k: i32, n: i32) -> f32 {
${split("n", dw.shape.slice(1), ["channel", "i", "j"])}${
      split("k", [batch, height, width], ["image", "row", "column"])
    }  return x_at(image, channel, row * ${sy} + i - ${top}, column * ${sx} + j - ${left});
}
`,
    left: { along: "depth", element: (m, k) => `slope(${m}, ${k})` },
    right: { along: "depth", element: (n, k) => `pixel(${k}, ${n})` },
    store: (m, n, value) => `dw[${m} * ${columns} + ${n}] = ${stored(dw, value)};`,
    ...(canSplit && {
      parts: { name: "sums", operand: "scratch", index: 0, access: "read_write", dtype: "f32" },
    }),
  }, target);
}
