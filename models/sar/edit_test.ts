/** Tests of editing: what is kept, what is drawn, and that it is drawn as sampling draws. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { foldIn, keyFromSeed } from "../../lib/random/threefry.ts";
import { mul } from "../../ops/arithmetic.ts";
import { normal } from "../../ops/distributions.ts";
import { key } from "../../ops/random.ts";
import { testOnDevices } from "../../tests/devices.ts";
import { fmt } from "../fmt/config.ts";
import { sample } from "../fmt/sample.ts";
import { init } from "../model.ts";
import { editTokens, keptCells, placeTokens, planEdit } from "./edit.ts";
import { checkOrder, ORDER_NAMES } from "./order.ts";

const grid = { height: 3, width: 4 };
const count = 12;
const cross = [0, 1, 1, 0, 1, 1, 0, 0, 0, 1, 1, 0];

function makeModel() {
  const model = fmt({
    grid,
    dim: 16,
    heads: 2,
    encoderLayers: 1,
    decoderLayers: 1,
    vocabulary: 20,
    classes: 3,
    ffnMultiple: 8,
    initScale: 0.2,
  });
  const params = init(model, key(1));
  return { model, params: { ...params, output: { weight: mul(normal(key(2), [20, 16]), 0.5) } } };
}

const tokens = Array.from({ length: 2 * count }, (_, i) => i * 7 % 20);
const base = { labels: [0, 1], key: keyFromSeed(3), guidance: 2 } as const;

async function edited(
  keep: readonly number[],
  more: Partial<Parameters<typeof editTokens>[4]> = {},
): Promise<number[]> {
  const { model, params } = makeModel();
  const images = (more.labels ?? base.labels).length;
  const own = tokens.slice(0, images * count);
  return Array.from(
    await (await editTokens(model, params, own, keep, { ...base, ...more })).data(),
  );
}

testOnDevices("kept tokens are the same after an edit, the others are drawn", async () => {
  for (const decoding of ["order", "confidence"] as const) {
    const result = await edited(cross, { steps: 3, decoding });
    tokens.forEach((token, i) => {
      if (cross[i % count]) assertEquals(result[i], token);
    });
    assert(String(result) !== String(tokens));
    const other = await edited(cross, { steps: 3, decoding, labels: [2, 2] });
    assert(String(result) !== String(other), "the class counts");
  }
});

testOnDevices("what stands at cells that are not kept is not read", async () => {
  const { model, params } = makeModel();
  const changed = tokens.map((token, i) => cross[i % count] ? token : 19 - token);
  const result = await editTokens(model, params, changed, cross, base);
  assertEquals(Array.from(await result.data()), await edited(cross));
}, ["reference"]);

testOnDevices(
  "an edit that keeps nothing samples, one that keeps all changes nothing",
  async () => {
    const { model, params } = makeModel();
    const nothing = new Array<number>(count).fill(0);
    const { order, intervals } = planEdit(nothing, grid, 2, { steps: 4, key: base.key });
    const options = { ...base, key: foldIn(base.key, 2), order, intervals };
    const sampled = Array.from(await (await sample(model, params, options)).data());
    assertEquals(await edited(nothing, { steps: 4 }), sampled);
    assertEquals(await edited(new Array<number>(count).fill(1)), tokens);
  },
  ["reference"],
);

testOnDevices("an image is edited the same in any batch", async () => {
  const { model, params } = makeModel();
  const all = await edited(cross);
  const second = await editTokens(model, params, tokens.slice(count), cross, {
    ...base,
    labels: [1],
    firstImage: 1,
  });
  assertEquals(Array.from(await second.data()), all.slice(count));
}, ["reference"]);

Deno.test("every order and schedule plans an edit of any mask", () => {
  for (const order of ORDER_NAMES) {
    for (const schedule of ["random", "cosine", "arccos", "uniform", "next-scale"] as const) {
      const plan = planEdit(cross, grid, 2, { order, schedule, steps: 50, key: [1, 2] });
      assertEquals(plan.kept, 6);
      assertEquals(plan.intervals[0], 6);
      assertEquals(plan.intervals.reduce((a, b) => a + b), count);
      for (const first of [0, count]) {
        const own = checkOrder(plan.order.slice(first, first + count), count);
        assert(own.slice(0, 6).every((cell) => cross[cell]), order);
      }
    }
  }
  assertThrows(() => planEdit([1], grid, 1), TypeError, "expected the mask to have 12 cells");
});

Deno.test("small grids are placed within large ones, or refused", () => {
  const small = { height: 2, width: 2 };
  const at = { row: 1, column: 2 };
  const placed = placeTokens([1, 2, 3, 4, 5, 6, 7, 8], small, grid, at);
  assertEquals([...placed.tokens.subarray(0, count)], [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 3, 4]);
  assertEquals([...placed.tokens.subarray(count)], [0, 0, 0, 0, 0, 0, 5, 6, 0, 0, 7, 8]);
  assertEquals([...placed.keep], [0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1]);
  assertThrows(() => placeTokens([1], { height: 1, width: 1 }, grid, { row: 3, column: 0 }));
});

Deno.test("one pixel of a mask gives up its cell", () => {
  const replace = new Uint8Array(6 * 12);
  replace[4 * 12 + 8] = 1;
  const keep = keptCells(replace, 12, grid);
  assertEquals([...keep.keys()].filter((cell) => !keep[cell]), [2 * 4 + 2]);
});
