import { assertEquals, assertThrows } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { checkRecipe, countEncoderTokens, countSets, drawIntervals, drawOrder } from "./draw.ts";
import { SCHEDULE_NAMES } from "./intervals.ts";
import { makeOrder, nextScale, ORDER_NAMES } from "./order.ts";
import { parseRecipe, PRESETS, type RecipeInput, recipeName, recipeSchema } from "./recipe.ts";

const square = { height: 4, width: 4 };

Deno.test("names with dashes are read part by part", () => {
  const read = (name: string) => {
    const { order, sets, schedule } = parseRecipe(name);
    return [order, sets, schedule];
  };
  assertEquals(read("fixed-random-16-random"), ["fixed-random", 16, "random"]);
  assertEquals(read("z-curve-49-uniform"), ["z-curve", 49, "uniform"]);
  assertEquals(read("raster-256-cosine"), ["raster", 256, "cosine"]);
  assertEquals(read("next-scale-8-arccos"), ["next-scale", 8, "arccos"]);
  assertEquals(read("next-scale"), ["next-scale", "grid", "next-scale"]);
  assertEquals(read("next-scale-next-scale"), ["next-scale", "grid", "next-scale"]);
  assertEquals(read("random-next-scale"), ["random", "grid", "next-scale"]);
  assertEquals(read("hilbert-N-uniform"), ["hilbert", "N", "uniform"]);
  assertEquals(read("raster-3-1,4,11"), ["raster", 3, [1, 4, 11]]);
  assertEquals(parseRecipe("fixed-random:7-16-random").seed, 7);
});

Deno.test("a recipe is printed and read back, whatever its parts", () => {
  const recipes = fc.record({
    order: fc.constantFrom(...ORDER_NAMES),
    seed: fc.nat(),
    sets: fc.oneof(fc.integer({ min: 1, max: 999 }), fc.constant("N" as const)),
    schedule: fc.oneof(
      fc.constantFrom(...SCHEDULE_NAMES, "next-scale" as const),
      fc.array(fc.integer({ min: 1, max: 99 }), { minLength: 1 }),
    ),
    loss: fc.constantFrom("all" as const, "last" as const),
    fullDecoder: fc.boolean(),
  }).map(({ seed, sets, ...rest }) => ({
    ...rest,
    seed: rest.order === "fixed-random" ? seed : 0,
    ...(Array.isArray(rest.schedule) || rest.schedule === "next-scale"
      ? {}
      : { sets: rest.schedule === "mar" ? 2 : sets }),
  }));
  fc.assert(fc.property(recipes, (input) => {
    const recipe = parseRecipe(input);
    assertEquals(parseRecipe(recipeName(recipe)), recipe);
    assertEquals(parseRecipe(recipe), recipe);
    assertEquals(recipeSchema.parse(JSON.parse(JSON.stringify(recipe))), recipe);
  }));
});

Deno.test("presets stand for the paper's recipes and their loss rules", () => {
  const names = Object.keys(PRESETS).map((name) => recipeName(parseRecipe(name)));
  assertEquals(names, ["raster-N-cosine", "next-scale", "random-2-mar", "random-16-random"]);
  assertEquals(Object.keys(PRESETS).map((name) => parseRecipe(name).loss), [
    "all",
    "all",
    "last",
    "all",
  ]);
  assertEquals([...drawIntervals(parseRecipe("ar"), square)], new Array(16).fill(1));
  assertEquals(drawOrder(parseRecipe("var-like"), square), nextScale(square).order);
  assertEquals(drawIntervals(parseRecipe("var-like"), square), nextScale(square).intervals);
});

Deno.test("loss rule and full decoder are options of every recipe", () => {
  assertEquals(parseRecipe("random-2-random").loss, "last");
  assertEquals(parseRecipe("random-2-random+loss-all").loss, "all");
  const recipe = parseRecipe("random-1-random+loss-last+full-decoder");
  assertEquals([recipe.loss, recipe.fullDecoder], ["last", true]);
});

Deno.test("an empty object is the transition state", () => {
  assertEquals(recipeName(parseRecipe({})), "random-16-random");
  assertEquals(recipeName(parseRecipe({ schedule: "mar" })), "random-2-mar");
});

Deno.test("what is wrong in a recipe is named", () => {
  const wrong: [unknown, string][] = [
    ["zigzag-4-random", 'but found "zigzag-4-random"'],
    ["random-16", 'but found "random-16"'],
    ["random-16-random-16", "but found"],
    ["toString", "but found"],
    ["random-0-random", "sets: "],
    ["random-4-mar", "sets: expected 2 sets for the schedule mar but found 4"],
    ["random-4-1,2,3", "sets: expected 3 sets for this schedule but found 4"],
    ["raster:3-4-random", "seed: "],
    [{ order: "raster", set: 3 }, '"set"'],
    [{ schedule: [1, 0] }, "schedule"],
    [{ schedule: "next-scale", sets: 3 }, "sets: expected grid sets"],
  ];
  for (const [input, message] of wrong) {
    assertThrows(() => parseRecipe(input as RecipeInput), RangeError, message);
  }
});

Deno.test("a recipe is checked against its grid", () => {
  checkRecipe(parseRecipe("sar-ts"), square);
  assertThrows(() => checkRecipe(parseRecipe("random-17-random"), square), RangeError, "1..16");
  assertThrows(() => checkRecipe(parseRecipe("raster-2-3,4"), square), RangeError, "found 7");
  const custom = parseRecipe({ order: [1, 0], sets: 1 });
  assertThrows(() => checkRecipe(custom, square), TypeError, "16 entries but found 2");
});

Deno.test("orders follow the key, the recipe's seed, or the user", () => {
  const grid = { height: 1, width: 6 };
  assertEquals(
    drawOrder(parseRecipe("random-2-random"), grid, [0, 5]),
    makeOrder("random", grid, 5),
  );
  assertThrows(() => drawOrder(parseRecipe("random-2-random"), grid), TypeError);
  const fixed = drawOrder(parseRecipe("fixed-random:9-2-random"), grid, [0, 5]);
  assertEquals(fixed, makeOrder("fixed-random", grid, 9));
  assertEquals(recipeName(parseRecipe({ order: [...fixed], sets: 2 })), "custom-2-random");
});

Deno.test("sets and encoder rows of a recipe hold for every draw", () => {
  const names = ["sar-ts", "mar", "ar", "var-like", "random-1-random", "snake-4-arccos"];
  for (const recipe of [...names, "random-3-1,4,11"].map((name) => parseRecipe(name))) {
    const most = countEncoderTokens(recipe, square);
    const drawn = Array.from({ length: 200 }, (_, i) => drawIntervals(recipe, square, [0, i]));
    for (const intervals of drawn) assertEquals(intervals.length, countSets(recipe, square));
    assertEquals(Math.max(...drawn.map((intervals) => 16 - intervals.at(-1)!)), most);
  }
});
