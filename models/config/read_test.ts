/** Tests of reading configurations: derived sizes, settings, messages. */
import { assert, assertEquals, assertObjectMatch, assertThrows } from "@std/assert";
import { namedConfigs } from "./named.ts";
import { configHelp, readConfig } from "./read.ts";
import { recipeName } from "../sar/recipe.ts";
import { treeEntries } from "../../lib/tree.ts";

Deno.test("every named configuration is valid, and reads back as it was written", () => {
  for (const name of Object.keys(namedConfigs)) {
    const config = readConfig(name);
    assertEquals(readConfig(JSON.parse(JSON.stringify(config))), config);
  }
});

Deno.test("sizes follow from the data and the tokenizer", () => {
  const { tokenizer, model } = readConfig({
    data: { source: "shapes", size: 16, classes: 5 },
    tokenizer: { encoderChannels: [4, 4, 4], decoderChannels: [4, 4, 4, 4], codes: 30 },
    recipe: "ar",
    sampling: { steps: 3 },
  });
  assertObjectMatch(tokenizer, { imageHeight: 16, imageWidth: 16 });
  assertObjectMatch(model, { vocabulary: 30, classes: 5, grid: { height: 2, width: 2 } });
});

Deno.test("a preset stands for its fields, which those after it change", () => {
  const sizes = (input: unknown, settings: string[] = []) => {
    const { model } = readConfig(input, settings);
    return model.kind === "fmt" ? [model.dim, model.encoderLayers] : [model.dim];
  };
  const base = { data: { source: "shapes", size: 16 } };
  assertEquals(sizes({ ...base, model: { preset: "FMT-L" } }), [1024, 12]);
  assertEquals(sizes({ ...base, model: { preset: "FMT-L", encoderLayers: 2 } }), [1024, 2]);
  assertEquals(sizes("mnist", ["model.preset=FMT-B"]), [768, 6]);
  assertEquals(sizes("mnist", ["model.preset=FMT-B", "model.dim=96"]), [96, 6]);
  const gpt = { kind: "llamagen-gpt", preset: "GPT-XL" };
  assertEquals(sizes({ ...base, model: gpt }), [1280]);
});

Deno.test("sets of several scales, and of a decoder alone, follow from the kind", () => {
  const ofScales = readConfig("smoke-var");
  assertObjectMatch(ofScales.model, { scales: [1, 2, 4], grid: { height: 4, width: 4 } });
  assertEquals(recipeName(ofScales.recipe), "raster-3-1,4,16");
  assertEquals(readConfig("smoke-var", ["recipe=var-like"]), ofScales);
  assertEquals(readConfig("smoke-var", ["recipe=raster-4-1,4,8,8"]).recipe.sets, 4);
  const decoder = readConfig("smoke-ar");
  assertEquals([recipeName(decoder.recipe), decoder.sampling.steps], ["raster-N-cosine", 16]);
  assertObjectMatch(readConfig("smoke-continuous").model, { head: { channels: 4, width: 16 } });
});

Deno.test("settings go by dotted path, as JSON or text, the last one of a path wins", () => {
  const config = readConfig("smoke", [
    "training.steps=3",
    "training.steps=4",
    "recipe=raster-2-cosine",
    "tokenizer.encoderChannels=[12]",
    "model.encoderFinalNorm=true",
  ]);
  assertEquals(config.training.steps, 4);
  assertEquals(config.recipe.order, "raster");
  assertObjectMatch(config.tokenizer, { encoderChannels: [12] });
  assertObjectMatch(config.model, { encoderFinalNorm: true });
});

