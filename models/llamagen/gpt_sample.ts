/** Guided sampling from the GPT, token by token, with keys and values cached on the device. */
import { foldIn, type Key, uniform } from "../../lib/random/threefry.ts";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { jit } from "../../lib/transforms/jit.ts";
import { add } from "../../ops/arithmetic.ts";
import { equal } from "../../ops/compare.ts";
import { concat } from "../../ops/concat.ts";
import { zeros } from "../../ops/create.ts";
import { dynamicSlice, embedding } from "../../ops/gather.ts";
import { reshape } from "../../ops/reshape.ts";
import { updateSlice } from "../../ops/scatter/scatter.ts";
import { slice } from "../../ops/slice.ts";
import { where } from "../../ops/where.ts";
import { type DrawSettings, drawTokens, guide } from "../fmt/draw.ts";
import type { KeysValues } from "../layers/attention.ts";
import { linear } from "../layers/linear.ts";
import { embedClass, type GptParameters, gptRotation, runGpt } from "./gpt.ts";
import type { GptConfig } from "./gpt_config.ts";

/** What to sample, and how. B images of N tokens. */
export interface GptSampleOptions extends Partial<DrawSettings> {
  /** Class ids [B]. */
  readonly labels: ArrayLike<number>;
  /** The random key; image i draws from its child `firstImage + i`. Not needed for greedy sampling. */
  readonly key?: Key;
  /** Number of the first image (default 0): a batch gives the same images as a part of a larger one. */
  readonly firstImage?: number;
  /** Scale of classifier-free guidance; 1 (the default) is none. */
  readonly guidance?: number;
  /**
   * As LlamaGen's `cfg_interval`: how many decode steps after the first two tokens are guided, the rest being
   * sampled without guidance; -1 (the default) for all.
   */
  readonly guidanceInterval?: number;
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
  /** Guidance scale of this step, f32 scalar. */
  readonly guidance: Tensor;
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
    { labels, uniforms, position, guidance }: StepInputs,
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
    const drawn = drawTokens(guided, dynamicSlice(uniforms, position, 1, { axis: 1 }), settings);
    return {
      state: { sequence: updateSlice(state.sequence, drawn, known, { axis: 1 }), caches },
      logits: settings.keepLogits ? { raw, guided } : undefined,
    };
  },
  { donate: [0] },
);

/**
 * Samples images in raster order, with a cache of keys and values. Guidance, temperature, top-k and top-p apply in
 * this order, as in LlamaGen's `generate.py`.
 *
 * @param model The configuration.
 * @param params Its parameters.
 * @param options What to sample, and how.
 * @returns Tokens i32 [B, N].
 * @throws {TypeError} If a key is missing.
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
  const { guidance = 1, guidanceInterval = -1, keepLogits = false } = options;
  const { greedy = false, temperature = 1, topK = 0, topP = 1 } = options;
  const labels = checkLabels(model, options.labels);
  const images = labels.length;
  const count = model.grid.height * model.grid.width;
  const guided = guidance !== 1;
  const settings = { guided, keepLogits, greedy, temperature, topK, topP };
  const nulls = new Array<number>(guided ? images : 0).fill(model.classes);
  const rows = images + nulls.length;
  const shape = [rows, model.heads, count, model.dim / model.heads];
  const constants = {
    labels: tensor(Int32Array.from([...labels, ...nulls])),
    uniforms: drawUniforms(options, images, count),
  };
  let state: State = {
    sequence: zeros([images, 1 + count], { dtype: "i32" }),
    caches: Array.from({ length: model.layers }, () => ({ k: zeros(shape), v: zeros(shape) })),
  };
  for (let place = 0; place < count; place++) {
    // Token 0 comes from the class, and token 1 + i from LlamaGen's decode step i.
    const isGuided = guidanceInterval < 0 || place - 1 <= guidanceInterval;
    const result = step(state, model, params, {
      ...constants,
      position: tensor(place, { dtype: "i32" }),
      guidance: tensor(isGuided ? guidance : 1),
    }, settings);
    state = result.state;
    const known = place + 1;
    const { sequence } = state;
    await options.onStep?.({
      known,
      count,
      tokens: async () => await slice(sequence, [null, [1, 1 + known]]).data() as Int32Array,
      logits: result.logits,
    });
  }
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

function checkLabels({ classes }: GptConfig, labels: ArrayLike<number>): number[] {
  return Array.from(labels, (label) => {
    if (Number.isInteger(label) && label >= 0 && label <= classes) return label;
    throw new RangeError(`sampleGpt: expected labels in 0..${classes} but found ${label}`);
  });
}
