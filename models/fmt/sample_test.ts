import { assert, assertEquals, assertRejects } from "@std/assert";
import { keyFromSeed } from "../../lib/random/threefry.ts";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { mul } from "../../ops/arithmetic.ts";
import { normal } from "../../ops/distributions.ts";
import { key } from "../../ops/random.ts";
import { testOnDevices } from "../../tests/devices.ts";
import { init } from "../model.ts";
import { visibleCounts } from "../sar/masks.ts";
import { parseRecipe } from "../sar/recipe.ts";
import { drawSampling } from "../sar/sampling.ts";
import { fmt, type FmtInput } from "./config.ts";
import { fmtLogits } from "./fmt.ts";
import { sample, type SampleOptions } from "./sample.ts";
import { cachedStep } from "./sampling_step.ts";

const grid = { height: 3, width: 4 };
const count = 12;

/** A small model whose logits differ from place to place: the output head does not start at zero. */
function makeModel(config: FmtInput = {}) {
  const model = fmt({
    grid,
    dim: 24,
    heads: 2,
    encoderLayers: 2,
    decoderLayers: 2,
    vocabulary: 20,
    classes: 3,
    ffnMultiple: 8,
    initScale: 0.1,
    ...config,
  });
  const params = init(model, key(1));
  return { model, params: { ...params, output: { weight: mul(normal(key(2), [20, 24]), 0.3) } } };
}

function recipeOptions(name: string, images: number): SampleOptions {
  return {
    labels: Array.from({ length: images }, (_, i) => i % 3),
    ...drawSampling(parseRecipe(name), grid, keyFromSeed(7), images),
  };
}

async function tokensOf(sampled: Promise<Tensor>): Promise<number[]> {
  return Array.from(await (await sampled).data());
}

const recipes = [
  "ar",
  "next-scale",
  "random-6-random",
  "random-2-mar",
  "snake-5-cosine",
  "random-1-random",
];

testOnDevices(
  "cached logits are those of the whole sequence at once, for every recipe",
  async () => {
    const { model, params } = makeModel();
    for (const name of recipes) {
      const options = recipeOptions(name, 2);
      const steps: { first: number; raw: Float32Array; size: number }[] = [];
      const cells = await tokensOf(sample(model, params, {
        ...options,
        guidance: 2,
        keepLogits: true,
        async onStep({ known, logits }) {
          const size = logits!.raw.shape[1]!;
          const raw = await logits!.raw.data() as Float32Array;
          steps.push({ first: known - size, raw, size });
        },
      }));
      const shared = options.order.length === count;
      const orders = Array.from(
        { length: 2 * count },
        (_, i) => options.order[shared ? i % count : i]!,
      );
      const sequence = orders.map((cell, i) => cells[i - i % count + cell]!);
      const known = sequence.filter((_, i) => i % count < count - 1);
      const visible = visibleCounts(options.intervals, { encoderTokens: count - 1 });
      const row = (data: Int32Array) => tensor(data, { shape: [1, data.length] });
      const twice = (data: readonly number[], length: number) =>
        tensor(Int32Array.from([...data, ...data]), { shape: [4, length] });
      const whole = await fmtLogits(model, params, {
        labels: tensor(Int32Array.of(...Array.from(options.labels), 3, 3)),
        tokens: twice(known, count - 1),
        positions: twice(orders, count),
        encoderVisible: row(visible.encoder),
        decoderVisible: row(visible.decoder),
        crossVisible: row(visible.cross),
      }).data();
      let largest = 0;
      for (const { first, raw, size } of steps) {
        for (const [i, logit] of raw.entries()) {
          const image = Math.floor(i / (size * 20));
          const at = (image * count + first) * 20 + i % (size * 20);
          largest = Math.max(largest, Math.abs(logit - whole[at]!));
        }
      }
      assertEquals(steps.reduce((sum, { size }) => sum + size, 0), count);
      assert(largest <= 1e-5, `${name}: logits differ by ${largest}`);
    }
  },
);

testOnDevices("sampling draws the same tokens with and without caches", async () => {
  const { model, params } = makeModel({ queryPosition: "learned", encoderFinalNorm: true });
  const options = {
    ...recipeOptions("random-3-random", 2),
    guidance: 1.5,
    guidanceSchedule: "linear",
    temperature: 0.9,
    topK: 12,
    topP: 0.95,
  } as const;
  const cached = await tokensOf(sample(model, params, options));
  assertEquals(await tokensOf(sample(model, params, { ...options, cache: false })), cached);
});

