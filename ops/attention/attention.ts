/** Scaled dot-product attention in which every row sees a prefix of the columns. */
import type { Attributes, KernelOperand, KernelSpec, Op, TensorType } from "../../lib/op.ts";
import { sizeOf } from "../../lib/shape.ts";
import { bind, type Tensor } from "../../lib/tensor.ts";
import { checkDType, checkRank, checkShapeIs } from "../arguments.ts";
import { cast } from "../cast.ts";
import { full } from "../create.ts";
import { expandDims } from "../reshape.ts";
import { secondOrder } from "./second_order.ts";
import { attentionWasm } from "./wasm.ts";
import { attentionGradientWasm } from "./wasm_gradient.ts";
import {
  attentionGradientScratch,
  attentionGradientWgsl,
  attentionScratch,
  attentionWgsl,
} from "./wgsl.ts";

/** Checks q [B,H,N,D], k and v [B,H,M,D], visible [B or 1, N]. */
function checkOperands(op: string, [q, k, v, visible]: readonly TensorType[]): void {
  for (const [name, x] of Object.entries({ q: q!, k: k!, v: v! })) {
    checkRank(op, name, x, 4);
    checkDType(op, name, x, "float");
  }
  const [batch, heads, rows, width] = q!.shape as [number, number, number, number];
  checkShapeIs(op, "k", k!, [batch, heads, k!.shape[2]!, width]);
  checkShapeIs(op, "v", v!, k!.shape);
  checkDType(op, "visible", visible!, "integer");
  checkRank(op, "visible", visible!, 2);
  if (visible!.shape[0] !== 1 || visible!.shape[1] !== rows) {
    checkShapeIs(op, "visible", visible!, [batch, rows]);
  }
}

/** q, k, v, visible → out [B,H,N,D], logsumexp [B,H,N]. */
const attentionOp: Op = {
  name: "attention",
  infer(inputs) {
    checkOperands("attention", inputs);
    const [q] = inputs;
    return [q!, { shape: q!.shape.slice(0, 3), dtype: "f32" }];
  },
  vjp({ inputs, outputs, cotangents: [dout], attributes }) {
    // The logsumexp is for the backward pass alone and never has a cotangent.
    return [...bind(attentionGradientOp, [...inputs, ...outputs, dout!], attributes), undefined];
  },
  run: {
    kind: "kernel",
    acceptsViews: true,
    epilogue: { wasm: "row", webgpu: 4 },
    cpu: attentionCpu,
    wasm: attentionWasm,
    wgsl: attentionWgsl,
    scratch: (spec, backend) => backend === "webgpu" ? attentionScratch(spec) : [],
    flops: (spec) => 4 * pairs(spec),
  },
};

/** q, k, v, visible, out, logsumexp, dout → dq, dk, dv. */
const attentionGradientOp: Op = {
  name: "attentionGradient",
  infer(inputs) {
    checkOperands("attentionGradient", inputs);
    return inputs.slice(0, 3);
  },
  vjp: secondOrder,
  run: {
    kind: "kernel",
    acceptsViews: true,
    cpu: attentionGradientCpu,
    wasm: attentionGradientWasm,
    wgsl: attentionGradientWgsl,
    flops: (spec) => 10 * pairs(spec),
    scratch: (spec, backend) => backend === "webgpu" ? attentionGradientScratch(spec) : [],
  },
};

/** Products of an element of q and one of k, if every row saw every column. */
function pairs({ inputs: [q, k] }: KernelSpec): number {
  return sizeOf(q!.shape) * k!.shape[2]!;
}

/** The matrices of one head of one sample, and how to index them. */
function* heads([q, k, , visible]: readonly KernelOperand[]) {
  const [batch, heads, rows, width] = q!.shape as [number, number, number, number];
  const columns = k!.shape[2]!;
  for (let sample = 0; sample < batch; sample++) {
    const first = visible!.shape[0] === 1 ? 0 : sample * rows;
    for (let head = 0; head < heads; head++) {
      const matrix = sample * heads + head;
      yield {
        rows,
        width,
        /** Where row `i` of q, or column `j` of k and v, starts. */
        row: (i: number) => (matrix * rows + i) * width,
        column: (j: number) => (matrix * columns + j) * width,
        scalar: (i: number) => matrix * rows + i,
        seen: (i: number) => Math.min(columns, Math.max(0, visible!.data[first + i]!)),
      };
    }
  }
}

