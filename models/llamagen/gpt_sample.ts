/** Guided sampling from the GPT, token by token, with keys and values cached on the device. */
import { foldIn, type Key, uniform } from "../../lib/random/threefry.ts";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { treeLeaves } from "../../lib/tree.ts";
import { jit } from "../../lib/transforms/jit.ts";
import { add, div } from "../../ops/arithmetic.ts";
import { equal, less } from "../../ops/compare.ts";
import { concat } from "../../ops/concat.ts";
import { zeros } from "../../ops/create.ts";
import { dynamicSlice, embedding } from "../../ops/gather.ts";
import { reshape } from "../../ops/reshape.ts";
import { updateSlice } from "../../ops/scatter/scatter.ts";
import { slice } from "../../ops/slice.ts";
import { where } from "../../ops/where.ts";
import { type DrawSettings, drawTokens, guide } from "../fmt/draw.ts";
import { guidanceOf, isGuided, type ScheduleOptions, temperatureOf } from "../fmt/schedules.ts";
import type { KeysValues } from "../layers/attention.ts";
import { linear } from "../layers/linear.ts";
import { embedClass, type GptParameters, gptRotation, runGpt } from "./gpt.ts";
import type { GptConfig } from "./gpt_config.ts";

/** What to sample, and how. B images of N tokens. */
export interface GptSampleOptions extends ScheduleOptions, Partial<DrawSettings> {
  /** Class ids [B]. */
  readonly labels: ArrayLike<number>;
  /** The random key; image i draws from its child `firstImage + i`. Not needed for greedy sampling. */
  readonly key?: Key;
  /** Number of the first image (default 0): a batch gives the same images as a part of a larger one. */
  readonly firstImage?: number;
  /** Tokens in raster order [B·N] that are taken instead of drawn ones; -1 where to draw. */
  readonly fixed?: ArrayLike<number>;
  /** Whether `onStep` gets logits (default false). */
  readonly keepLogits?: boolean;
  /** Called after each token; sampling goes on when its promise resolves. */
  readonly onStep?: (step: GptProgress) => void | Promise<void>;
}

/** What is known after a step. */
export interface GptProgress {
  /** How many tokens of each image are known. */
  readonly known: number;
  /** Number of tokens N of an image. */
  readonly count: number;
  /** Reads the known tokens [B · known]. */
  tokens(): Promise<Int32Array>;
  /** With `keepLogits`: `raw` [B or 2B, 1, V] (conditional half first) and `guided` [B, 1, V]. */
  readonly logits?: StepLogits;
}

interface StepLogits {
  readonly raw: Tensor;
  readonly guided: Tensor;
}

/** Slot 0 is the class, slot 1 + i token i; R rows of the batch, B or, with guidance, 2B. */
interface State {
  /** Tokens by slot i32 [B, 1 + N]. */
  readonly sequence: Tensor;
  /** Keys and values of every layer [R, H, N, D]. */
  readonly caches: readonly KeysValues[];
}

/** What a step reads. */
interface StepInputs {
  /** Class ids i32 [R]. */
  readonly labels: Tensor;
  /** A number in 0..1 for each token's draw f32 [B, N]. */
  readonly uniforms: Tensor;
  /** The slot to read, i32 scalar; the step draws the token after it. */
  readonly position: Tensor;
  /** Tokens by slot that are taken instead of drawn ones i32 [B, 1 + N]; -1 where to draw. */
  readonly fixed: Tensor;
  /** Guidance scale of this step, f32 scalar. */
  readonly guidance: Tensor;
  /** What the logits of this step are divided by, f32 scalar. */
  readonly temperature: Tensor;
}

/** Constants of a step's program: other values compile another one. */
interface StepSettings extends DrawSettings {
  readonly guided: boolean;
  readonly keepLogits: boolean;
}

/** Reads one slot and draws the token after it; the state is donated and updated in place. */
const step = jit(
  function gptStep(
    state: State,
    model: GptConfig,
    params: GptParameters,
    { labels, uniforms, position, fixed, guidance, temperature }: StepInputs,
    settings: StepSettings,
  ): { state: State; logits?: StepLogits } {
    const token = dynamicSlice(state.sequence, position, 1, { axis: 1 });
    const x = where(
      equal(position, 0),
      embedClass(params, labels),
      embedding(params.tok_embeddings.weight, settings.guided ? concat([token, token]) : token),
    );
    const caches: KeysValues[] = [];
    const { cos, sin } = gptRotation(model);
    const here = (table: Tensor) => dynamicSlice(table, position, 1, { axis: 1 });
    const known = add(position, 1);
    const hidden = runGpt(model, params, x, {
      rotation: { cos: here(cos), sin: here(sin) },
      visible: reshape(known, [1, 1]),
      remember(_, layer, fresh) {
        const { k, v } = state.caches[layer]!;
        return caches[layer] = {
          k: updateSlice(k, fresh.k, position, { axis: 2 }),
          v: updateSlice(v, fresh.v, position, { axis: 2 }),
        };
      },
    });
    const raw = linear(params.output, hidden);
    const guided = settings.guided ? guide(raw, guidance) : raw;
    const number = dynamicSlice(uniforms, position, 1, { axis: 1 });
    const drawn = drawTokens(div(guided, temperature), number, settings);
    const given = dynamicSlice(fixed, known, 1, { axis: 1 });
    const chosen = where(less(given, 0), drawn, given);
    return {
      state: { sequence: updateSlice(state.sequence, chosen, known, { axis: 1 }), caches },
      logits: settings.keepLogits ? { raw, guided } : undefined,
    };
  },
  { donate: [0] },
);

