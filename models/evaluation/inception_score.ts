/** The Inception Score: how sharp and how varied the classes of images are. */

/** Sums over the class probabilities seen so far. */
export interface ScoreSums {
  readonly classes: number;
  /** Images in a split; the score is the mean of the splits' scores. */
  readonly splitSize: number;
  /** Scores of the splits that are complete. */
  readonly scores: number[];
  /** Images, Σ p and Σ p log p of the split under way. */
  count: number;
  readonly total: Float64Array;
  negentropy: number;
}

/**
 * Sums over no images.
 *
 * @param classes Number of classes C.
 * @param splitSize Images in a split (default 5000, as in ADM's suite).
 * @returns Zeros, to be passed to {@linkcode addProbabilities}.
 */
export function noScore(classes: number, splitSize = 5000): ScoreSums {
  if (!Number.isInteger(splitSize) || splitSize < 1) {
    throw new RangeError(
      `noScore: expected splitSize to be a whole number of at least 1 but found ${splitSize}`,
    );
  }
  const total = new Float64Array(classes);
  return { classes, splitSize, scores: [], count: 0, total, negentropy: 0 };
}

/**
 * Takes further images into the sums, in place and in order: which images are in a split matters, so
 * images sorted by class must be shuffled first.
 *
 * @param sums What was seen before.
 * @param probabilities Class probabilities [n, C], row-major.
 */
export function addProbabilities(sums: ScoreSums, probabilities: ArrayLike<number>): void {
  for (let start = 0; start < probabilities.length; start += sums.classes) {
    for (let i = 0; i < sums.classes; i++) {
      const p = probabilities[start + i]!;
      sums.total[i]! += p;
      if (p > 0) sums.negentropy += p * Math.log(p);
    }
    if (++sums.count < sums.splitSize) continue;
    sums.scores.push(scoreOfSplit(sums));
    sums.total.fill(0);
    sums.count = sums.negentropy = 0;
  }
}

/** `exp(E[KL(p ‖ p̄)])`, with `E[KL] = E[Σ p log p] - Σ p̄ log p̄`. */
function scoreOfSplit({ count, total, negentropy }: ScoreSums): number {
  let divergence = negentropy / count;
  for (const sum of total) if (sum > 0) divergence -= sum / count * Math.log(sum / count);
  return Math.exp(divergence);
}

/**
 * The Inception Score: the mean over the splits, the last of which may be smaller.
 *
 * Source: Salimans et al., "Improved techniques for training GANs" (2016), section 4.
 *
 * @param sums The sums over all images.
 * @returns The score, in 1..C.
 * @throws {RangeError} If there are no images.
 *
 * @example
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { addProbabilities, inceptionScore, noScore } from "./inception_score.ts";
 *
 * const sums = noScore(2);
 * addProbabilities(sums, [1, 0, 0, 1]);
 * assertAlmostEquals(inceptionScore(sums), 2, 1e-12);
 * ```
 */
export function inceptionScore(sums: ScoreSums): number {
  const scores = sums.count > 0 ? [...sums.scores, scoreOfSplit(sums)] : sums.scores;
  if (scores.length === 0) throw new RangeError("inceptionScore: expected at least one image");
  return scores.reduce((total, score) => total + score) / scores.length;
}
