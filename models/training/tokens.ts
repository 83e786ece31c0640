/** The tokens of a run's images, which the model is trained on. */
import type { Tensor } from "../../lib/tensor.ts";
import { jit } from "../../lib/transforms/jit.ts";
import type { ImageDataset } from "../data/dataset.ts";
import type { TokenArray } from "../kinds/model.ts";
import { type Tokenizer, tokenizerKind } from "../kinds/tokenizer.ts";
import type { ParametersOf } from "../model.ts";
import { imageBatch } from "./data.ts";

/** Images as tokens, with a class each. */
export interface TokenDataset {
  /** Number of images. */
  readonly count: number;
  /** Views of each image, one of which is drawn for a step. */
  readonly views: number;
  /**
   * Reads images.
   *
   * @param indices Numbers of images.
   * @param views Of each the number of the view.
   * @returns Tokens by grid index, codes [B·N] or vectors [B·N·channels], and classes [B].
   */
  read(
    indices: ArrayLike<number>,
    views: ArrayLike<number>,
  ): Promise<{ readonly tokens: TokenArray; readonly labels: ArrayLike<number> }>;
}

/**
 * Tokens that are in memory.
 *
 * @param tokens Of all images, by grid index: codes [count·N] or vectors [count·N·channels].
 * @param labels The class of each image [count].
 * @returns The dataset, of one view.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tokensInMemory } from "./tokens.ts";
 *
 * const dataset = tokensInMemory(Int32Array.of(1, 2, 3, 4), [7, 8]);
 * assertEquals((await dataset.read([1], [0])).tokens, Int32Array.of(3, 4));
 * ```
 */
export function tokensInMemory(tokens: TokenArray, labels: ArrayLike<number>): TokenDataset {
  const each = tokens.length / labels.length;
  return {
    count: labels.length,
    views: 1,
    read(indices) {
      const chosen = Array.from(indices);
      const own = tokens instanceof Int32Array
        ? new Int32Array(chosen.length * each)
        : new Float32Array(chosen.length * each);
      chosen.forEach((index, i) =>
        own.set(tokens.subarray(index * each, (index + 1) * each), i * each)
      );
      const ownLabels = Int32Array.from(chosen, (index) => labels[index]!);
      return Promise.resolve({ tokens: own, labels: ownLabels });
    },
  };
}

/** Images encoded together. */
const encodeBatch = 250;

/**
 * Encodes all images.
 *
 * @param model The tokenizer.
 * @param params Its parameters.
 * @param data The images.
 * @param report Told how many batches are done.
 * @returns Their tokens and classes.
 */
export async function encodeData(
  model: Tokenizer,
  params: ParametersOf<Tokenizer>,
  data: ImageDataset,
  report: (done: number, total: number) => void,
): Promise<TokenDataset> {
  const kind = tokenizerKind(model);
  const encode = jit((params: ParametersOf<Tokenizer>, images: Tensor) =>
    kind.encode(model, params, images)
  );
  const batches: TokenArray[] = [];
  const total = Math.ceil(data.count / encodeBatch);
  for (let batch = 0; batch < total; batch++) {
    // The last batch repeats the last image, so that one program serves all.
    const indices = Array.from(
      { length: encodeBatch },
      (_, i) => Math.min(batch * encodeBatch + i, data.count - 1),
    );
    const tokens = encode(params, imageBatch(data, indices));
    batches.push(await tokens.data() as TokenArray);
    tokens.dispose();
    report(batch + 1, total);
  }
  const first = batches[0]!;
  const length = first.length / encodeBatch * data.count;
  const all = first instanceof Int32Array ? new Int32Array(length) : new Float32Array(length);
  batches.forEach((tokens, batch) => {
    const start = batch * first.length;
    all.set(tokens.subarray(0, Math.min(tokens.length, length - start)), start);
  });
  return tokensInMemory(all, data.labels);
}
