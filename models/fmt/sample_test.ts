import { assert, assertEquals, assertRejects } from "@std/assert";
import { keyFromSeed } from "../../lib/random/threefry.ts";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { mul } from "../../ops/arithmetic.ts";
import { normal } from "../../ops/distributions.ts";
import { key } from "../../ops/random.ts";
import { testOnDevices } from "../../tests/devices.ts";
import { init } from "../model.ts";
import { visibleCounts } from "../sar/masks.ts";
import { parseRecipe, PRESETS } from "../sar/recipe.ts";
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

function recipeOptions(name: string, images: number, on = grid): SampleOptions {
  return {
    labels: Array.from({ length: images }, (_, i) => i % 3),
    ...drawSampling(parseRecipe(name), on, keyFromSeed(7), images),
  };
}

async function tokensOf(sampled: Promise<Tensor>): Promise<number[]> {
  return Array.from(await (await sampled).data());
}

/** The largest difference of the logits while sampling from those of the whole sequence at once. */
async function logitDifference(
  { model, params }: ReturnType<typeof makeModel>,
  options: SampleOptions,
): Promise<number> {
  const count = model.grid.height * model.grid.width;
  const images = options.labels.length, width = model.vocabulary;
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
    { length: images * count },
    (_, i) => options.order[shared ? i % count : i]!,
  );
  const sequence = orders.map((cell, i) => cells[i - i % count + cell]!);
  const known = sequence.filter((_, i) => i % count < count - 1);
  const visible = visibleCounts(options.intervals, { encoderTokens: count - 1 });
  const row = (data: Int32Array) => tensor(data, { shape: [1, data.length] });
  const twice = (data: readonly number[], length: number) =>
    tensor(Int32Array.from([...data, ...data]), { shape: [2 * images, length] });
  const nulls = new Array<number>(images).fill(model.classes);
  const whole = await fmtLogits(model, params, {
    labels: tensor(Int32Array.of(...Array.from(options.labels), ...nulls)),
    tokens: twice(known, count - 1),
    positions: twice(orders, count),
    encoderVisible: row(visible.encoder),
    decoderVisible: row(visible.decoder),
    crossVisible: row(visible.cross),
  }).data();
  let largest = 0;
  for (const { first, raw, size } of steps) {
    for (const [i, logit] of raw.entries()) {
      const image = Math.floor(i / (size * width));
      const at = (image * count + first) * width + i % (size * width);
      largest = Math.max(largest, Math.abs(logit - whole[at]!));
    }
  }
  assertEquals(steps.reduce((sum, { size }) => sum + size, 0), count);
  return largest;
}

const recipes = [
  "random-6-random",
  "snake-5-cosine",
  "random-1-random",
  "hilbert-4-uniform",
  "halton-N-arccos",
  "spiral-out-next-scale",
];

testOnDevices(
  "cached logits are those of the whole sequence at once, for every recipe",
  async () => {
    const made = makeModel();
    for (const name of recipes) {
      const largest = await logitDifference(made, recipeOptions(name, 2));
      assert(largest <= 1e-5, `${name}: logits differ by ${largest}`);
    }
  },
);

testOnDevices(
  "cached logits are those of the whole sequence at once, for every preset, with and without given sets",
  async () => {
    const wide = { height: 4, width: 5 };
    const made = makeModel({ grid: wide, encoderLayers: 1, decoderLayers: 1 });
    for (const name of Object.keys(PRESETS)) {
      const options = recipeOptions(name, 3, wide);
      const length = options.intervals[0]!;
      const given = Array.from({ length: 3 * length }, (_, i) => i % 20);
      for (const more of [{}, { given }]) {
        const largest = await logitDifference(made, { ...options, ...more });
        assert(largest <= 1e-5, `${name}: logits differ by ${largest}`);
      }
    }
  },
  ["reference", "wasm"],
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
  const recipe = parseRecipe("random-5-cosine");
  const ofBatch = (images: number, firstImage: number, decoding: SampleOptions["decoding"]) =>
    tokensOf(sample(model, params, {
      ...drawSampling(recipe, grid, keyFromSeed(7), images, firstImage),
      labels: new Array(images).fill(2),
      guidance: 2,
      decoding,
    }));
  for (const decoding of ["order", "confidence"] as const) {
    const all = await ofBatch(3, 0, decoding);
    assertEquals([...await ofBatch(2, 0, decoding), ...await ofBatch(1, 2, decoding)], all);
    assert(String(all.slice(0, count)) !== String(all.slice(count, 2 * count)));
  }
}, ["reference", "wasm"]);

testOnDevices("guidance that is off, or 1 for every set, changes nothing", async () => {
  const { model, params } = makeModel();
  const options = recipeOptions("snake-5-cosine", 2);
  const plain = await tokensOf(sample(model, params, options));
  const tokens = (more: Partial<SampleOptions>) =>
    tokensOf(sample(model, params, { ...options, guidance: 4, ...more }));
  assertEquals(await tokens({ guidanceSchedule: "off" }), plain);
  const interval = { guidanceSchedule: "interval" } as const;
  assertEquals(await tokens({ ...interval, guidanceInterval: [6, 9] }), plain);
  const guided = await tokens({});
  assertEquals(await tokens({ ...interval, guidanceInterval: [1, 5] }), guided);
  assert(String(guided) !== String(plain));
}, ["reference"]);

