import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { foldIn, type Key } from "../../lib/random/threefry.ts";
import { dropLabels, lossWeights, makeTrainingBatch, type TrainingBatch } from "./batch.ts";
import { visibleCounts } from "./masks.ts";
import { checkOrder, invertOrder } from "./order.ts";
import { parseRecipe } from "./recipe.ts";

const grid = { height: 3, width: 4 };
const count = 12;
const tokens = Uint16Array.from({ length: 3 * count }, (_, i) => 100 + i);
const recipes = fc.constantFrom(
  ...["random-4-random", "mar", "ar", "var-like", "fixed-random-5-cosine", "random-1-random"],
).map((name) => parseRecipe(name));
const keys: fc.Arbitrary<Key> = fc.tuple(fc.nat(), fc.nat());

Deno.test("targets go back to their grid cells through the inverse order", () => {
  fc.assert(fc.property(recipes, keys, (recipe, key) => {
    const { order, targets } = makeTrainingBatch(recipe, grid, tokens, key);
    for (let start = 0; start < tokens.length; start += count) {
      const row = checkOrder(order.slice(start, start + count), count);
      const sequence = targets.slice(start, start + count);
      assertEquals(
        Array.from(invertOrder(row), (place) => sequence[place]),
        Array.from(tokens.slice(start, start + count)),
      );
    }
  }));
});

Deno.test("shapes depend on the recipe but not on the draw", () => {
  fc.assert(fc.property(recipes, keys, keys, (recipe, one, other) => {
    const shapes = (batch: TrainingBatch) => Object.values(batch).map((array) => array.length);
    assertEquals(
      shapes(makeTrainingBatch(recipe, grid, tokens, one)),
      shapes(makeTrainingBatch(recipe, grid, tokens, other)),
    );
  }));
});

/** Stands for the model: layers in which a row mixes itself with the mean of the columns that it sees. */
function attend(rows: number[], columns: number[], visible: Int32Array): number[] {
  return rows.map((row, i) => {
    let sum = 0;
    for (let j = 0; j < visible[i]; j++) sum += columns[j];
    return Math.tanh(row + sum / visible[i]);
  });
}

function predict(
  order: Int32Array,
  encoderTokens: Int32Array,
  visible: { encoder: Int32Array; decoder: Int32Array; cross: Int32Array },
): number[] {
  let memory = [0.3, ...Array.from(encoderTokens, (token, i) => Math.sin(token + order[i]))];
  for (let layer = 0; layer < 2; layer++) memory = attend(memory, memory, visible.encoder);
  let queries = Array.from(order, (cell) => Math.cos(cell));
  queries = attend(queries, queries, visible.decoder);
  return attend(queries, memory, visible.cross);
}

Deno.test("padding rows change no prediction: equal to an encoder without the last set", () => {
  fc.assert(fc.property(recipes, keys, (recipe, key) => {
    const batch = makeTrainingBatch(recipe, grid, tokens.slice(0, count), key);
    const exact = visibleCounts(batch.intervals, { fullDecoder: recipe.fullDecoder });
    const known = count - batch.intervals[batch.intervals.length - 1];
    assertEquals(
      predict(batch.order, batch.encoderTokens, {
        encoder: batch.encoderVisible,
        decoder: batch.decoderVisible,
        cross: batch.crossVisible,
      }),
      predict(batch.order, batch.targets.slice(0, known), exact),
    );
  }));
});

Deno.test("random gives each image its own order, other orders are shared", () => {
  const rows = (name: string, key: Key) => {
    const { order } = makeTrainingBatch(parseRecipe(name), grid, tokens, key);
    return [0, 1, 2].map((image) => String(order.slice(image * count, (image + 1) * count)));
  };
  assertEquals(new Set(rows("random-4-random", [0, 1])).size, 3);
  assertNotEquals(rows("random-4-random", [0, 1]), rows("random-4-random", [0, 2]));
  assertEquals(new Set(rows("fixed-random-4-random", [0, 1])).size, 1);
  assertEquals(rows("fixed-random-4-random", [0, 1]), rows("fixed-random-4-random", [0, 2]));
});

Deno.test("the same key gives the same batch", () => {
  const draw = () => makeTrainingBatch(parseRecipe("random-4-random"), grid, tokens, [3, 4]);
  assertEquals(draw(), draw());
});

Deno.test("encoder rows are the first places of each image's sequence", () => {
  const recipe = parseRecipe("raster-3-2,3,7");
  const batch = makeTrainingBatch(recipe, grid, tokens, [0, 1], 4);
  const expected = [0, 1, 2, 3, 4];
  assertEquals([...batch.encoderOrder], [...expected, ...expected, ...expected]);
  assertEquals(
    [...batch.encoderTokens],
    [0, 12, 24].flatMap((at) => expected.map((i) => 100 + at + i)),
  );
  assertEquals([...batch.encoderVisible], [4, 4, 4, 4, 6, 6, 9, 9, 9]);
});

Deno.test("the MAR end counts the loss of its second set only", () => {
  const { intervals, lossWeight } = makeTrainingBatch(parseRecipe("mar"), grid, tokens, [0, 1]);
  assertEquals(lossWeight, lossWeights(intervals, "last"));
  assertEquals(lossWeight.indexOf(1), intervals[0]);
  assertEquals(lossWeights([1, 2], "all"), Float32Array.of(1, 1, 1));
  const full = makeTrainingBatch(parseRecipe("random-2-mar+full-decoder"), grid, tokens, [0, 1]);
  assert(full.decoderVisible.every((seen) => seen === count));
});

Deno.test("dropLabels replaces about the asked share", () => {
  let dropped = 0;
  for (let i = 0; i < 100; i++) {
    dropped += dropLabels(new Int32Array(100), 9, 0.1, foldIn([0, 1], i)).filter((label) =>
      label === 9
    ).length;
  }
  assert(Math.abs(dropped / 10000 - 0.1) < 0.012, `dropped ${dropped} of 10000`); // 4 sigma
});

Deno.test("tokens that are no whole grids are refused", () => {
  const recipe = parseRecipe("ar");
  assertThrows(() => makeTrainingBatch(recipe, grid, [1, 2], [0, 1]), TypeError, "found 2 tokens");
  assertThrows(() => makeTrainingBatch(recipe, grid, [], [0, 1]), TypeError, "found 0 tokens");
});
