/** Starting a Fully Masked Transformer from the layers of LlamaGen's GPT. */
import { sameShape, showShape } from "../../lib/shape.ts";
import type { Tensor } from "../../lib/tensor.ts";
import { treeEntries } from "../../lib/tree.ts";
import type { FmtParameters } from "../fmt/network.ts";
import type { GptParameters } from "./gpt.ts";

/**
 * Parameters of a Fully Masked Transformer in which all that a GPT has too is taken from it: embeddings, head, final
 * norm, its first layers as encoder, and its last layers as self-attention and FFN of the decoder. Cross-attention,
 * the query vector and positions stay fresh.
 *
 * @param fresh First parameters of the Fully Masked Transformer, as `init` makes them.
 * @param source Parameters of the GPT: as many layers as encoder and decoder together.
 * @returns Parameters like `fresh`.
 * @throws {TypeError} If layers or shapes do not match.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { key } from "../../ops/random.ts";
 * import { fmt } from "../fmt/config.ts";
 * import { init } from "../model.ts";
 * import { gpt } from "./gpt_config.ts";
 * import { warmStart } from "./warm_start.ts";
 *
 * const sizes = { dim: 8, heads: 2, vocabulary: 5 };
 * const source = init(gpt({ ...sizes, layers: 2 }), key(0));
 * const fresh = init(fmt({ ...sizes, encoderLayers: 1, decoderLayers: 1 }), key(1));
 * const { encoder, decoder } = warmStart(fresh, source);
 * assertEquals(encoder[0]!.attention, source.layers[0]!.attention);
 * assertEquals(decoder[0]!.attention, source.layers[1]!.attention);
 * ```
 */
export function warmStart(fresh: FmtParameters, source: GptParameters): FmtParameters {
  const { encoder, decoder } = fresh;
  if (source.layers.length !== encoder.length + decoder.length) {
    throw new TypeError(
      `warmStart: expected a GPT of ${encoder.length} + ${decoder.length} layers but found ${source.layers.length}`,
    );
  }
  checkSameShapes(
    { ...partOf(fresh), layers: [...encoder, ...decoder.map(partOfLayer)] },
    { ...partOf(source), layers: source.layers },
  );
  return {
    ...fresh,
    ...partOf(source),
    encoder: source.layers.slice(0, encoder.length),
    decoder: decoder.map((layer, i) => ({ ...layer, ...source.layers[encoder.length + i]! })),
  };
}

/** What both models have besides layers. */
function partOf({ tok_embeddings, cls_embedding, norm, output }: FmtParameters | GptParameters) {
  return { tok_embeddings, cls_embedding, norm, output };
}

/** What layers of both models have. */
function partOfLayer(
  { attention_norm, attention, ffn_norm, feed_forward }: FmtParameters["decoder"][number],
) {
  return { attention_norm, attention, ffn_norm, feed_forward };
}

function checkSameShapes(wanted: unknown, found: unknown): void {
  const shapes = new Map(treeEntries<Tensor>(found).map(([path, { shape }]) => [path, shape]));
  for (const [path, { shape }] of treeEntries<Tensor>(wanted)) {
    if (!sameShape(shape, shapes.get(path)!)) {
      throw new TypeError(
        `warmStart: expected the GPT's ${path} to have shape ${showShape(shape)} but found ${
          showShape(shapes.get(path)!)
        }`,
      );
    }
  }
}
