/** Two-dimensional convolution. */
import type { Attributes, KernelOperand, Op, TensorType } from "../../lib/op.ts";
import { showShape, sizeOf } from "../../lib/shape.ts";
import { bindOne, type Tensor } from "../../lib/tensor.ts";
import { add } from "../arithmetic.ts";
import { checkDType, checkRank, checkShapeIs, checkWhole } from "../arguments.ts";
import { asTensors } from "../broadcast.ts";
import { reshape } from "../reshape.ts";
import { conv2dInputGradientWasm, conv2dWasm, conv2dWeightGradientWasm } from "./wasm.ts";
import {
  conv2dInputGradientWgsl,
  conv2dWeightGradientScratch,
  conv2dWeightGradientWgsl,
  conv2dWgsl,
} from "./wgsl.ts";

/** `[height, width]` of the result. */
function outputSize(
  input: readonly number[],
  kernel: readonly number[],
  { stride, padding }: Attributes,
): [number, number] {
  const size = [0, 1].map((axis) =>
    Math.floor(
      (input[axis]! + padding[2 * axis] + padding[2 * axis + 1] - kernel[axis]!) / stride[axis],
    ) + 1
  );
  if (size.some((length) => length < 1)) {
    throw new TypeError(
      `conv2d: expected the padded image to hold the kernel ${showShape(kernel)} but found size ${
        showShape(input)
      } with padding ${showShape(padding)}`,
    );
  }
  return size as [number, number];
}

function checkOperands(op: string, operands: Readonly<Record<string, TensorType>>): void {
  for (const [name, operand] of Object.entries(operands)) {
    checkDType(op, name, operand, "float");
    checkRank(op, name, operand, 4);
  }
}

/** x [B,C,H,W], w [O,C,kh,kw] → [B,O,H',W']. */
const conv2dOp: Op = {
  name: "conv2d",
  infer([x, w], attributes) {
    checkOperands("conv2d", { x: x!, w: w! });
    checkShapeIs("conv2d", "w", w!, w!.shape.with(1, x!.shape[1]!));
    const size = outputSize(x!.shape.slice(2), w!.shape.slice(2), attributes);
    return [{ shape: [x!.shape[0]!, w!.shape[0]!, ...size], dtype: x!.dtype }];
  },
  vjp: ({ inputs: [x, w], cotangents: [g], attributes }) => [
    inputGradient(g!, w!, x!, attributes),
    weightGradient(x!, g!, w!, attributes),
  ],
  run: {
    kind: "kernel",
    cpu([x, w], [y], attributes) {
      y!.data.fill(0);
      for (const [xi, wi, yi] of taps(x!, w!, y!, attributes)) {
        y!.data[yi]! += x!.data[xi]! * w!.data[wi]!;
      }
    },
    wasm: conv2dWasm,
    wgsl: conv2dWgsl,
    flops: ({ inputs: [, w], outputs: [y] }) => flops(w!, y!),
  },
};

/** dy [B,O,H',W'], w → dx. */
const inputGradientOp: Op = {
  name: "conv2dInputGradient",
  infer([dy, w], { inputSize }) {
    checkOperands("conv2dInputGradient", { dy: dy!, w: w! });
    return [{ shape: [dy!.shape[0]!, w!.shape[1]!, ...inputSize], dtype: dy!.dtype }];
  },
  vjp: ({ inputs: [dy, w], cotangents: [g], attributes }) => [
    bindOne(conv2dOp, [g!, w!], common(attributes)),
    weightGradient(g!, dy!, w!, attributes),
  ],
  run: {
    kind: "kernel",
    cpu([dy, w], [dx], attributes) {
      dx!.data.fill(0);
      for (const [xi, wi, yi] of taps(dx!, w!, dy!, attributes)) {
        dx!.data[xi]! += dy!.data[yi]! * w!.data[wi]!;
      }
    },
    wasm: conv2dInputGradientWasm,
    wgsl: conv2dInputGradientWgsl,
    flops: ({ inputs: [dy, w] }) => flops(w!, dy!),
  },
};

/** x, dy → dw. */
const weightGradientOp: Op = {
  name: "conv2dWeightGradient",
  infer([x, dy], { kernelSize }) {
    checkOperands("conv2dWeightGradient", { x: x!, dy: dy! });
    return [{ shape: [dy!.shape[1]!, x!.shape[1]!, ...kernelSize], dtype: x!.dtype }];
  },
  vjp: ({ inputs: [x, dy], cotangents: [g], attributes }) => [
    inputGradient(dy!, g!, x!, attributes),
    bindOne(conv2dOp, [x!, g!], common(attributes)),
  ],
  run: {
    kind: "kernel",
    cpu([x, dy], [dw], attributes) {
      dw!.data.fill(0);
      for (const [xi, wi, yi] of taps(x!, dw!, dy!, attributes)) {
        dw!.data[wi]! += x!.data[xi]! * dy!.data[yi]!;
      }
    },
    wasm: conv2dWeightGradientWasm,
    wgsl: conv2dWeightGradientWgsl,
    flops: ({ inputs: [, dy], outputs: [dw] }) => flops(dw!, dy!),
    scratch: (spec, backend) => backend === "webgpu" ? conv2dWeightGradientScratch(spec) : [],
  },
};

