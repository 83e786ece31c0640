/** Ops of one's own: the same declaration that the project's ops are made of. */
import type { Attributes, Op } from "./op.ts";
import { bind, type Tensor } from "./tensor.ts";

/**
 * Makes a function of a declared op. It works eagerly, under `jit` and under `grad` (which uses
 * the op's `vjp`), on every device: with `run.kind` "expression" the compiler writes and fuses the
 * kernels; with "kernel" they are given as WGSL for WebGPU and a plain function for the CPU.
 *
 * @param op The declaration; see `Op`.
 * @returns A function of the input tensors and the op's attributes that returns the outputs.
 * @throws {TypeError} If the declaration cannot run: a kernel without `cpu`, a name that is empty.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { defineOp, grad, mul, openDevice, sum, type Tensor, tensor } from "../mod.ts";
 * await openDevice("reference");
 * const cube = defineOp({
 *   name: "cube",
 *   infer: ([x]) => [x!],
 *   vjp: ({ inputs: [x], cotangents: [dy] }) => [mul(mul(mul(x!, x!), 3), dy!)],
 *   run: {
 *     kind: "expression",
 *     lower(index, input, { e }) {
 *       const x = input(0, index);
 *       return e.apply("mul", e.apply("mul", x, x), x);
 *     },
 *   },
 * });
 * const x = tensor([1, 2, 3]);
 * assertEquals(await cube([x])[0]!.toArray(), [1, 8, 27]);
 * assertEquals(await grad((x: Tensor) => sum(cube([x])[0]!))(x).toArray(), [3, 12, 27]);
 * ```
 */
export function defineOp<A extends Attributes = Attributes>(
  op: Op,
): (inputs: readonly Tensor[], attributes?: A) => Tensor[] {
  if (op.name === "") throw new TypeError("defineOp: expected a name but found an empty string");
  if (op.run.kind === "kernel" && typeof op.run.cpu !== "function") {
    throw new TypeError(`defineOp: expected ${op.name} to have a cpu kernel but found none`);
  }
  return (inputs, attributes) => bind(op, inputs, attributes);
}