Deno.test("what is wrong is named by its path", () => {
  const cases: [unknown, string[], RegExp][] = [
    ["imagenet", [], /one of mnist, smoke, .* but found imagenet/],
    [[], [], /expected an object/],
    [null, [], /expected an object/],
    [{ training: { stps: 3 } }, [], /^training\.stps: unknown field/],
    ["smoke", ["lr=3"], /^lr: unknown field/],
    ["smoke", ["steps"], /key=value but found steps/],
    ["smoke", ["seed.x=1"], /^seed: /],
    [{ seed: 1 }, ["seed.x=1"], /^seed\.x: expected seed to have fields/],
    ["smoke", ["model.heads=3"], /^model\.heads: .*16 \/ 3/],
    ["smoke", ["model.vocabulary=9"], /^model\.vocabulary: expected 16 .* found 9/],
    ["smoke", ["model.grid.width=9"], /^model\.grid\.width: expected 4/],
    ["smoke", ["recipe=random-17-random"], /^recipe: .*1\.\.16/],
    ["smoke", ["sampling.steps=17"], /^sampling\.steps: expected at most 16/],
    ["smoke", ["data.size=9"], /^tokenizer\.imageHeight: expected a multiple of 2/],
    ["mnist", ["data.classes=9"], /^data\.classes: expected 10/],
    ["mnist", ["data.count=9"], /^data\.count: unknown/],
    [
      { data: { source: "imagenet" } },
      [],
      /^data\.source: expected mnist, .* or codes but found imag/,
    ],
    ["mnist", ["data.source=folder"], /^data\.path: expected a folder but found none/],
    ["mnist", ["data.source=fashion-mnist", "data.path="], /^data\.path: /],
    [
      { data: { source: "codes", path: "codes.safetensors" }, tokenizer: { kind: "llamagen-vq" } },
      [],
      /^tokenizerTraining\.weights: expected the file of weights/,
    ],
    [
      { data: { source: "folder", path: "x" }, tokenizer: { imageChannels: 1 } },
      [],
      /^tokenizer\.imageChannels: expected 3 .* but found 1/,
    ],
    ["smoke", ["data.classes=9"], /^data\.classes: expected at most 8/],
    ["smoke", ["tokenizer.kind=gan"], /^tokenizer\.kind: expected vq, .* but found gan/],
    ["smoke", ["tokenizer=vq"], /^tokenizer: expected an object but found vq/],
    ["smoke", ["model.kind=unet"], /^model\.kind: expected fmt, .* but found unet/],
    ["smoke", ["model.preset=FMT-S"], /^model\.preset: expected one of FMT-B, .* found FMT-S/],
    ["smoke", ["sampling.preset=fast"], /^sampling\.preset: unknown field/],
    ["smoke", ["model.scales=[1,4]"], /^model\.scales: expected none .*tokenizer/],
    ["smoke-var", ["model.scales=[2,4]"], /^model\.scales: expected 1,2,4 .* found 2,4/],
    ["smoke-var", ["model.kind=continuous-fmt"], /^model\.kind: expected a model of codes/],
    ["smoke-continuous", ["model.head.channels=3"], /^model\.head\.channels: expected 4/],
    ["smoke-continuous", ["sampling.topK=3"], /^sampling\.topK: .*probabilities/],
    ["smoke-continuous", ["sampling.noiseSteps=21"], /^sampling\.noiseSteps: expected at most 20/],
    ["smoke-ar", ["recipe=sar-ts"], /^recipe: expected ar .* but found random-16-random/],
    ["smoke-ar", ["sampling.steps=4"], /^sampling\.steps: expected 16 .* but found 4/],
    ["smoke-ar", ["training.warmStart=x"], /^training\.warmStart: expected none/],
    [
      { ...namedConfigs["smoke-var"], model: { kind: "llamagen-gpt" } },
      [],
      /^model\.kind: expected a model of several scales/,
    ],
    [
      { data: { source: "shapes" }, tokenizer: { kind: "llamagen-vq" } },
      [],
      /^data\.size: expected images of a multiple of 16 pixels/,
    ],

    ["smoke", ["training.learningRate=0"], /^training\.learningRate: /],
    ["smoke", ['training.groups=[{"match":"["}]'], /^training\.groups\.0\.match: expected a reg/],
    ["smoke", ["training.precision=f64"], /^training\.precision: /],
  ];
  for (const [input, settings, message] of cases) {
    const error = assertThrows(() => readConfig(input, settings), RangeError) as RangeError;
    assert(message.test(error.message), `${error.message} does not match ${message}`);
  }
});

Deno.test("every field has help", () => {
  const help = new Map(configHelp().map(({ path, help }) => [path, help]));
  for (const name of Object.keys(namedConfigs)) {
    for (const [path] of treeEntries<unknown>(readConfig(name))) {
      const field = path.replace(
        /^recipe\..*|\.\d+$/,
        (end) => end.startsWith("recipe") ? "recipe" : "",
      );
      assert(help.get(field), `${field} has no help`);
    }
  }
  const own = configHelp(readConfig("smoke-ar")).map(({ path }) => path);
  assert(own.includes("model.layers") && !own.includes("model.encoderLayers"));
});
