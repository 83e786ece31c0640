/** The cumulative sum along an axis. */
import type { Attributes, KernelOperand, Op } from "../../lib/op.ts";
import { normalizeAxis, sizeOf } from "../../lib/shape.ts";
import { bindOne, type Tensor } from "../../lib/tensor.ts";
import { checkDType } from "../arguments.ts";
import { flip } from "../slice.ts";
import { cumulativeSumWasm } from "./wasm.ts";
import { cumulativeSumWgsl } from "./wgsl.ts";

const cumulativeSumOp: Op = {
  name: "cumulativeSum",
  infer([x]) {
    checkDType("cumulativeSum", "x", x!, "number");
    return [x!];
  },
  vjp: ({ cotangents: [g], attributes: { axis } }) => [
    flip(cumulativeSum(flip(g!, axis), { axis }), axis),
  ],
  run: { kind: "kernel", cpu, wasm: cumulativeSumWasm, wgsl: cumulativeSumWgsl },
};

function cpu(
  [x]: readonly KernelOperand[],
  [out]: readonly KernelOperand[],
  { axis }: Attributes,
): void {
  const length = x!.shape[axis]!;
  const inner = sizeOf(x!.shape.slice(axis + 1));
  const outer = sizeOf(x!.shape.slice(0, axis));
  for (let i = 0; i < outer; i++) {
    for (let j = 0; j < inner; j++) {
      let sum = 0;
      for (let k = 0; k < length; k++) {
        const at = (i * length + k) * inner + j;
        sum += x!.data[at]!;
        if (x!.dtype === "i32") sum |= 0;
        if (x!.dtype === "u32") sum >>>= 0;
        out!.data[at] = sum;
      }
    }
  }
}

/**
 * The sums of all elements up to each one along an axis.
 *
 * @param x A tensor of numbers.
 * @param options `axis`: the axis (default the last).
 * @returns A tensor of the same shape and type.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../../lib/tensor.ts";
 * import { cumulativeSum } from "./scan.ts";
 * assertEquals(await cumulativeSum(tensor([1, 2, 3])).toArray(), [1, 3, 6]);
 * ```
 */
export function cumulativeSum(x: Tensor, options: { axis?: number } = {}): Tensor {
  const axis = normalizeAxis("cumulativeSum", options.axis ?? -1, x.rank);
  return x.size === 0 ? x : bindOne(cumulativeSumOp, [x], { axis });
}
