/** The cross entropy of a linear layer's logits, which are never stored whole. */
import type { KernelOperand, KernelSpec, Op, TensorType, VjpArguments } from "../../lib/op.ts";
import { sizeOf } from "../../lib/shape.ts";
import { bind, type Tensor } from "../../lib/tensor.ts";
import { vjp } from "../../lib/transforms/vjp.ts";
import { mul, sub } from "../arithmetic.ts";
import { checkDType, checkRank, checkShapeIs } from "../arguments.ts";
import { asTensors } from "../broadcast.ts";
import { cast } from "../cast.ts";
import { zerosLike } from "../create.ts";
import { oneHot } from "../gather.ts";
import { matmul } from "../matmul/matmul.ts";
import { expandDims, reshape } from "../reshape.ts";
import { softmax } from "../softmax.ts";
import { swapAxes } from "../transpose.ts";
import { linearCrossEntropyGradientWasm, linearCrossEntropyWasm } from "./wasm.ts";
import {
  linearCrossEntropyGradientScratch,
  linearCrossEntropyGradientWgsl,
  linearCrossEntropyScratch,
  linearCrossEntropyWgsl,
} from "./wgsl.ts";

function checkOperands(op: string, [x, w, targets]: readonly TensorType[]): void {
  checkDType(op, "x", x!, "float");
  checkRank(op, "x", x!, 2);
  checkRank(op, "w", w!, 2);
  checkShapeIs(op, "w", w!, [w!.shape[0]!, x!.shape[1]!]);
  checkDType(op, "targets", targets!, "integer");
  checkShapeIs(op, "targets", targets!, [x!.shape[0]!]);
}

/** x [R,D], w [V,D], targets i32 [R] → loss [R], logsumexp [R]. */
const linearCrossEntropyOp: Op = {
  name: "linearCrossEntropy",
  infer(inputs) {
    checkOperands("linearCrossEntropy", inputs);
    const row: TensorType = { shape: [inputs[0]!.shape[0]!], dtype: "f32" };
    return [row, row];
  },
  vjp({ inputs, outputs: [, logsumexp], cotangents: [dloss] }) {
    // The logsumexp is for the backward pass alone and never has a cotangent.
    return [...bind(gradientOp, [...inputs, logsumexp!, dloss!]), undefined];
  },
  run: {
    kind: "kernel",
    cpu: lossCpu,
    wasm: linearCrossEntropyWasm,
    wgsl: linearCrossEntropyWgsl,
    flops: (spec) => 2 * products(spec),
    scratch: (spec, backend) => backend === "webgpu" ? linearCrossEntropyScratch(spec) : [],
  },
};

/** x, w, targets, logsumexp, dloss [R] → dx [R,D], dw [V,D]. */
const gradientOp: Op = {
  name: "linearCrossEntropyGradient",
  infer(inputs) {
    checkOperands("linearCrossEntropyGradient", inputs);
    return inputs.slice(0, 2);
  },
  vjp: secondOrder,
  run: {
    kind: "kernel",
    cpu: gradientCpu,
    wasm: linearCrossEntropyGradientWasm,
    wgsl: linearCrossEntropyGradientWgsl,
    flops: (spec) => 6 * products(spec),
    scratch: (spec, backend) => backend === "webgpu" ? linearCrossEntropyGradientScratch(spec) : [],
  },
};

/** Products of an element of x and one of w. */
function products({ inputs: [x, w] }: KernelSpec): number {
  return sizeOf(x!.shape) * w!.shape[0]!;
}

/** The logit of one row of x and one row of w. */
function logit(x: KernelOperand, row: number, w: KernelOperand, column: number): number {
  const width = x.shape[1]!;
  let sum = 0;
  for (let i = 0; i < width; i++) sum += x.data[row * width + i]! * w.data[column * width + i]!;
  return sum;
}

