/**
 * What moves a codebook besides gradients: moving averages of the vectors that take each code, and codes without
 * use drawn anew from vectors of the batch. All of it runs on the device, within the training step.
 */
import type { Tensor } from "../../lib/tensor.ts";
import { add, div, mul, neg, sub } from "../../ops/arithmetic.ts";
import { cast } from "../../ops/cast.ts";
import { greater, greaterEqual, less } from "../../ops/compare.ts";
import { full, ones, zeros } from "../../ops/create.ts";
import { gumbel } from "../../ops/distributions.ts";
import { take } from "../../ops/gather.ts";
import { logicalAnd } from "../../ops/logic.ts";
import { exp, log } from "../../ops/math.ts";
import { maximum, minimum } from "../../ops/extremes.ts";
import { ema } from "../../ops/optimizers/ema.ts";
import { sum } from "../../ops/reduce.ts";
import { expandDims } from "../../ops/reshape.ts";
import { cumulativeSum } from "../../ops/scan/scan.ts";
import { scatterAdd } from "../../ops/scatter/scatter.ts";
import { argsort } from "../../ops/sort/sort.ts";
import { where } from "../../ops/where.ts";
import { Parameter } from "../layers/parameter.ts";

/** How a codebook is moved. */
export interface CodebookTraining {
  /** `gradient`: by the optimizer alone; `ema`: each code is the moving average of the vectors that take it. */
  readonly update: "gradient" | "ema";
  /** Decay of moving averages. */
  readonly decay: number;
  /** Steps in which no vector takes a code before it counts as unused. */
  readonly window: number;
  /** Whether unused codes are drawn anew. */
  readonly restart: boolean;
}

/** What goes on from step to step. */
export interface CodebookBuffers<Leaf = Tensor> {
  /** If codes are moving averages: that of the number of vectors that take each code [V], and of their sum [V, C]. */
  readonly averages?: { readonly counts: Leaf; readonly sums: Leaf };
  /** If unused codes are drawn anew: steps since a vector took each [V]. */
  readonly idle?: Leaf;
}

/** Describes the buffers of a codebook [V, C]. */
export function codebookBuffers(
  { update, restart }: CodebookTraining,
  codes: number,
  channels: number,
): CodebookBuffers<Parameter> {
  const zeros = (...shape: number[]) => new Parameter(shape, "zeros");
  return {
    ...(update === "ema"
      ? { averages: { counts: zeros(codes), sums: zeros(codes, channels) } }
      : {}),
    ...(restart ? { idle: zeros(codes) } : {}),
  };
}

/** First buffers: no code is in use, so that the first step's vectors decide which are drawn anew. */
export function initCodebookBuffers(
  { update, restart, window }: CodebookTraining,
  codes: number,
  channels: number,
): CodebookBuffers {
  const averages = { counts: zeros([codes]), sums: zeros([codes, channels]) };
  return {
    ...(update === "ema" ? { averages } : {}),
    ...(restart ? { idle: full([codes], window) } : {}),
  };
}

/** Below this moving average of vectors a code keeps its place: too little is known of where it should be. */
const leastCount = 1e-5;

/**
 * Moves a codebook after a step.
 *
 * Moving averages: n ← γn + (1 - γ)·count and m ← γm + (1 - γ)·Σz give the code e = m / n, from the first vectors
 * on, as averages start at 0. Restart: the vectors farthest from their codes are the likeliest to become the new
 * codes (their places are drawn without replacement, with probabilities as their squared distance), so that these
 * do not crowd where most vectors are.
 *
 * Source: van den Oord et al., "Neural discrete representation learning" (2017), appendix A.1; restarts as in
 * Dhariwal et al., "Jukebox" (2020), section 3, with the probabilities of Arthur and Vassilvitskii, "k-means++" (2007).
 *
 * @param training How.
 * @param codebook Rows [V, C] that the optimizer gave.
 * @param buffers Those of the step before.
 * @param batch `codes` i32 [R], `vectors` [R, C] that took them, and their `distances` [R], squared.
 * @param key A random key.
 * @returns Rows and buffers after the step.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../../lib/tensor.ts";
 * import { key } from "../../ops/random.ts";
 * import { initCodebookBuffers, updateCodebook } from "./codebook_training.ts";
 *
 * const training = { update: "ema", decay: 0.9, window: 10, restart: false } as const;
 * const { rows } = updateCodebook(
 *   training,
 *   tensor([[0], [7]]),
 *   initCodebookBuffers(training, 2, 1),
 *   {
 *     codes: tensor([0, 0], { dtype: "i32" }),
 *     vectors: tensor([[1], [3]]),
 *     distances: tensor([1, 9]),
 *   },
 *   key(0),
 * );
 * assertEquals(await rows.toArray(), [[2], [7]]);
 * ```
 */