/** Multiply-adds of every output element with all its taps, those outside the image included. */
function flops(w: TensorType, y: TensorType): number {
  return 2 * sizeOf(y.shape) * sizeOf(w.shape.slice(1));
}

/** The settings that all three ops share. */
function common({ stride, padding }: Attributes): Attributes {
  return { stride, padding };
}

function inputGradient(dy: Tensor, w: Tensor, x: Tensor, attributes: Attributes): Tensor {
  return bindOne(inputGradientOp, [dy, w], {
    ...common(attributes),
    inputSize: x.shape.slice(2),
  });
}

function weightGradient(x: Tensor, dy: Tensor, w: Tensor, attributes: Attributes): Tensor {
  return bindOne(weightGradientOp, [x, dy], {
    ...common(attributes),
    kernelSize: w.shape.slice(2),
  });
}

/** The places of every product `x · w` of a convolution and of the output that it goes to. */
function* taps(
  x: KernelOperand,
  w: KernelOperand,
  y: KernelOperand,
  { stride: [strideY, strideX], padding: [top, , left] }: Attributes,
): Generator<readonly [x: number, w: number, y: number]> {
  const [batch, channels, height, width] = x.shape as [number, number, number, number];
  const [outputs, , kernelHeight, kernelWidth] = w.shape as [number, number, number, number];
  const [rows, columns] = y.shape.slice(2) as [number, number];
  for (let yi = 0; yi < batch * outputs * rows * columns; yi++) {
    const column = yi % columns, row = Math.floor(yi / columns) % rows;
    const output = Math.floor(yi / (columns * rows)) % outputs;
    const sample = Math.floor(yi / (columns * rows * outputs));
    for (let channel = 0; channel < channels; channel++) {
      for (let ky = 0; ky < kernelHeight; ky++) {
        const i = row * strideY + ky - top;
        if (i < 0 || i >= height) continue;
        for (let kx = 0; kx < kernelWidth; kx++) {
          const j = column * strideX + kx - left;
          if (j < 0 || j >= width) continue;
          yield [
            ((sample * channels + channel) * height + i) * width + j,
            ((output * channels + channel) * kernelHeight + ky) * kernelWidth + kx,
            yi,
          ];
        }
      }
    }
  }
}

/** How a convolution moves over the image. */
export interface Conv2dOptions {
  /** Steps down and right: one number or `[down, right]` (default 1). */
  readonly stride?: number | readonly [number, number];
  /** Zeros around the image: one number or `[top, bottom, left, right]` (default 0). */
  readonly padding?: number | readonly [number, number, number, number];
  /** Added to every output channel: a tensor [O]. */
  readonly bias?: Tensor;
}

/**
 * Convolution (cross-correlation) of images with kernels.
 *
 * @param x The images [B, C, H, W].
 * @param w The kernels [O, C, kh, kw].
 * @param options `stride`, `padding`, `bias`.
 * @returns The images [B, O, H', W'], `H' = ⌊(H + top + bottom - kh) / stride⌋ + 1`.
 * @throws {TypeError} If the shapes do not fit, or the kernel is larger than the padded image.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../../lib/tensor.ts";
 * import { conv2d } from "./conv2d.ts";
 * const image = tensor([[[[1, 2], [3, 4]]]]);
 * assertEquals(await conv2d(image, image).toArray(), [[[[30]]]]);
 * ```
 */
export function conv2d(x: Tensor, w: Tensor, options: Conv2dOptions = {}): Tensor {
  const { stride = 1, padding = 0, bias } = options;
  const attributes = {
    stride: typeof stride === "number" ? [stride, stride] : [...stride],
    padding: typeof padding === "number" ? [padding, padding, padding, padding] : [...padding],
  };
  for (const step of attributes.stride) checkWhole("conv2d", "stride", step, 1);
  for (const width of attributes.padding) checkWhole("conv2d", "padding", width, 0);
  const y = bindOne(conv2dOp, asTensors("conv2d", x, w), attributes);
  if (!bias) return y;
  checkShapeIs("conv2d", "bias", bias, [y.shape[1]!]);
  return add(y, reshape(bias, [y.shape[1]!, 1, 1]));
}
