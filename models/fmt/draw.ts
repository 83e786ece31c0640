/** From hidden states to drawn tokens: guidance, filtering, and a draw that each image owns. */
import type { Tensor } from "../../lib/tensor.ts";
import { add, mul, sub } from "../../ops/arithmetic.ts";
import { cast } from "../../ops/cast.ts";
import { lessEqual } from "../../ops/compare.ts";
import { minimum } from "../../ops/extremes.ts";
import { filterLogits } from "../../ops/filter_logits.ts";
import { sum } from "../../ops/reduce.ts";
import { expandDims } from "../../ops/reshape.ts";
import { cumulativeSum } from "../../ops/scan/scan.ts";
import { slice } from "../../ops/slice.ts";
import { softmax } from "../../ops/softmax.ts";
import { argmax } from "../../ops/statistics.ts";

/** How a token is chosen from its logits. */
export interface DrawSettings {
  /** Whether the most likely token is taken. */
  readonly greedy: boolean;
  /** The logits are divided by it (default 1). */
  readonly temperature?: number;
  /** How many of the most likely tokens may be drawn; 0 for all. */
  readonly topK: number;
  /** The probability that the tokens that may be drawn reach together; 1 for all. */
  readonly topP: number;
}

/**
 * Classifier-free guidance: `unconditional + (conditional - unconditional) · scale`.
 *
 * Source: Ho and Salimans, "Classifier-free diffusion guidance" (2022), in LlamaGen's form.
 *
 * @param logits [2B, S, V], the conditional half first.
 * @param scale A scalar.
 * @returns Logits [B, S, V].
 */
export function guide(logits: Tensor, scale: Tensor): Tensor {
  const images = logits.shape[0]! / 2;
  const conditional = slice(logits, [[0, images]]);
  const unconditional = slice(logits, [[images, null]]);
  return add(unconditional, mul(sub(conditional, unconditional), scale));
}

/**
 * Draws a token for each place by inverting the cumulative probabilities at a given number, so that a draw
 * depends on its own image and place only, whatever the batch and the sets are.
 *
 * @param logits [B, S, V].
 * @param uniforms Numbers in 0..1, without 1 [B, S].
 * @param settings How to choose.
 * @returns Tokens i32 [B, S].
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../../lib/tensor.ts";
 * import { drawTokens } from "./draw.ts";
 *
 * const settings = { greedy: false, topK: 0, topP: 1 };
 * const logits = tensor([[[0, -Infinity, 0], [0, -Infinity, 0]]]);
 * assertEquals(await drawTokens(logits, tensor([[0.4, 0.6]]), settings).toArray(), [[0, 2]]);
 * ```
 */
export function drawTokens(logits: Tensor, uniforms: Tensor, settings: DrawSettings): Tensor {
  if (settings.greedy) return argmax(logits);
  const vocabulary = logits.shape[2]!;
  const filtered = filterLogits(logits, settings);
  const reached = cumulativeSum(softmax(filtered));
  const whole = slice(reached, [null, null, [-1, null]]);
  const passed = lessEqual(reached, mul(expandDims(uniforms, -1), whole));
  return minimum(sum(cast(passed, "i32"), { axes: -1 }), vocabulary - 1);
}
