/** What the study trains and how it samples from it: the paper's ablations as a table. */
import type { SamplingSettings } from "../config/schema.ts";

/** How a trained model is sampled from. */
export type StudySampling = Pick<SamplingSettings, "order" | "schedule" | "steps" | "attention">;

/** A training, and the samplings that it is measured with. */
export interface Experiment {
  /** The recipe of the training, by its name. */
  readonly recipe: string;
  readonly samplings: readonly StudySampling[];
}

/** Numbers of training sets that are compared. */
const trainingSets = [4, 8, 16, 32];

/** Numbers of steps that are compared, besides one token a step. */
const fewSteps = [4, 8, 16];

/** Orders of training that are compared one token a step; the paper compares six. */
export const COMPARED_ORDERS = [
  "raster",
  "snake",
  "spiral-in",
  "z-curve",
  "subsample",
  "fixed-random",
  "random",
] as const;

/** Orders of sampling that models trained in another order are asked for. */
export const OTHER_ORDERS = ["raster", "subsample", "spiral-in", "fixed-random", "random"] as const;

/**
 * The study's experiments.
 *
 * Source: "Customize Your Visual Autoregressive Recipe with Set Autoregressive Modeling" (2024), the sections on
 * sequence order, output intervals, generalization of inference, and the MAR end (table 6). There "K = 1" counts the
 * sets that are predicted: two are drawn, and the loss leaves the first one out.
 *
 * @param tokens Number of tokens N of an image; what needs more sets than tokens is left out.
 * @returns The trainings with their samplings.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { experiments } from "./experiments.ts";
 *
 * const recipes = experiments(49).map(({ recipe }) => recipe);
 * assert(recipes.includes("random-16-random") && recipes.includes("next-scale"));
 * assert(experiments(16).every(({ recipe }) => !recipe.includes("-32-")));
 * ```
 */
export function experiments(tokens: number): Experiment[] {
  const steps = [...fewSteps.filter((count) => count < tokens), tokens];
  const few = Math.min(16, tokens);
  const inSteps = (order: StudySampling["order"]): StudySampling[] =>
    steps.map((count) => ({ order, schedule: "cosine", steps: count }));
  const inOrders: StudySampling[] = OTHER_ORDERS.map((order) => ({
    order,
    schedule: "cosine",
    steps: few,
  }));
  const marEnd: StudySampling[] = [
    ...inSteps("random"),
    { order: "random", schedule: "cosine", steps: few, attention: "full" },
  ];
  const sets = trainingSets.filter((count) => count < tokens);
  const table: Experiment[] = [
    ...COMPARED_ORDERS.map((order) => ({
      recipe: `${order}-N-cosine`,
      samplings: [...inSteps(order), ...(order === "raster" ? inOrders : [])],
    })),
    ...sets.map((count) => ({
      recipe: `random-${count}-random`,
      samplings: [...inSteps("random"), ...(count === 16 ? inOrders : []), ...marEnd.slice(-1)],
    })),
    ...sets.filter((count) => count === 16).flatMap((count) => [
      { recipe: `random-${count}-cosine`, samplings: inSteps("random") },
      { recipe: `raster-${count}-random`, samplings: inSteps("raster") },
      {
        recipe: `fixed-random-${count}-random`,
        samplings: [...inSteps("fixed-random"), ...inOrders],
      },
    ]),
    { recipe: "random-2-mar", samplings: marEnd },
    { recipe: "random-2-mar+full-decoder", samplings: marEnd },
    { recipe: "random-2-mar+loss-all", samplings: marEnd },
    { recipe: "random-2-random+loss-all", samplings: marEnd },
    {
      recipe: "next-scale",
      samplings: [{ order: "next-scale", schedule: "next-scale", steps: 1 }],
    },
  ];
  return table.map(({ recipe, samplings }) => ({
    recipe,
    samplings: [...new Map(samplings.map((each) => [samplingName(each), each])).values()],
  }));
}

/**
 * What results call a sampling: `raster-8-cosine`, `random-16-cosine+full`.
 *
 * @param sampling The sampling.
 * @returns Its name.
 */
export function samplingName({ order, schedule, steps, attention }: StudySampling): string {
  const base = schedule === "next-scale" ? `${order}` : `${order}-${steps}-${schedule}`;
  return attention ? `${base}+${attention}` : base;
}