testOnDevices("an image is the same in any batch", async () => {
  const { model, params } = makeModel();
  const options = recipeOptions("snake-5-cosine", 3);
  const all = await tokensOf(sample(model, params, options));
  const last = await tokensOf(sample(model, params, { ...options, labels: [2], firstImage: 2 }));
  assertEquals(last, all.slice(2 * count));
  const other = await tokensOf(sample(model, params, { ...options, labels: [2], firstImage: 1 }));
  assert(String(other) !== String(last));
}, ["reference", "wasm"]);

testOnDevices(
  "one token a step takes one program, which allocates nothing when repeated",
  async (device) => {
    const { model, params } = makeModel({ dim: 16 });
    const small = { ...params, output: { weight: normal(key(2), [20, 16]) } };
    const before = cachedStep.traces;
    const allocations: number[] = [];
    const submissions: number[] = [];
    await sample(model, small, {
      ...recipeOptions("ar", 2),
      guidance: 2,
      onStep() {
        allocations.push(device.counters.allocations);
        submissions.push(device.counters.submissions);
      },
    });
    assertEquals(cachedStep.traces, before + 1);
    assertEquals(allocations.slice(1), new Array(count - 1).fill(allocations[1]));
    assertEquals(submissions.map((n) => n - submissions[0]!), [...Array(count).keys()]);
    assert(!/copy/.test(cachedStep.plan()), "caches are updated in place");
  },
);

testOnDevices("given tokens stay, and a step reports which tokens are known", async () => {
  const { model, params } = makeModel();
  const options = { ...recipeOptions("snake-5-cosine", 2), intervals: [3, 4, 5] };
  const given = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14];
  const seen: Int32Array[] = [];
  const cells = await tokensOf(sample(model, params, {
    ...options,
    given,
    async onStep(step) {
      seen.push(await step.tokens());
    },
  }));
  for (const image of [0, 1]) {
    const sequence = Array.from(options.order, (cell) => cells[image * count + cell]!);
    assertEquals(sequence.slice(0, 7), given.slice(image * 7, image * 7 + 7));
    const knownFirst = Array.from(options.order, (cell) => seen[0]![image * count + cell]! >= 0);
    assertEquals(knownFirst, Array.from({ length: count }, (_, i) => i < 3));
  }
  assertEquals(Array.from(seen[2]!), cells);
  await assertRejects(
    () => sample(model, params, { ...options, given: given.slice(0, 8) }),
    TypeError,
    "whole leading sets",
  );
}, ["reference"]);

testOnDevices("full attention is masked attention where there is one set", async () => {
  const { model, params } = makeModel();
  const options = recipeOptions("random-1-random", 2);
  const masked = await tokensOf(sample(model, params, options));
  for (const attention of ["full-decoder", "full"] as const) {
    assertEquals(await tokensOf(sample(model, params, { ...options, attention })), masked);
  }
}, ["reference"]);

testOnDevices("full attention lets no token influence the sets before it", async () => {
  const { model, params } = makeModel();
  const options = { ...recipeOptions("snake-5-cosine", 1), intervals: [5, 5, 2] };
  for (const attention of ["full-decoder", "full"] as const) {
    const first: string[] = [];
    // Given tokens stand in the sequence from the start: the first set must not see them.
    for (const given of [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [1, 2, 3, 4, 5, 11, 12, 13, 14, 15]]) {
      await sample(model, params, {
        ...options,
        given,
        attention,
        keepLogits: true,
        async onStep({ set, logits }) {
          if (set <= 2) first.push(String(await logits!.raw.data()));
        },
      });
    }
    assertEquals(first[0], first[2]);
    assertEquals(first[1], first[3]);
  }
}, ["reference"]);

testOnDevices("sampling refuses labels, orders, intervals and keys that do not fit", async () => {
  const { model, params } = makeModel();
  const options = recipeOptions("ar", 1);
  const refuses = (changed: Partial<SampleOptions>, type: typeof TypeError, message: string) =>
    assertRejects(() => sample(model, params, { ...options, ...changed }), type, message);
  await refuses({ labels: [4] }, RangeError as typeof TypeError, "labels in 0..3");
  await refuses({ order: [0, 1] }, TypeError, "order to hold 12 cells");
  await refuses({ intervals: [11] }, RangeError as typeof TypeError, "add up to 12");
  await refuses({ key: undefined }, TypeError, "expected a key");
}, ["reference"]);
