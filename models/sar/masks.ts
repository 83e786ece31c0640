/**
 * The masks of SAR as one integer per row: since set ids never decrease along the rearranged sequence,
 * every row of every mask sees a prefix of the columns, and its length says all (O(N) memory).
 *
 *     encoder self-attention    i sees j  <=>  ge(j) <= ge(i)
 *     decoder self-attention    i sees j  <=>  g(j)  <= g(i)
 *     decoder cross-attention   i sees j  <=>  ge(j) <  g(i)
 */

/** Number of visible columns for each row of the three attentions. */
export interface VisibleCounts {
  /** Encoder self-attention [c + M]: the condition rows, then M token rows. */
  readonly encoder: Int32Array;
  /** Decoder self-attention [N]. */
  readonly decoder: Int32Array;
  /** Decoder cross-attention to the encoder [N]. */
  readonly cross: Int32Array;
}

/** What `visibleCounts` can be asked for beside the intervals. */
export interface VisibleOptions {
  /** Number of condition rows c before the tokens: 1 for a class (the default), T for a text. */
  readonly condition?: number;
  /** Number of token rows M of the encoder, N - s_K by default; more are padding that no kept row sees. */
  readonly encoderTokens?: number;
  /** Whether every decoder query sees all others (the option of the MAR end). */
  readonly fullDecoder?: boolean;
}

/**
 * The set, 1..K, of each token of the rearranged sequence.
 *
 * @param intervals set sizes [K]
 * @returns set ids [N]
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { setIds } from "./masks.ts";
 *
 * assertEquals(setIds([1, 2, 2, 3]), Int32Array.of(1, 2, 2, 3, 3, 4, 4, 4));
 * ```
 */
export function setIds(intervals: ArrayLike<number>): Int32Array {
  return perToken(intervals, (set) => set + 1);
}

/**
 * How many columns each row of the three attentions sees. Source: sections 3 and figure 3 of the SAR paper.
 *
 * Padding rows of the encoder (rows from c + N - s_K on, where `encoderTokens` asks for more) hold tokens of
 * the last set. They see what the last kept row sees, and no kept row and no query sees them, so they change
 * neither the logits nor a gradient.
 *
 * @param intervals set sizes [K]
 * @param options condition rows, padding of the encoder, full decoder self-attention
 * @returns visible columns per row; each list is non-decreasing and, with `condition` >= 1, positive
 * @throws RangeError if `encoderTokens` is less than N - s_K
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { visibleCounts } from "./masks.ts";
 *
 * const { encoder, decoder, cross } = visibleCounts([1, 2, 2, 3]);
 * assertEquals(encoder, Int32Array.of(1, 2, 4, 4, 6, 6));
 * assertEquals(decoder, Int32Array.of(1, 3, 3, 5, 5, 8, 8, 8));
 * assertEquals(cross, Int32Array.of(1, 2, 2, 4, 4, 6, 6, 6));
 * ```
 */
export function visibleCounts(
  intervals: ArrayLike<number>,
  options: VisibleOptions = {},
): VisibleCounts {
  const { condition = 1, fullDecoder = false } = options;
  const ends = setEnds(intervals);
  const count = ends[ends.length - 1];
  const known = ends[ends.length - 2] ?? 0;
  const encoderTokens = options.encoderTokens ?? known;
  if (encoderTokens < known) {
    throw new RangeError(
      `visibleCounts: expected encoderTokens to be at least ${known} but found ${encoderTokens}`,
    );
  }
  const decoder = perToken(intervals, (set) => ends[set]);
  const encoder = new Int32Array(condition + encoderTokens);
  encoder.fill(condition, 0, condition);
  encoder.set(decoder.subarray(0, known).map((end) => condition + end), condition);
  encoder.fill(condition + known, condition + known);
  return {
    encoder,
    decoder: fullDecoder ? new Int32Array(count).fill(count) : decoder,
    cross: perToken(intervals, (set) => condition + (ends[set - 1] ?? 0)),
  };
}

/** Place after the last token of each set. */
function setEnds(intervals: ArrayLike<number>): Int32Array {
  let end = 0;
  return Int32Array.from(intervals, (size) => end += size);
}

function perToken(intervals: ArrayLike<number>, value: (set: number) => number): Int32Array {
  return Int32Array.from(
    Array.from(intervals).flatMap((size, set) => new Array<number>(size).fill(value(set))),
  );
}
