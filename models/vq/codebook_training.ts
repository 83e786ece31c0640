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
import { square } from "../../ops/power.ts";
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
  /** Moving average of the number of vectors that take each code [V]. */
  readonly counts: Leaf;
  /** Moving average of their sum [V, C]; only if codes are moving averages. */
  readonly sums?: Leaf;
  /** Steps since a vector took each code [V]. */
  readonly idle: Leaf;
}

/** Describes the buffers of a codebook [V, C]. */
export function codebookBuffers(
  { update }: CodebookTraining,
  codes: number,
  channels: number,
): CodebookBuffers<Parameter> {
  return {
    counts: new Parameter([codes], "zeros"),
    ...(update === "ema" ? { sums: new Parameter([codes, channels], "zeros") } : {}),
    idle: new Parameter([codes], "zeros"),
  };
}

/** First buffers: no code is in use, so that the first step's vectors decide which are drawn anew. */
export function initCodebookBuffers(
  training: CodebookTraining,
  codes: number,
  channels: number,
): CodebookBuffers {
  return {
    counts: zeros([codes]),
    ...(training.update === "ema" ? { sums: zeros([codes, channels]) } : {}),
    idle: full([codes], training.window),
  };
}

/** Below this moving average of vectors a code keeps its place: too little is known of where it should be. */
const leastCount = 1e-5;

/** A codebook after a step. */
export interface UpdatedCodebook {
  /** Its rows [V, C]. */
  readonly rows: Tensor;
  readonly buffers: CodebookBuffers;
  /** `codesUsed`: how many codes vectors took within the window; `perplexity`: of their moving shares. */
  readonly metrics: { readonly codesUsed: Tensor; readonly perplexity: Tensor };
}

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
 * @returns Rows, buffers and metrics.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../../lib/tensor.ts";
 * import { key } from "../../ops/random.ts";
 * import { initCodebookBuffers, updateCodebook } from "./codebook_training.ts";
 *
 * const training = { update: "ema", decay: 0.9, window: 10, restart: false } as const;
 * const { rows, metrics } = updateCodebook(
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
 * assertEquals(await metrics.codesUsed.item(), 1);
 * ```
 */
export function updateCodebook(
  { update, decay, window, restart }: CodebookTraining,
  codebook: Tensor,
  buffers: CodebookBuffers,
  batch: { readonly codes: Tensor; readonly vectors: Tensor; readonly distances: Tensor },
  key: Tensor,
): UpdatedCodebook {
  const { codes, vectors } = batch;
  const found = scatterAdd(zeros([codebook.shape[0]!]), codes, ones(codes.shape));
  let idle = where(greater(found, 0), 0, add(buffers.idle, 1));
  let counts = ema(buffers.counts, found, decay);
  let sums = buffers.sums;
  let rows = codebook;
  if (update === "ema" && sums) {
    sums = ema(sums, scatterAdd(zeros(codebook.shape), codes, vectors), decay);
    const isKnown = expandDims(greater(counts, leastCount), 1);
    rows = where(isKnown, div(sums, expandDims(maximum(counts, leastCount), 1)), codebook);
  }
  const used = less(idle, window);
  const metrics = { codesUsed: sum(cast(used, "f32")), perplexity: perplexity(counts) };
  if (restart) {
    const { isNew, drawn } = drawCodes(greaterEqual(idle, window), batch, key);
    const ofNew = expandDims(isNew, 1);
    rows = where(ofNew, drawn, rows);
    idle = where(isNew, 0, idle);
    // As if one vector of this batch had taken it.
    counts = where(isNew, 1 - decay, counts);
    if (sums) sums = where(ofNew, mul(drawn, 1 - decay), sums);
  }
  return { rows, buffers: { counts, ...(sums ? { sums } : {}), idle }, metrics };
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

/** e to the entropy of the shares of some counts [V]: how many equally frequent codes would be as varied. */
function perplexity(counts: Tensor): Tensor {
  const shares = div(counts, maximum(sum(counts), 1e-30));
  return exp(neg(sum(mul(shares, log(maximum(shares, 1e-30))))));
}

/** The squared distances [R] of vectors from the codes they took, both [R, C]. */
export function squaredDistances(vectors: Tensor, quantized: Tensor): Tensor {
  return sum(square(sub(vectors, quantized)), { axes: -1 });
}
