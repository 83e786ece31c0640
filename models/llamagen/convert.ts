/** Converting LlamaGen's checkpoints: telling what model they hold, and writing it as `.safetensors`. */
import {
  type SafetensorsEntry,
  type SafetensorsInput,
  writeSafetensors,
} from "../../lib/formats/safetensors.ts";
import type { Shape } from "../../lib/shape.ts";
import { treeEntries } from "../../lib/tree.ts";
import type { Grid } from "../sar/order.ts";
import { ffnWidth } from "../fmt/config.ts";
import { gptParameters } from "./gpt.ts";
import { gpt, type GptConfig, gptPresets } from "./gpt_config.ts";
import { llamagenVqParameters } from "./vq.ts";
import { llamagenVq, type LlamagenVqConfig } from "./vq_config.ts";
import { asFloat32, checkFits, openWeights } from "./weights.ts";

/** A model of LlamaGen. */
export type LlamagenModel = GptConfig | LlamagenVqConfig;

/** The parameters of a model of LlamaGen, described. */
export function llamagenParameters(model: LlamagenModel): unknown {
  return model.kind === "llamagen-gpt" ? gptParameters(model) : llamagenVqParameters(model);
}

/**
 * Finds the model that a file of weights belongs to, by the names and shapes of its tensors. What these do not tell
 * is taken from the released models: heads of a width of 64 where no released size fits, groups, a square grid of 16.
 *
 * @param entries What the file holds.
 * @param options `grid`: the token grid of a GPT (24×24 for 384×384 images), which no tensor tells.
 * @returns The model, or undefined if the names are not LlamaGen's.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { findLlamagenModel } from "./convert.ts";
 *
 * assertEquals(findLlamagenModel(new Map()), undefined);
 * ```
 */
export function findLlamagenModel(
  entries: ReadonlyMap<string, SafetensorsEntry>,
  options: { grid?: Grid } = {},
): LlamagenModel | undefined {
  const shapeOf = (name: string): Shape => entries.get(name)?.shape ?? [];
  if (entries.has("layers.0.attention.wqkv.weight")) return gptOf(shapeOf, options.grid);
  if (entries.has("quantize.embedding.weight")) return vqOf(shapeOf);
}

function gptOf(shapeOf: (name: string) => Shape, grid: Grid | undefined): GptConfig {
  const [vocabulary, dim] = shapeOf("output.weight") as [number, number];
  const layers = countWhile((i) => shapeOf(`layers.${i}.attention.wqkv.weight`).length > 0);
  const released = Object.values(gptPresets).find((preset) =>
    preset.dim === dim && preset.layers === layers
  );
  const config = {
    vocabulary,
    classes: shapeOf("cls_embedding.embedding_table.weight")[0]! - 1,
    dim,
    layers,
    heads: released?.heads ?? Math.max(1, dim / 64),
    grid,
  };
  const width = shapeOf("layers.0.feed_forward.w1.weight")[0]!;
  // The rounding of the FFN's width: as released, or the width itself.
  return ffnWidth({ dim, ffnMultiple: 256 }) === width
    ? gpt(config)
    : gpt({ ...config, ffnMultiple: width });
}

function vqOf(shapeOf: (name: string) => Shape): LlamagenVqConfig {
  const channels = shapeOf("encoder.conv_in.weight")[0]!;
  const has = (name: string) => shapeOf(`${name}.weight`).length > 0;
  const widthOf = (level: string) => shapeOf(`${level}.res.0.conv1.weight`)[0]! / channels;
  const levels = countWhile((i) => has(`encoder.conv_blocks.${i}.res.0.conv1`));
  const all = Array.from({ length: levels }, (_, level) => level);
  const [codes, codeChannels] = shapeOf("quantize.embedding.weight") as [number, number];
  return llamagenVq({
    channels,
    encoderMultipliers: all.map((level) => widthOf(`encoder.conv_blocks.${level}`)),
    decoderMultipliers: all.map((level) => widthOf(`decoder.conv_blocks.${level}`)).reverse(),
    blocks: countWhile((i) => has(`encoder.conv_blocks.0.res.${i}.conv1`)),
    attentionLevels: all.filter((level) => has(`encoder.conv_blocks.${level}.attn.0.q`)).length,
    latentChannels: shapeOf("quant_conv.weight")[1]!,
    codes,
    codeChannels,
  });
}

function countWhile(condition: (i: number) => boolean): number {
  let count = 0;
  while (condition(count)) count++;
  return count;
}

/**
 * Converts a file of weights (`.pt` or `.safetensors`) to f32 `.safetensors`, one tensor in memory at a time. Buffers
 * that the model does not use are left out; the model stands in the metadata as JSON under `model`.
 *
 * @param from The file.
 * @param to Where the new file goes.
 * @param options `model` (by default that which the names and shapes tell), `grid` of a GPT, and `part`: the key of a
 * checkpoint's weights, such as `ema`.
 * @returns The model.
 * @throws {TypeError} If a name is missing or unexpected, or of another shape or type; each is named. {Error} If the file
 * is broken, or is none of LlamaGen's.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { convertWeights } from "./convert.ts";
 *
 * const from = new URL("../../tests/fixtures/llamagen_pt/gpt.pt", import.meta.url).pathname;
 * const to = await Deno.makeTempFile();
 * const model = await convertWeights(from, to, { grid: { height: 2, width: 2 } });
 * assertEquals(model.kind, "llamagen-gpt");
 * await Deno.remove(to);
 * ```
 */
export async function convertWeights(
  from: string,
  to: string,
  options: { model?: LlamagenModel; grid?: Grid; part?: string } = {},
): Promise<LlamagenModel> {
  await using file = await openWeights(from, options);
  const model = options.model ?? findLlamagenModel(file.entries, options);
  if (!model) {
    const names = [...file.entries.keys()].slice(0, 3).join(", ");
    throw new Error(
      `convertWeights: expected ${from} to have the names of LlamaGen's checkpoints but found ${names}, …`,
    );
  }
  const tree = llamagenParameters(model);
  checkFits("convertWeights", tree, file.entries, { source: from });
  const tensors = treeEntries(tree).map(([name]): [string, SafetensorsInput] => {
    const { dtype, shape } = file.entries.get(name)!;
    const data = async () => asFloat32(await file.read(name), dtype) as Float32Array<ArrayBuffer>;
    return [name, { dtype: "F32", shape, data }];
  });
  await writeSafetensors(to, Object.fromEntries(tensors), { model: JSON.stringify(model) });
  return model;
}
