/** The loss that makes a codebook's use sure for each vector and even over all of them. */
import type { Tensor } from "../../lib/tensor.ts";
import { add, mul, neg, sub } from "../../ops/arithmetic.ts";
import { log } from "../../ops/math.ts";
import { matmul } from "../../ops/matmul/matmul.ts";
import { square } from "../../ops/power.ts";
import { mean, sum } from "../../ops/reduce.ts";
import { logSoftmax, softmax } from "../../ops/softmax.ts";
import { transpose } from "../../ops/transpose.ts";

/**
 * The mean entropy of the vectors' soft choices of codes, minus the entropy of the mean choice. A choice is the
 * softmax of minus the squared distances, divided by a temperature. It holds R × V numbers at once.
 *
 * Source: Chang et al., "MaskGIT" (2022), its published training code; LlamaGen's `compute_entropy_loss`.
 *
 * @param vectors Vectors [R, C], as they are compared with the codes.
 * @param codebook Codes [V, C].
 * @param temperature What distances are divided by.
 * @returns A scalar, at least -log V.
 *
 * @example
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { tensor } from "../../lib/tensor.ts";
 * import { entropyLoss } from "./entropy_loss.ts";
 *
 * const codes = tensor([[0, 1], [1, 0]]);
 * assertAlmostEquals(await entropyLoss(codes, codes, 0.01).item(), -Math.log(2), 1e-3);
 * ```
 */
export function entropyLoss(vectors: Tensor, codebook: Tensor, temperature: number): Tensor {
  // |z|² is the same for all codes of a vector: the softmax does not see it.
  const closeness = sub(
    mul(matmul(vectors, transpose(codebook)), 2),
    sum(square(codebook), { axes: -1 }),
  );
  const logits = mul(closeness, 1 / temperature);
  const choices = softmax(logits);
  const ofEach = neg(mean(sum(mul(choices, logSoftmax(logits)), { axes: -1 })));
  const shares = mean(choices, { axes: 0 });
  const ofMean = neg(sum(mul(shares, log(add(shares, 1e-5)))));
  return sub(ofEach, ofMean);
}
