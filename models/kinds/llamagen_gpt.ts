/** LlamaGen's GPT in a run: a decoder alone, one token a step in raster order. */
import { tensor } from "../../lib/tensor.ts";
import { mean } from "../../ops/reduce.ts";
import { type GptInputs, gptPlaceLosses } from "../llamagen/gpt.ts";
import type { GptConfig } from "../llamagen/gpt_config.ts";
import { sampleGpt } from "../llamagen/gpt_sample.ts";
import { countSets } from "../sar/draw.ts";
import { recipeName } from "../sar/recipe.ts";
import type { Misfit, ModelKind } from "./model.ts";

/** The GPT, the decoder-only baseline. */
export const gptKind: ModelKind<GptConfig, GptInputs> = {
  tokens: "codes",
  editing:
    "a decoder alone draws row by row: what is drawn knows the kept tokens before it, none behind",
  fit: ({ grid, values }, classes) => ({
    grid,
    classes,
    ...(values.kind === "codes" ? { vocabulary: values.vocabulary } : {}),
  }),
  recipe: (_, given) => given ?? "ar",
  sampling: ({ grid }) => ({
    order: "raster",
    schedule: "uniform",
    steps: grid.height * grid.width,
  }),
  misfits({ grid }, recipe, sampling) {
    const tokens = grid.height * grid.width;
    const misfits: Misfit[] = [];
    const expect = (path: string[], fits: boolean, wanted: string, found: unknown) => {
      if (fits) return;
      const why = "llamagen-gpt is a decoder alone: one token a step, row by row";
      misfits.push({ path, message: `expected ${wanted} (${why}) but found ${found}` });
    };
    const isRaster = recipe.order === "raster" && countSets(recipe, grid) === tokens;
    expect(["recipe"], isRaster, "ar", recipeName(recipe));
    const { order, steps, attention = "masked", decoding } = sampling;
    expect(["sampling", "order"], order === "raster", "raster", order);
    expect(["sampling", "steps"], steps === tokens, String(tokens), steps);
    expect(["sampling", "attention"], attention === "masked", "masked", attention);
    expect(["sampling", "decoding"], decoding === "order", "order", decoding);
    return misfits;
  },
  inputs: ({ grid }, _recipe, tokens, labels) => ({
    labels: tensor(Int32Array.from(labels)),
    tokens: tensor(Int32Array.from(tokens), { shape: [labels.length, grid.height * grid.width] }),
  }),
  sets: ({ grid }) => grid.height * grid.width,
  losses(model, _recipe, params, inputs, options) {
    const losses = gptPlaceLosses(model, params, inputs, options);
    return { loss: mean(losses), setLoss: mean(losses, { axes: 0 }) };
  },
  async sample(model, params, { labels, settings, key, firstImage, kept, onStep }) {
    const { guidance, guidanceSchedule, guidanceInterval } = settings;
    const { temperature, finalTemperature, topK, topP } = settings;
    const count = model.grid.height * model.grid.width;
    return await sampleGpt(model, params, {
      ...{ labels, key, firstImage, topK, topP, temperature, finalTemperature },
      ...{ guidance, guidanceSchedule, guidanceInterval },
      // Kept tokens are taken in their turn: what is drawn sees those before it alone.
      fixed: kept && kept.tokens.map((token, i) => kept.keep[i % count] ? token : -1),
      onStep: onStep && (({ known, tokens }) =>
        onStep({
          set: known,
          sets: count,
          async tokens() {
            const drawn = await tokens();
            const values = new Int32Array(labels.length * count);
            const isKnown = new Uint8Array(values.length);
            for (let i = 0; i < labels.length; i++) {
              values.set(drawn.subarray(i * known, (i + 1) * known), i * count);
              isKnown.fill(1, i * count, i * count + known);
            }
            return { values, known: isKnown };
          },
        })),
    });
  },
};
