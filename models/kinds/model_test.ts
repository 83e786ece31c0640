/** Tests of what a run asks of models: the loss of a step and of each of its sets. */
import { assertAlmostEquals, assertEquals } from "@std/assert";
import { testOnDevices } from "../../tests/devices.ts";
import type { Tensor } from "../../lib/tensor.ts";
import { treeMap } from "../../lib/tree.ts";
import { normal } from "../../ops/distributions.ts";
import { key } from "../../ops/random.ts";
import { continuousFmt } from "../diffusion/fmt.ts";
import { fmt } from "../fmt/config.ts";
import { type FmtInputs, fmtLogits } from "../fmt/fmt.ts";
import { gpt } from "../llamagen/gpt_config.ts";
import { init, type ParametersOf } from "../model.ts";
import { makeTrainingBatch } from "../sar/batch.ts";
import { parseRecipe } from "../sar/recipe.ts";
import { modelKind, type TokenModel } from "./model.ts";

const size = { dim: 16, heads: 2, grid: { height: 2, width: 3 } };
const body = { ...size, encoderLayers: 1, decoderLayers: 1, ffnMultiple: 16, classes: 3 };
const labels = [0, 3], stepKey = [1, 2] as const;
const tokens = Int32Array.of(4, 2, 0, 1, 3, 2, 0, 0, 4, 1, 2, 3);

/** Losses of a kind, with parameters at random: an output head of zeros would find all sets alike. */
function lossesOf<M extends TokenModel>(
  model: M,
  recipe: string,
  given: Int32Array | Float32Array,
) {
  const params = treeMap(
    (w: Tensor) => normal(key(w.size), w.shape),
    init(model, key(0)),
  ) as unknown as ParametersOf<TokenModel>;
  const kind = modelKind(model as TokenModel), parsed = parseRecipe(recipe);
  const inputs = kind.inputs(model, parsed, given, labels, stepKey, 0);
  const options = { key: key(5), checkpoint: false };
  return {
    params,
    sets: kind.sets(model, parsed),
    ...kind.losses(model, parsed, params, inputs, options),
  };
}

testOnDevices("the loss of each set is the mean cross entropy of its places", async () => {
  const dropout = { embeddingDropout: 0, residualDropout: 0, ffnDropout: 0 };
  const model = fmt({ ...body, ...dropout, vocabulary: 5 });
  const recipe = "random-3-random";
  const { params, sets, loss, setLoss } = lossesOf(model, recipe, tokens);
  assertEquals([sets, setLoss.shape], [3, [3]]);
  const batch = makeTrainingBatch(parseRecipe(recipe), size.grid, tokens, stepKey);
  const inputs = modelKind(model).inputs(model, parseRecipe(recipe), tokens, labels, stepKey, 0);
  const logits = await fmtLogits(model, params as ParametersOf<typeof model>, inputs as FmtInputs)
    .toArray() as number[][][];
  const found = await setLoss.toArray() as number[];
  let place = 0, total = 0;
  batch.intervals.forEach((count, set) => {
    let sum = 0;
    for (let i = place; i < place + count; i++) {
      for (const image of [0, 1]) {
        const row = logits[image]![i]!;
        const target = row[batch.targets[image * 6 + i]!]!;
        sum += Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0)) - target;
      }
    }
    assertAlmostEquals(found[set]!, sum / (2 * count), 1e-3);
    place += count;
    total += sum;
  });
  assertAlmostEquals(await loss.item(), total / 12, 1e-3);
}, ["reference", "wasm"]);

testOnDevices("every kind of model has a loss for each set", async () => {
  const vectors = Float32Array.from({ length: 12 * 2 }, (_, i) => Math.sin(i));
  const cases: [TokenModel, string, Int32Array | Float32Array, number[]][] = [
    [fmt({ ...body, vocabulary: 5 }), "random-2-mar", tokens, [0, 1]],
    [fmt({ ...body, vocabulary: 5 }), "ar", tokens, [1, 1, 1, 1, 1, 1]],
    [
      continuousFmt({ ...body, head: { channels: 2, width: 8, layers: 1 } }),
      "next-scale",
      vectors,
      [],
    ],
    [gpt({ ...size, layers: 1, vocabulary: 5, classes: 3 }), "ar", tokens, [1, 1, 1, 1, 1, 1]],
  ];
  for (const [model, recipe, given, weights] of cases) {
    const { sets, loss, setLoss } = lossesOf(model, recipe, given);
    const each = await setLoss.toArray() as number[];
    assertEquals([each.length, each.every((value) => Number.isFinite(value))], [sets, true]);
    if (weights.length === 0) continue;
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const mean = each.reduce((sum, value, i) => sum + value * weights[i]!, 0) / total;
    assertAlmostEquals(await loss.item(), mean, 1e-3);
  }
}, ["reference"]);
