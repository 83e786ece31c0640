/** The steps of sampling: which places of the sequence each works on, in windows of few sizes. */

/**
 * One step of sampling, in slots: slot 0 is the condition, slot 1 + i is place i of the sequence.
 */
export interface SamplingStep {
  /** First slot that the encoder takes in: the condition, or the set before this one. */
  readonly encodeStart: number;
  /** First slot that the decoder predicts. */
  readonly decodeStart: number;
  /** Number of tokens of the set. */
  readonly size: number;
  /** Rows of the step's window: at least those that encoder and decoder need. */
  readonly window: number;
}

/**
 * Plans the steps of sampling. Windows have the sizes 1, 4, 16, … and that of the largest set, so that a few
 * compiled programs serve every list of intervals; one token a step needs a single program.
 *
 * A window may be longer than the set. That is exact: the rows behind the set write keys, values and tokens only into
 * slots after the set's own, no row ever looks beyond its set (its visible count ends there), and the step that
 * a slot belongs to overwrites it before it becomes visible.
 *
 * @param intervals Set sizes [K].
 * @returns The K steps.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { planSteps } from "./steps.ts";
 *
 * assertEquals(planSteps([1, 2, 5]).map(({ window }) => window), [1, 4, 5]);
 * assertEquals(planSteps([1, 2, 5])[2], { encodeStart: 2, decodeStart: 4, size: 5, window: 5 });
 * ```
 */
export function planSteps(intervals: ArrayLike<number>): SamplingStep[] {
  const sizes = Array.from(intervals);
  const largest = Math.max(...sizes);
  let decodeStart = 1;
  return sizes.map((size, set) => {
    const before = sizes[set - 1] ?? 1;
    const step = {
      encodeStart: decodeStart - before,
      decodeStart,
      size,
      window: windowFor(Math.max(size, before), largest),
    };
    decodeStart += size;
    return step;
  });
}

function windowFor(rows: number, largest: number): number {
  let window = 1;
  while (window < rows) window *= 4;
  return Math.min(window, largest);
}

/** Number of slots that every window fits into. */
export function slotCount(steps: readonly SamplingStep[]): number {
  return Math.max(...steps.map(({ decodeStart, window }) => decodeStart + window));
}
