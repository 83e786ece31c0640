/**
 * Sampling from a small Fully Masked Transformer: one token a step and in 64, 16 and 8 steps, of 256 and 1024
 * tokens, with guidance, one image. Beside PyTorch with a cache and the same weights, which chooses the same
 * tokens; and beside ourselves without a cache.
 */
import { saveTree } from "../models/training/checkpoint.ts";
import type { FmtParameters } from "../models/fmt/network.ts";
import {
  drawIntervals,
  drawOrder,
  fmt,
  type FmtConfig,
  parseRecipe,
  sample,
  type SampleOptions,
} from "../mod.ts";
import {
  comparison,
  type Contestant,
  finished,
  measurement,
  quantile,
  type Row,
  run,
} from "./harness.ts";
import * as inputs from "./inputs.ts";
import { torch, type TorchCase } from "./peers/torch.ts";
import { decidedParameters } from "./training.ts";

const small = {
  vocabulary: 512,
  classes: 10,
  dim: 128,
  heads: 4,
  encoderLayers: 4,
  decoderLayers: 4,
  initScale: 0.1,
};
const sides = [16, 32];
const stepCounts = ["N", 64, 16, 8] as const;
const guidance = 2;
/** Of weights with which no choice is closer than 1e-4, so that rounding decides none. */
const seed = 7;
/** Without a cache all steps cost the same: so many are timed, after as many to warm up. */
const uncachedSteps = 20;

/** Options of greedy sampling with guidance, in a random order and sets of a cosine schedule. */
export function greedy(
  { grid }: FmtConfig,
  steps: number | "N",
  images: number,
): SampleOptions & { order: Int32Array; intervals: Int32Array; labels: number[] } {
  const recipe = parseRecipe(`fixed-random-${steps}-cosine`);
  const order = drawOrder(recipe, grid), intervals = drawIntervals(recipe, grid, [0, 0]);
  return {
    labels: Array.from({ length: images }, (_, i) => i),
    order,
    intervals,
    guidance,
    greedy: true,
  };
}

/** The same for PyTorch; parameters are written to a file. */
export async function samplingCase(
  model: FmtConfig,
  params: FmtParameters,
  { labels, order, intervals }: ReturnType<typeof greedy>,
  weights: string,
): Promise<TorchCase> {
  await saveTree(weights, params, {});
  const arrays = { labels, order: [...order], intervals: [...intervals] };
  return { case: "fmt sampling", model, weights, ...arrays, guidance };
}

/** Sampling with a cache. */
export function sampler(
  model: FmtConfig,
  params: FmtParameters,
  options: SampleOptions,
): Contestant {
  return {
    name: "tessera",
    result: async () => inputs.sample(await (await sample(model, params, options)).data()),
    async run() {
      const start = performance.now();
      const tokens = await sample(model, params, options);
      await tokens.data();
      return performance.now() - start;
    },
  };
}

/** Milliseconds of sampling without a cache, from those of its first steps. */
export async function withoutCache(
  model: FmtConfig,
  params: FmtParameters,
  options: SampleOptions,
): Promise<number> {
  const wanted = Math.min(uncachedSteps, options.intervals.length);
  let times: number[] = [];
  for (const _ of ["to warm up", "to measure"]) {
    times = [];
    let before = performance.now();
    const onStep = async () => {
      await finished();
      const now = performance.now();
      times.push(now - before);
      before = now;
      if (times.length === wanted) throw enough;
    };
    await sample(model, params, { ...options, cache: false, onStep }).catch((error) => {
      if (error !== enough) throw error;
    });
  }
  return options.intervals.length * quantile(times, 0.5);
}

const enough = new Error("enough steps are timed");

/** The rows of this benchmark. */
export async function rows(): Promise<Row[]> {
  const all: Row[] = [];
  const weights = await Deno.makeTempFile({ suffix: ".safetensors" });
  for (const side of sides) {
    const model = fmt({ ...small, grid: { height: side, width: side } });
    const params = decidedParameters(model, seed);
    for (const steps of stepCounts) {
      const options = greedy(model, steps, 1);
      const ours = sampler(model, params, options);
      const name = `${side * side} tokens, ${
        steps === "N" ? "one a step" : `${steps} steps`
      }, guidance`;
      const rows = await run(
        {
          bench: "sampling",
          case: name,
          unit: "ms",
          ours,
          peers: [await torch(await samplingCase(model, params, options, weights))],
          tolerance: 0,
        },
        20,
        1,
      );
      const own = measurement("sampling", name, "ms", rows[0]!.ours);
      const uncached = await withoutCache(model, params, options);
      all.push(...rows, comparison(own, "ourselves without a cache", uncached));
    }
  }
  await Deno.remove(weights);
  return all;
}
