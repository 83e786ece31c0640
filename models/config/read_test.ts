/** Tests of reading configurations: derived sizes, settings, messages. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { namedConfigs } from "./named.ts";
import { configHelp, readConfig } from "./read.ts";
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
  assertEquals([tokenizer.imageHeight, tokenizer.imageWidth], [16, 16]);
  assertEquals([model.vocabulary, model.classes, model.grid], [30, 5, { height: 2, width: 2 }]);
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
  assertEquals(config.tokenizer.encoderChannels, [12]);
  assertEquals(config.model.encoderFinalNorm, true);
});

Deno.test("what is wrong is named by its path", () => {
  const cases: [unknown, string[], RegExp][] = [
    ["imagenet", [], /mnist, smoke but found imagenet/],
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
    ["smoke", ["training.learningRate=0"], /^training\.learningRate: /],
  ];
  for (const [input, settings, message] of cases) {
    const error = assertThrows(() => readConfig(input, settings), RangeError) as RangeError;
    assert(message.test(error.message), `${error.message} does not match ${message}`);
  }
});

Deno.test("every field has help", () => {
  const help = new Map(configHelp().map(({ path, help }) => [path, help]));
  for (const [path] of treeEntries<unknown>(readConfig("mnist"))) {
    const field = path.replace(
      /^recipe\..*|\.\d+$/,
      (end) => end.startsWith("recipe") ? "recipe" : "",
    );
    assert(help.get(field), `${field} has no help`);
  }
});
