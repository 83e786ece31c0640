/** The cross entropy of logits with the right classes. */
import type { Tensor } from "../lib/tensor.ts";
import { sub } from "./arithmetic.ts";
import { checkDType, checkShapeIs } from "./arguments.ts";
import { equal } from "./compare.ts";
import { iota } from "./create.ts";
import { sum } from "./reduce.ts";
import { expandDims } from "./reshape.ts";
import { logsumexp } from "./softmax.ts";
import { where } from "./where.ts";

/**
 * The cross entropy of each row of logits with its class, in nats (see `linearCrossEntropy` for
 * logits that are too many to be stored).
 *
 * @param logits A float tensor [..., V].
 * @param targets An integer tensor [...]: the right class of each row, in 0..V-1.
 * @returns The losses [...].
 * @throws {TypeError} If the shapes do not fit.
 *
 * @example
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { crossEntropy } from "./cross_entropy.ts";
 * const loss = crossEntropy(tensor([[1, 1]]), tensor([0], { dtype: "i32" }));
 * assertAlmostEquals(await loss.item(), Math.LN2, 1e-6);
 * ```
 */
export function crossEntropy(logits: Tensor, targets: Tensor): Tensor {
  checkDType("crossEntropy", "targets", targets, "integer");
  checkShapeIs("crossEntropy", "targets", targets, logits.shape.slice(0, -1));
  const isRight = equal(iota(logits.shape), expandDims(targets, -1));
  return sub(logsumexp(logits, { axes: -1 }), sum(where(isRight, logits, 0), { axes: -1 }));
}
