/** A discriminator that learns beside a tokenizer, within its step: its state, and how that goes on. */
import type { Tensor } from "../../lib/tensor.ts";
import { valueAndGrad } from "../../lib/transforms/vjp.ts";
import { treeMap } from "../../lib/tree.ts";
import { add, mul } from "../../ops/arithmetic.ts";
import { cast } from "../../ops/cast.ts";
import { greaterEqual } from "../../ops/compare.ts";
import { zeros } from "../../ops/create.ts";
import { adamw } from "../../ops/optimizers/adamw.ts";
import { where } from "../../ops/where.ts";
import { createParameters, Parameter } from "../layers/parameter.ts";
import {
  adversarialLoss,
  type DiscriminatorConfig,
  type DiscriminatorParameters,
  discriminatorParameters,
  gradientPenalty,
  hingeLoss,
} from "./discriminator.ts";

/** How a discriminator learns. */
export interface AdversaryTraining {
  /** Steps before the first that counts. */
  readonly start: number;
  readonly learningRate: number;
  /** Decay of the mean of its gradients. */
  readonly beta1: number;
  /** Weight of the penalty R1; 0 for none. */
  readonly gradientPenalty: number;
}

/** A discriminator and what AdamW keeps of it. */
export interface Adversary<Leaf = Tensor> {
  readonly params: DiscriminatorParameters<Leaf>;
  readonly mean: DiscriminatorParameters<Leaf>;
  readonly variance: DiscriminatorParameters<Leaf>;
  /** Steps of the tokenizer, and of the discriminator. */
  readonly steps: Leaf;
  readonly updates: Leaf;
}

/** Describes a discriminator's state. */
export function adversaryParameters(model: DiscriminatorConfig): Adversary<Parameter> {
  const params = () => discriminatorParameters(model);
  const count = () => new Parameter([], "zeros");
  return { params: params(), mean: params(), variance: params(), steps: count(), updates: count() };
}

/** The state of a discriminator before the first step. */
export function initAdversary(model: DiscriminatorConfig, key: Tensor): Adversary {
  const params: DiscriminatorParameters = createParameters(discriminatorParameters(model), key);
  const { mean, variance } = adamw.init(params);
  return { params, mean, variance, steps: zeros([]), updates: zeros([]) };
}

/**
 * What the tokenizer's loss gets from the discriminator, which it does not move.
 *
 * @param training How the discriminator learns.
 * @param adversary Its state.
 * @param reconstructions Images [B, C, H, W].
 * @returns A scalar; 0 before the first step that counts.
 */
export function judgement(
  { start }: AdversaryTraining,
  { params, steps }: Adversary,
  reconstructions: Tensor,
): Tensor {
  const counts = greaterEqual(steps, start);
  return where(counts, adversarialLoss(params, reconstructions), 0);
}

/**
 * A step of the discriminator.
 *
 * @param training How it learns.
 * @param adversary Its state.
 * @param images Images [B, C, H, W].
 * @param reconstructions As many reconstructions.
 * @returns Its state, as it was but for the count of steps before the first that counts, and its losses: `discriminator`
 * and, if it has a weight, `gradientPenalty`.
 */
export function updateAdversary(
  { start, learningRate, beta1, gradientPenalty: weight }: AdversaryTraining,
  { params, mean, variance, steps, updates }: Adversary,
  images: Tensor,
  reconstructions: Tensor,
): { adversary: Adversary; metrics: Readonly<Record<string, Tensor>> } {
  const objective = (p: DiscriminatorParameters) => {
    const discriminator = hingeLoss(p, images, reconstructions);
    if (weight === 0) return [discriminator, { discriminator }] as const;
    const penalty = gradientPenalty(p, images);
    return [add(discriminator, mul(penalty, weight)), {
      discriminator,
      gradientPenalty: penalty,
    }] as const;
  };
  const [[, metrics], gradients] = valueAndGrad(objective, { hasAux: true })(params);
  const state = { step: cast(updates, "i32"), mean, variance };
  const [moved, next] = adamw.update(params, gradients, state, { learningRate, beta1 });
  const counts = greaterEqual(steps, start);
  const choose = <T>(after: T, before: T): T =>
    treeMap((x: Tensor, old: Tensor) => where(counts, x, old), after, before);
  return {
    adversary: {
      params: choose(moved, params),
      mean: choose(next.mean, mean),
      variance: choose(next.variance, variance),
      steps: add(steps, 1),
      updates: add(updates, cast(counts, "f32")),
    },
    metrics,
  };
}