function dot(a: KernelOperand, at: number, b: KernelOperand, bt: number, length: number): number {
  let sum = 0;
  for (let i = 0; i < length; i++) sum += a.data[at + i]! * b.data[bt + i]!;
  return sum;
}

function addScaled(
  to: KernelOperand,
  at: number,
  factor: number,
  from: KernelOperand,
  start: number,
  length: number,
): void {
  for (let i = 0; i < length; i++) to.data[at + i]! += factor * from.data[start + i]!;
}

function attentionCpu(
  inputs: readonly KernelOperand[],
  [out, logsumexp]: readonly KernelOperand[],
  { scale }: Attributes,
): void {
  const [q, k, v] = inputs as [KernelOperand, KernelOperand, KernelOperand];
  out!.data.fill(0);
  for (const { rows, width, row, column, scalar, seen } of heads(inputs)) {
    for (let i = 0; i < rows; i++) {
      const scores = Array.from(
        { length: seen(i) },
        (_, j) => scale * dot(q, row(i), k, column(j), width),
      );
      const highest = scores.reduce((a, b) => Math.max(a, b), -Infinity);
      const total = scores.reduce((sum, score) => sum + Math.exp(score - highest), 0);
      const lse = scores.length === 0 ? -Infinity : highest + Math.log(total);
      logsumexp!.data[scalar(i)] = lse;
      for (const [j, score] of scores.entries()) {
        addScaled(out!, row(i), Math.exp(score - lse), v, column(j), width);
      }
    }
  }
}

function attentionGradientCpu(
  inputs: readonly KernelOperand[],
  outputs: readonly KernelOperand[],
  { scale }: Attributes,
): void {
  const [q, k, v, , out, logsumexp, dout] = inputs as KernelOperand[] & { length: 7 };
  const [dq, dk, dv] = outputs as [KernelOperand, KernelOperand, KernelOperand];
  for (const { data } of outputs) data.fill(0);
  for (const { rows, width, row, column, scalar, seen } of heads(inputs)) {
    for (let i = 0; i < rows; i++) {
      const delta = dot(out!, row(i), dout!, row(i), width);
      for (let j = 0; j < seen(i); j++) {
        const score = scale * dot(q!, row(i), k!, column(j), width);
        const p = Math.exp(score - logsumexp!.data[scalar(i)]!);
        const dp = dot(dout!, row(i), v!, column(j), width);
        const ds = scale * p * (dp - delta);
        addScaled(dv, column(j), p, dout!, row(i), width);
        addScaled(dq, row(i), ds, k!, column(j), width);
        addScaled(dk, column(j), ds, q!, row(i), width);
      }
    }
  }
}

/** What attention may be told besides its operands. */
export interface AttentionOptions {
  /**
   * How many of the first columns each row sees: an integer tensor [N] or [B, N]. By default every
   * row sees all. A row that sees none gives zeros.
   */
  readonly visible?: Tensor;
  /** The factor of the scores (default `1 / √D`). */
  readonly scale?: number;
}

/**
 * Attention `softmax(scale · q kᵀ) v` of several heads, where row `i` sees the first `visible[i]`
 * columns. The N×M matrix of scores is never stored.
 *
 * Source: Vaswani et al., "Attention is all you need" (2017), section 3.2.1; blockwise as in Dao,
 * "FlashAttention-2" (2023).
 *
 * @param q The queries [B, H, N, D].
 * @param k The keys [B, H, M, D].
 * @param v The values [B, H, M, D].
 * @param options `visible` and `scale`.
 * @returns A tensor [B, H, N, D].
 * @throws {TypeError} If the shapes do not fit.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../../lib/tensor.ts";
 * import { attention } from "./attention.ts";
 * const x = tensor([[[[1, 0], [0, 1]]]]);
 * const visible = tensor([1, 0], { dtype: "i32" });
 * assertEquals(await attention(x, x, x, { visible }).toArray(), [[[[1, 0], [0, 0]]]]);
 * ```
 */
export function attention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: AttentionOptions = {},
): Tensor {
  checkRank("attention", "q", q, 4);
  checkRank("attention", "k", k, 4);
  const [, , rows, width] = q.shape as [number, number, number, number];
  const scale = options.scale ?? 1 / Math.sqrt(width);
  let visible = options.visible ?? full([1, rows], k.shape[2]!, { dtype: "i32" });
  checkDType("attention", "visible", visible, "integer");
  if (visible.rank === 1) visible = expandDims(visible, 0);
  return bind(attentionOp, [q, k, v, cast(visible, "i32")], { scale })[0]!;
}
