/** Temperature, top-k and top-p: which classes may be drawn. */
import type { Tensor } from "../lib/tensor.ts";
import { div } from "./arithmetic.ts";
import { checkDType } from "./arguments.ts";
import { greaterEqual, less, lessEqual } from "./compare.ts";
import { pad } from "./pad.ts";
import { min } from "./reduce.ts";
import { cumulativeSum } from "./scan/scan.ts";
import { slice } from "./slice.ts";
import { softmax } from "./softmax.ts";
import { sort } from "./sort/sort.ts";
import { where } from "./where.ts";

/** How logits are filtered. */
export interface FilterOptions {
  /** How many of the greatest logits stay; 0 (the default) for all. */
  readonly topK?: number;
  /**
   * The probability that the classes that stay must reach together, greatest first; the class that
   * passes it stays too. 1 (the default) for all.
   */
  readonly topP?: number;
  /** The logits are divided by it (default 1). */
  readonly temperature?: number;
}

/**
 * Logits divided by a temperature, with -Infinity for the classes that must not be drawn: first all
 * but the `topK` greatest, then those beyond the probability `topP`. Classes that tie with the last
 * one kept stay too.
 *
 * Source: LlamaGen's `autoregressive/models/generate.py`; Holtzman et al., "The curious case of
 * neural text degeneration" (2019), section 3.1.
 *
 * @param logits A float tensor [..., V].
 * @param options `topK`, `topP`, `temperature`.
 * @returns A tensor of the same shape.
 * @throws {RangeError} If an option is outside its range.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { filterLogits } from "./filter_logits.ts";
 * const kept = filterLogits(tensor([1, 3, 2]), { topK: 2 });
 * assertEquals(await kept.toArray(), [-Infinity, 3, 2]);
 * ```
 */
export function filterLogits(logits: Tensor, options: FilterOptions = {}): Tensor {
  checkDType("filterLogits", "logits", logits, "float");
  const { topK = 0, topP = 1, temperature = 1 } = options;
  if (!Number.isInteger(topK) || topK < 0) {
    throw new RangeError(`filterLogits: expected topK to be a whole number but found ${topK}`);
  }
  if (!(topP >= 0 && topP <= 1)) {
    throw new RangeError(`filterLogits: expected topP to be in 0..1 but found ${topP}`);
  }
  if (!(temperature >= 0)) {
    throw new RangeError(
      `filterLogits: expected temperature to be at least 0 but found ${temperature}`,
    );
  }
  const scaled = temperature === 1 ? logits : div(logits, Math.max(temperature, 1e-5));
  const limitsCount = topK > 0 && topK < logits.shape.at(-1)!;
  if (!limitsCount && topP === 1) return scaled;
  const leading = new Array<null>(logits.rank - 1).fill(null);
  let sorted = sort(scaled, { descending: true });
  let threshold = slice(sorted, [...leading, [-1, null]]);
  if (limitsCount) {
    threshold = slice(sorted, [...leading, [topK - 1, topK]]);
    sorted = where(less(sorted, threshold), -Infinity, sorted);
  }
  if (topP < 1) {
    // A class stays if those before it have not yet passed topP.
    const reached = slice(cumulativeSum(softmax(sorted)), [...leading, [0, -1]]);
    const before = pad(reached, [...leading.map(() => [0, 0] as const), [1, 0]]);
    const stays = lessEqual(before, topP);
    threshold = min(where(stays, sorted, Infinity), { axes: -1, keepDims: true });
  }
  return where(greaterEqual(scaled, threshold), scaled, -Infinity);
}