/**
 * Samples images in raster order, with a cache of keys and values. Guidance, temperature, top-k and top-p apply in
 * this order, as in LlamaGen's `generate.py`; its `cfg_interval` of i is the schedule `interval` from 1 to i + 2.
 *
 * @param model The configuration.
 * @param params Its parameters.
 * @param options What to sample, and how.
 * @returns Tokens i32 [B, N].
 * @throws {TypeError} If a key is missing, or the fixed tokens are not those of all images.
 * @throws {RangeError} If a label or another option is out of range.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice } from "../../lib/device.ts";
 * import { keyFromSeed } from "../../lib/random/threefry.ts";
 * import { key } from "../../ops/random.ts";
 * import { init } from "../model.ts";
 * import { gpt } from "./gpt_config.ts";
 * import { sampleGpt } from "./gpt_sample.ts";
 *
 * await openDevice("reference");
 * const model = gpt({ dim: 8, heads: 2, layers: 1, vocabulary: 5, grid: { height: 2, width: 2 } });
 * const options = { labels: [7, 7], key: keyFromSeed(0), guidance: 2, topK: 3 };
 * assertEquals((await sampleGpt(model, init(model, key(0)), options)).shape, [2, 4]);
 * ```
 */
export async function sampleGpt(
  model: GptConfig,
  params: GptParameters,
  options: GptSampleOptions,
): Promise<Tensor> {
  const { keepLogits = false, greedy = false, topK = 0, topP = 1 } = options;
  const labels = checkLabels(model, options.labels);
  const images = labels.length;
  const count = model.grid.height * model.grid.width;
  const guided = isGuided(options);
  const settings = { guided, keepLogits, greedy, topK, topP };
  const nulls = new Array<number>(guided ? images : 0).fill(model.classes);
  const rows = images + nulls.length;
  const shape = [rows, model.heads, count, model.dim / model.heads];
  const constants = {
    labels: tensor(Int32Array.from([...labels, ...nulls])),
    uniforms: drawUniforms(options, images, count),
    fixed: fixedTokens(model, options),
  };
  let state: State = {
    sequence: zeros([images, 1 + count], { dtype: "i32" }),
    caches: Array.from({ length: model.layers }, () => ({ k: zeros(shape), v: zeros(shape) })),
  };
  for (let place = 0; place < count; place++) {
    const known = place + 1;
    const set = { set: known, sets: count, known: known / count };
    const result = step(state, model, params, {
      ...constants,
      position: tensor(place, { dtype: "i32" }),
      guidance: tensor(guidanceOf(options, set)),
      temperature: tensor(temperatureOf(options, set)),
    }, settings);
    state = result.state;
    const { sequence } = state;
    await options.onStep?.({
      known,
      count,
      tokens: async () => await slice(sequence, [null, [1, 1 + known]]).data() as Int32Array,
      logits: result.logits,
    });
  }
  for (const x of treeLeaves<Tensor>(state.caches)) x.dispose();
  return slice(state.sequence, [null, [1, null]]);
}

/** The numbers that decide the draws, each image's from its own key [B, N]. */
function drawUniforms(
  { greedy, key, firstImage = 0 }: GptSampleOptions,
  images: number,
  count: number,
): Tensor {
  if (greedy) return zeros([images, count]);
  if (!key) throw new TypeError("sampleGpt: expected a key but found none");
  const numbers = new Float32Array(images * count);
  for (let i = 0; i < images; i++) {
    numbers.set(uniform(foldIn(key, firstImage + i), count), i * count);
  }
  return tensor(numbers, { shape: [images, count] });
}

/** The tokens that are not drawn, by slot i32 [B, 1 + N]. */
function fixedTokens({ vocabulary, grid }: GptConfig, { labels, fixed }: GptSampleOptions): Tensor {
  const count = grid.height * grid.width;
  const slots = new Int32Array(labels.length * (1 + count)).fill(-1);
  if (fixed && fixed.length !== labels.length * count) {
    throw new TypeError(
      `sampleGpt: expected fixed to hold ${labels.length} × ${count} tokens but found ${fixed.length}`,
    );
  }
  for (let i = 0; i < (fixed?.length ?? 0); i++) {
    const token = fixed![i]!;
    if (!(Number.isInteger(token) && token >= -1 && token < vocabulary)) {
      throw new RangeError(
        `sampleGpt: expected fixed tokens in -1..${vocabulary - 1} but found ${token}`,
      );
    }
    slots[i + Math.floor(i / count) + 1] = token;
  }
  return tensor(slots, { shape: [labels.length, 1 + count] });
}

function checkLabels({ classes }: GptConfig, labels: ArrayLike<number>): number[] {
  return Array.from(labels, (label) => {
    if (Number.isInteger(label) && label >= 0 && label <= classes) return label;
    throw new RangeError(`sampleGpt: expected labels in 0..${classes} but found ${label}`);
  });
}