export function updateCodebook(
  { decay, window }: CodebookTraining,
  codebook: Tensor,
  buffers: CodebookBuffers,
  batch: { readonly codes: Tensor; readonly vectors: Tensor; readonly distances: Tensor },
  key: Tensor,
): { rows: Tensor; buffers: CodebookBuffers } {
  const { codes, vectors } = batch;
  const found = countCodes(codes, codebook.shape[0]!);
  let { averages, idle } = buffers;
  let rows = codebook;
  if (averages) {
    const counts = ema(averages.counts, found, decay);
    const sums = ema(averages.sums, scatterAdd(zeros(codebook.shape), codes, vectors), decay);
    const isKnown = expandDims(greater(counts, leastCount), 1);
    rows = where(isKnown, div(sums, expandDims(maximum(counts, leastCount), 1)), codebook);
    averages = { counts, sums };
  }
  if (idle) {
    idle = where(greater(found, 0), 0, add(idle, 1));
    const { isNew, drawn } = drawCodes(greaterEqual(idle, window), batch, key);
    const ofNew = expandDims(isNew, 1);
    rows = where(ofNew, drawn, rows);
    idle = where(isNew, 0, idle);
    // As if one vector of this batch had taken each new code.
    averages &&= {
      counts: where(isNew, 1 - decay, averages.counts),
      sums: where(ofNew, mul(drawn, 1 - decay), averages.sums),
    };
  }
  return { rows, buffers: { ...(averages ? { averages } : {}), ...(idle ? { idle } : {}) } };
}

/** A vector of the batch for each unused code, as long as there are vectors. */
function drawCodes(
  unused: Tensor,
  { vectors, distances }: { readonly vectors: Tensor; readonly distances: Tensor },
  key: Tensor,
): { isNew: Tensor; drawn: Tensor } {
  const count = vectors.shape[0]!;
  // The Gumbel trick: sorting these draws places one after another without replacement.
  const scores = add(log(maximum(distances, 1e-30)), gumbel(key, [count]));
  const order = argsort(neg(scores));
  const rank = sub(cumulativeSum(cast(unused, "i32")), 1);
  const place = take(order, minimum(maximum(rank, 0), count - 1));
  return { isNew: logicalAnd(unused, less(rank, count)), drawn: take(vectors, place) };
}

/** How many vectors take each code [V], given the codes i32 [R] that they take. */
function countCodes(codes: Tensor, count: number): Tensor {
  return scatterAdd(zeros([count]), codes, ones(codes.shape));
}

/**
 * How much of a codebook some vectors use.
 *
 * @param codes The codes that they take, i32 [R].
 * @param count Rows of the codebook V.
 * @returns `codesUsed`: how many codes any of them takes; `perplexity`: e to the entropy of the codes' shares, the number
 * of equally frequent codes that would be as varied. Scalars.
 *
 * @example
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { tensor } from "../../lib/tensor.ts";
 * import { codebookUse } from "./codebook_training.ts";
 *
 * const { perplexity } = codebookUse(tensor([0, 0, 2, 2], { dtype: "i32" }), 5);
 * assertAlmostEquals(await perplexity.item(), 2, 1e-5);
 * ```
 */
export function codebookUse(
  codes: Tensor,
  count: number,
): { codesUsed: Tensor; perplexity: Tensor } {
  const counts = countCodes(codes, count);
  const shares = div(counts, codes.size);
  const entropy = neg(sum(mul(shares, log(maximum(shares, 1e-30)))));
  return { codesUsed: sum(cast(greater(counts, 0), "f32")), perplexity: exp(entropy) };
}