function lossCpu(
  [x, w, targets]: readonly KernelOperand[],
  [loss, logsumexp]: readonly KernelOperand[],
): void {
  const vocabulary = w!.shape[0]!;
  const logits = new Float64Array(vocabulary);
  for (let row = 0; row < x!.shape[0]!; row++) {
    for (let column = 0; column < vocabulary; column++) logits[column] = logit(x!, row, w!, column);
    const highest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
    const total = logits.reduce((sum, value) => sum + Math.exp(value - highest), 0);
    logsumexp!.data[row] = highest + Math.log(total);
    loss!.data[row] = highest + Math.log(total) - (logits[targets!.data[row]!] ?? 0);
  }
}

function gradientCpu(
  [x, w, targets, logsumexp, dloss]: readonly KernelOperand[],
  [dx, dw]: readonly KernelOperand[],
): void {
  const [rows, width] = x!.shape as [number, number];
  dx!.data.fill(0);
  dw!.data.fill(0);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < w!.shape[0]!; column++) {
      const p = Math.exp(logit(x!, row, w!, column) - logsumexp!.data[row]!);
      const slope = dloss!.data[row]! * (p - Number(column === targets!.data[row]));
      for (let i = 0; i < width; i++) {
        dx!.data[row * width + i]! += slope * w!.data[column * width + i]!;
        dw!.data[column * width + i]! += slope * x!.data[row * width + i]!;
      }
    }
  }
}

/**
 * The gradient of the gradient by plain ops, on all logits. `logsumexp` is a function of the other
 * inputs; it is taken as such and gets no cotangent of its own.
 */
function secondOrder({ inputs, outputs, cotangents }: VjpArguments): (Tensor | undefined)[] {
  const [x, w, targets, , dloss] = inputs as readonly Tensor[] & { length: 5 };
  const chosen = oneHot(targets!, w!.shape[0]!, { dtype: x!.dtype });
  const gradient = (x: Tensor, w: Tensor, dloss: Tensor) => {
    const p = softmax(matmul(x, swapAxes(w, 0, 1)));
    const slope = cast(mul(sub(p, chosen), expandDims(dloss, 1)), x.dtype);
    return [matmul(slope, w), matmul(swapAxes(slope, 0, 1), x)];
  };
  const [, pullback] = vjp(gradient, x!, w!, dloss!);
  const [ddx, ddw, ddloss] = pullback(
    outputs.map((output, i) => cotangents[i] ?? zerosLike(output)),
  );
  return [ddx, ddw, undefined, undefined, ddloss];
}

/**
 * The cross entropy of the logits `x wᵀ` for each row, in nats, computed in chunks: the logits
 * [R, V] are never stored whole, in the forward or the backward pass.
 *
 * @param x The inputs of the linear layer [..., D].
 * @param w Its weight [V, D].
 * @param targets An integer tensor [...]: the right class of each row, in 0..V-1.
 * @returns The losses [...], f32.
 * @throws {TypeError} If the shapes do not fit.
 *
 * @example
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { tensor } from "../../lib/tensor.ts";
 * import { linearCrossEntropy } from "./linear_cross_entropy.ts";
 * const w = tensor([[0, 0], [0, 0]]);
 * const loss = linearCrossEntropy(tensor([[1, 2]]), w, tensor([1], { dtype: "i32" }));
 * assertAlmostEquals(await loss.item(), Math.LN2, 1e-6);
 * ```
 */
export function linearCrossEntropy(x: Tensor, w: Tensor, targets: Tensor): Tensor {
  if (x.rank === 0) {
    throw new TypeError(
      "linearCrossEntropy: expected x to have at least one axis but found a scalar",
    );
  }
  checkDType("linearCrossEntropy", "targets", targets, "integer");
  checkShapeIs("linearCrossEntropy", "targets", targets, x.shape.slice(0, -1));
  const [inputs, weight] = asTensors("linearCrossEntropy", x, w) as [Tensor, Tensor];
  const [loss] = bind(linearCrossEntropyOp, [
    reshape(inputs, [targets.size, x.shape.at(-1)!]),
    weight,
    reshape(cast(targets, "i32"), [targets.size]),
  ]);
  return reshape(loss!, targets.shape);
}