testOnDevices("each set has the guidance and the temperature of its schedule", async () => {
  const { model, params } = makeModel();
  const options = {
    ...recipeOptions("raster-4-uniform", 1),
    guidance: 3,
    guidanceSchedule: "cosine",
    keepLogits: true,
  } as const;
  await sample(model, params, {
    ...options,
    async onStep({ known, logits }) {
      const raw = await logits!.raw.data(), guided = await logits!.guided.data();
      const scale = 1 + (1 - Math.cos(Math.PI * known / count));
      const half = raw.length / 2;
      guided.forEach((logit, i) => {
        const wanted = raw[half + i]! + (raw[i]! - raw[half + i]!) * scale;
        assert(Math.abs(logit - wanted) < 1e-5);
      });
    },
  });
  // At a temperature of nearly 0 the most likely token is drawn: here in the last set, not in the first.
  const first: number[][] = [], last: number[][] = [];
  for (const more of [{ greedy: true }, { temperature: 50, finalTemperature: 0 }]) {
    const given = [1, 2, 3, 4, 5, 6, 7, 8, 9];
    const cells = await tokensOf(sample(model, params, { ...options, ...more, given }));
    last.push(cells.slice(9));
    first.push((await tokensOf(sample(model, params, { ...options, ...more }))).slice(0, 3));
  }
  assertEquals(last[0], last[1]);
  assert(String(first[0]) !== String(first[1]));
  await assertRejects(
    () => sample(model, params, { ...options, finalTemperature: -1 }),
    RangeError,
    "finalTemperature",
  );
}, ["reference"]);

testOnDevices(
  "decoding by confidence keeps the surest tokens of each step, and given ones",
  async () => {
    const { model, params } = makeModel();
    const options = {
      ...recipeOptions("random-2-uniform", 2),
      intervals: [3, 2, 4, 3],
      decoding: "confidence",
      guidance: 2,
    } as const;
    const given = [1, 2, 3, 4, 5, 6];
    const seen: Int32Array[] = [];
    const cells = await tokensOf(sample(model, params, {
      ...options,
      greedy: true,
      given,
      async onStep(step) {
        seen.push(await step.tokens());
      },
    }));
    // What the first step should choose: all that is unknown as one set, on the reference path.
    const logits: Float32Array[] = [];
    await sample(model, params, {
      ...options,
      decoding: "order",
      intervals: [3, 9],
      greedy: true,
      given,
      keepLogits: true,
      async onStep(step) {
        logits.push(await step.logits!.guided.data() as Float32Array);
      },
    });
    for (const image of [0, 1]) {
      const order = options.order.length === count
        ? Array.from(options.order)
        : Array.from(options.order).slice(image * count, (image + 1) * count);
      const wanted = new Array<number>(count).fill(-1);
      order.slice(0, 3).forEach((cell, i) => wanted[cell] = given[image * 3 + i]!);
      const rows = order.slice(3).map((cell, i) => {
        const row = Array.from(logits[1]!.subarray((image * 9 + i) * 20, (image * 9 + i + 1) * 20));
        const total = row.reduce((sum, logit) => sum + Math.exp(logit), 0);
        const top = Math.max(...row);
        return { cell, token: row.indexOf(top), confidence: top - Math.log(total) };
      });
      rows.sort((a, b) => b.confidence - a.confidence);
      for (const { cell, token } of rows.slice(0, 2)) wanted[cell] = token;
      assertEquals(Array.from(seen[1]!.slice(image * count, (image + 1) * count)), wanted);
    }
    const known = seen.map((tokens) => tokens.filter((token) => token >= 0).length / 2);
    assertEquals(known, [3, 5, 9, 12]);
    seen.forEach((tokens) => tokens.forEach((token, i) => assert(token < 0 || token === cells[i])));
  },
);

testOnDevices("one set by confidence draws all tokens at once, under any attention", async () => {
  const { model, params } = makeModel();
  const options = { ...recipeOptions("random-1-random", 2), greedy: true };
  const masked = await tokensOf(sample(model, params, options));
  for (const attention of ["masked", "full-decoder", "full"] as const) {
    const more = { attention, decoding: "confidence" } as const;
    assertEquals(await tokensOf(sample(model, params, { ...options, ...more })), masked);
  }
}, ["reference"]);

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

testOnDevices("sampling gives its caches back when it ends", async (device) => {
  const wide = { height: 16, width: 16 };
  const { model, params } = makeModel({ grid: wide });
  const options = { ...recipeOptions("fixed-random-2-uniform", 1, wide), guidance: 2 };
  await tokensOf(sample(model, params, options)); // weights and programs stay
  const before = device.counters.bytesLive;
  await tokensOf(sample(model, params, options));
  const oneCache = 2 * model.dim * wide.height * wide.width * 4;
  const kept = device.counters.bytesLive - before;
  assert(kept < oneCache, `${kept} bytes are kept`);
}, ["wasm", "webgpu"]);
