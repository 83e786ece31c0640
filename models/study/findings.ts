/** The paper's findings, each as a question to the study's results. */
import { COMPARED_ORDERS, OTHER_ORDERS } from "./experiments.ts";
import type { StudyResult } from "./record.ts";

/** A finding held against the results. */
export interface Finding {
  readonly statement: string;
  /** The paper's own figures. */
  readonly paper: string;
  /** The figures here. */
  readonly here: string;
  readonly isReproduced: boolean;
}

/** FID of a recipe under a sampling. */
type Fid = (recipe: string, sampling: string) => number;

/**
 * Holds the paper's findings against results. What was not measured cannot be judged and is left out.
 *
 * @param results The results of {@linkcode experiments}.
 * @param tokens Number of tokens N of an image.
 * @returns The findings.
 */
export function judge(results: readonly StudyResult[], tokens: number): Finding[] {
  const fid: Fid = (recipe, sampling) => {
    const found = results.find((each) => each.recipe === recipe)?.measures[sampling]?.fid;
    if (found === undefined) throw new Unmeasured(`${recipe} sampled as ${sampling}`);
    return found;
  };
  return questions.flatMap((question) => {
    try {
      return [question(fid, tokens)];
    } catch (error) {
      if (error instanceof Unmeasured) return [];
      throw error;
    }
  });
}

class Unmeasured extends Error {}

const show = (value: number) => value.toPrecision(3);
/** One seed says nothing of smaller differences between neighbors. */
const clearly = 1.05;
const few = (tokens: number) => Math.min(16, tokens);

const questions: readonly ((fid: Fid, tokens: number) => Finding)[] = [
  (fid, tokens) => {
    const found = COMPARED_ORDERS.map((order) =>
      [order, fid(`${order}-N-cosine`, `${order}-${tokens}-cosine`)] as const
    ).sort(([, a], [, b]) => a - b);
    return {
      statement: "One token a step, raster is the best order.",
      paper: "raster first of six orders, FID 5.40 (FMT-B)",
      here: found.map(([order, value]) => `${order} ${show(value)}`).join(", "),
      isReproduced: found[0]![0] === "raster",
    };
  },
  (fid, tokens) => {
    const grows = (recipe: string, order: string) =>
      fid(recipe, `${order}-8-cosine`) / fid(recipe, `${order}-${tokens}-cosine`);
    const raster = grows("raster-N-cosine", "raster");
    const others = (["random", "fixed-random"] as const).map((order) =>
      [order, grows(`${order}-N-cosine`, order)] as const
    );
    return {
      statement: "In few steps a raster order fails; random orders, fresh or fixed, do not.",
      paper: "models of fixed orders fail at few steps, those of random orders generalize",
      here: `FID in 8 steps over FID one token a step: raster ${show(raster)}, ` +
        others.map(([order, value]) => `${order} ${show(value)}`).join(", "),
      isReproduced: others.every(([, value]) => 2 * value < raster),
    };
  },
  (fid, tokens) => {
    const spread = (recipe: string) => {
      const values = OTHER_ORDERS.map((order) => fid(recipe, `${order}-${few(tokens)}-cosine`));
      return Math.max(...values) / Math.min(...values);
    };
    const [raster, random] = [spread("raster-N-cosine"), spread("random-16-random")];
    return {
      statement: "A model of random orders may be sampled in other orders than it was trained in.",
      paper: "random orders generalize over inference orders, raster does not",
      here:
        `worst over best FID of ${OTHER_ORDERS.length} orders in ${
          few(tokens)
        } steps: trained on ` +
        `random ${show(random)}, on raster ${show(raster)}`,
      isReproduced: 2 * random < raster,
    };
  },
  (fid, tokens) => {
    const steps = [4, 8, 16, tokens];
    const mean = (recipe: string) =>
      steps.reduce((sum, count) => sum + Math.log(fid(recipe, `random-${count}-cosine`)), 0) /
      steps.length;
    const recipes = [
      "random-2-random+loss-all",
      ...[4, 8, 16, 32].map((count) => `random-${count}-random`),
      "random-N-cosine",
    ];
    const found = recipes.map((recipe) => [recipe, Math.exp(mean(recipe))] as const);
    const best = found.reduce((a, b) => b[1] < a[1] ? b : a);
    return {
      statement:
        "Between the MAR end and one token a step lies a number of training sets that is best.",
      paper: "16 sets of 256 tokens are the sweet spot",
      here: `geometric mean of FID over ${steps.join(", ")} steps: ` +
        found.map(([recipe, value]) => `${recipe} ${show(value)}`).join(", "),
      isReproduced: [found[0]!, found.at(-1)!].every(([, end]) => clearly * best[1] < end),
    };
  },
  (fid, tokens) => {
    const steps = `random-${few(tokens)}-cosine`;
    const [full, causal] = ["+full-decoder", ""].map((end) => fid(`random-2-mar${end}`, steps));
    return {
      statement: "At the MAR end full decoder self-attention is better than masked.",
      paper: "K = 1: FID 6.98 full, 8.81 masked (table 6)",
      here: `${few(tokens)} steps: ${show(full!)} full, ${show(causal!)} masked`,
      isReproduced: full! < causal!,
    };
  },
  (fid, tokens) => {
    const steps = `random-${few(tokens)}-cosine`;
    const [ratio, equal] = ["mar", "random"].map((end) => fid(`random-2-${end}+loss-all`, steps));
    return {
      statement: "With two sets, MAR's ratio is far better than every split alike.",
      paper: "K = 2: FID 7.19 by MAR's ratio, 29.20 every split alike (table 6)",
      here: `${few(tokens)} steps: ${show(ratio!)} by MAR's ratio, ${
        show(equal!)
      } every split alike`,
      isReproduced: ratio! < equal!,
    };
  },
  (fid, tokens) => {
    const gain = (recipe: string) =>
      fid(recipe, `random-${few(tokens)}-cosine+full`) /
      fid(recipe, `random-${few(tokens)}-cosine`);
    const two = gain("random-2-mar+loss-all");
    const more = [4, 8, 16].map((count) => gain(`random-${count}-random`));
    return {
      statement:
        "Full attention at sampling helps models of two sets and hurts those of four or more.",
      paper: "helps at K = 2, hurts from K = 4 on",
      here: `FID with full over FID with masked attention: K = 2 ${show(two)}; K = 4, 8, 16 ` +
        more.map(show).join(", "),
      isReproduced: two < 1 && more.every((value) => value > 1),
    };
  },
  (fid, tokens) => {
    const [scales, raster] = [
      fid("next-scale", "next-scale"),
      fid("raster-N-cosine", `raster-${tokens}-cosine`),
    ];
    return {
      statement: "Next-scale on tokens of one scale is behind raster one token a step.",
      paper: "FID 12.49 against 5.40 (FMT-B)",
      here: `${show(scales)} against ${show(raster)}`,
      isReproduced: scales > raster,
    };
  },
  (fid) => {
    const [sets, raster] = [
      fid("random-16-random", "random-8-cosine"),
      fid("raster-N-cosine", "raster-8-cosine"),
    ];
    return {
      statement: "In few steps the transition state is ahead of AR.",
      paper: "SAR-TS keeps its quality where AR needs every step (figure 5)",
      here: `8 steps: random-16-random ${show(sets)}, raster ${show(raster)}`,
      isReproduced: sets < raster,
    };
  },
];
