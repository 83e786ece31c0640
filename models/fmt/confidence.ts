/**
 * Sampling in the order of confidence: each step predicts all unknown tokens as if they were one set, and keeps those
 * that the model is surest of.
 *
 * Source: Chang et al., "MaskGIT: masked generative image transformer" (2022), section 3.2.
 */
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { jit } from "../../lib/transforms/jit.ts";
import { add, div } from "../../ops/arithmetic.ts";
import { less } from "../../ops/compare.ts";
import { iota } from "../../ops/create.ts";
import { takeAlong } from "../../ops/gather.ts";
import { expandDims, reshape } from "../../ops/reshape.ts";
import { slice } from "../../ops/slice.ts";
import { logSoftmax } from "../../ops/softmax.ts";
import { argsort } from "../../ops/sort/sort.ts";
import { where } from "../../ops/where.ts";
import { type FmtConfig, tokenCount } from "./config.ts";
import { drawTokens, guide } from "./draw.ts";
import { fmtStates } from "./fmt.ts";
import { type FmtParameters, outputLogits } from "./network.ts";
import {
  imageUniforms,
  masksOf,
  placesOf,
  type SampleOptions,
  type SamplingPlan,
  tokensByCell,
} from "./sample_options.ts";
import { forBatch, scalar, type StepMasks } from "./sampling_step.ts";
import { guidanceOf, temperatureOf } from "./schedules.ts";

/** What is known of the images, the known tokens in front. */
interface State {
  /** Tokens by place i32 [B, N]. */
  readonly sequence: Tensor;
  /** Grid index at each place i32 [B, N]. */
  readonly order: Tensor;
}

/** What a step reads. */
interface StepInputs {
  /** Class ids i32 [B or 2B]. */
  readonly labels: Tensor;
  /** A number in 0..1 for each draw f32 [B, N]. */
  readonly uniforms: Tensor;
  /** What is added to the logarithm of each token's probability f32 [B, N]. */
  readonly noise: Tensor;
  /** How many tokens are known, i32 scalar. */
  readonly known: Tensor;
  /** Guidance scale, f32 scalar. */
  readonly guidance: Tensor;
  /** Temperature, f32 scalar. */
  readonly temperature: Tensor;
}

/** Draws all unknown tokens and moves the surest to the front of them; the state is donated. */
const confidentStep = jit(
  function confidentStep(
    { sequence, order }: State,
    model: FmtConfig,
    params: FmtParameters,
    inputs: StepInputs,
    masks: StepMasks,
    settings: SamplingPlan["settings"],
  ): State {
    const { labels, uniforms, noise, known, guidance, temperature } = inputs;
    const rows = labels.shape[0]!;
    const count = tokenCount(model);
    const { hidden } = fmtStates(model, params, {
      labels,
      tokens: forBatch(slice(sequence, [null, [0, count - 1]]), rows),
      positions: forBatch(order, rows),
      ...masks,
    });
    const raw = outputLogits(params, hidden);
    const guided = settings.guided ? guide(raw, guidance) : raw;
    const drawn = drawTokens(div(guided, temperature), uniforms, settings);
    const chosen = takeAlong(logSoftmax(guided), expandDims(drawn, -1));
    const isKnown = less(iota([1, count], { axis: 1 }), known);
    const confidence = add(reshape(chosen, drawn.shape), noise);
    const surest = argsort(where(isKnown, alwaysFirst, confidence), { descending: true });
    return {
      sequence: takeAlong(where(isKnown, sequence, drawn), surest),
      order: takeAlong(order, surest),
    };
  },
  { donate: [0] },
);

/** The confidence of known tokens, which keeps them in front and, sorting being stable, in their order. */
const alwaysFirst = 1e30;

/**
 * Samples images in the order of confidence. To the logarithm of each token's probability Gumbel noise is added, less
 * from step to step and none in the last.
 *
 * @param model The configuration.
 * @param params Its parameters.
 * @param plan The checked options.
 * @param options What to sample, and how.
 * @returns Tokens i32 [B, N] by grid index.
 * @throws {TypeError} If the key is missing. {RangeError} If an option is out of range.
 */
export async function sampleByConfidence(
  model: FmtConfig,
  params: FmtParameters,
  { images, intervals, orders, labels, given, settings }: SamplingPlan,
  options: SampleOptions,
): Promise<Tensor> {
  const { attention = "masked", confidenceNoise = 4.5 } = options;
  const count = tokenCount(model);
  const filled = given.rows.flatMap((row) => [...row, ...new Array(count - row.length).fill(0)]);
  const shape = [images, count];
  const byImage = (rows: readonly Float32Array[]) =>
    tensor(Float32Array.from(rows.flatMap((row) => [...row])), { shape });
  let state: State = {
    sequence: tensor(Int32Array.from(filled), { shape }),
    order: tensor(Int32Array.from(orders.flatMap((order) => [...order])), { shape }),
  };
  let before = 0;
  for (const [i, place] of placesOf(intervals).entries()) {
    const known = before + intervals[i]!;
    if (known > given.length) {
      const scale = options.greedy ? 0 : confidenceNoise * (1 - place.set / place.sets);
      const gumbel = (u: number) => -scale * Math.log(-Math.log(Math.max(u, 1e-30)));
      const noise = imageUniforms(options, count, [place.set, 1]).map((row) => row.map(gumbel));
      const inputs = {
        labels,
        uniforms: byImage(imageUniforms(options, count, [place.set, 0])),
        noise: byImage(noise),
        known: scalar(before, "i32"),
        guidance: scalar(guidanceOf(options, place), "f32"),
        temperature: scalar(temperatureOf(options, place), "f32"),
      };
      const masks = masksOf([...intervals.subarray(0, i), count - before], attention, 1 + before);
      state = confidentStep(state, model, params, inputs, masks, settings);
    }
    const { sequence, order } = state;
    await options.onStep?.({
      set: place.set,
      sets: place.sets,
      known,
      async tokens() {
        const [tokens, cells] = await Promise.all([sequence.data(), order.data()]);
        const rowsOf = (data: ArrayLike<number>) =>
          orders.map((_, image) => Array.from(data).slice(image * count, (image + 1) * count));
        return tokensByCell(rowsOf(tokens), rowsOf(cells), known);
      },
    });
    before = known;
  }
  return takeAlong(state.sequence, argsort(state.order));
}
