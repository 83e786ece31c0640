import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { readSafetensors, writeSafetensors } from "../lib/formats/safetensors.ts";
import { keyFromSeed } from "../lib/random/threefry.ts";
import { type Tensor, tensor } from "../lib/tensor.ts";
import { treeEntries } from "../lib/tree.ts";
import { jit } from "../lib/transforms/jit.ts";
import { grad, valueAndGrad } from "../lib/transforms/vjp.ts";
import { normal, randint, uniform } from "../ops/distributions.ts";
import { max, sum } from "../ops/reduce.ts";
import { abs, mul } from "../ops/arithmetic.ts";
import { square } from "../ops/power.ts";
import { slice } from "../ops/slice.ts";
import { key } from "../ops/random.ts";
import { adamw } from "../ops/optimizers/adamw.ts";
import type { Comparison } from "../models/comparison.ts";
import { fmt } from "../models/fmt/config.ts";
import { fmtParameters } from "../models/fmt/network.ts";
import { countParameters, createParameters } from "../models/layers/parameter.ts";
import { convertWeights, findLlamagenModel } from "../models/llamagen/convert.ts";
import { gptLogits, gptLoss, type GptParameters, gptParameters } from "../models/llamagen/gpt.ts";
import { gpt, type GptInput, gptPreset, type gptPresets } from "../models/llamagen/gpt_config.ts";
import { type GptSampleOptions, sampleGpt } from "../models/llamagen/gpt_sample.ts";
import {
  verifyLlamagenFilter,
  verifyLlamagenGpt,
  verifyLlamagenVq,
} from "../models/llamagen/verify.ts";
import {
  encodeLlamagenImages,
  type LlamagenVqParameters,
  llamagenVqParameters,
  reconstructLlamagenImages,
} from "../models/llamagen/vq.ts";
import { llamagenVq } from "../models/llamagen/vq_config.ts";
import { warmStart } from "../models/llamagen/warm_start.ts";
import { loadParameters, openWeights } from "../models/llamagen/weights.ts";
import { testOnDevices } from "./devices.ts";

const fixtures = new URL("./fixtures", import.meta.url).pathname;

/** A GPT of 12 tokens whose logits differ: the output head does not start at zero. */
function makeGpt(config: GptInput = {}) {
  const model = gpt({
    grid: { height: 3, width: 4 },
    dim: 16,
    heads: 2,
    layers: 2,
    vocabulary: 20,
    classes: 3,
    ffnMultiple: 8,
    initScale: 0.1,
    ...config,
  });
  const params: GptParameters = createParameters(gptParameters(model), key(1));
  return { model, params: { ...params, output: { weight: mul(normal(key(2), [20, 16]), 0.3) } } };
}

function makeVq() {
  const model = llamagenVq({
    channels: 4,
    groups: 2,
    encoderMultipliers: [1, 2],
    decoderMultipliers: [1, 2],
    blocks: 1,
    latentChannels: 4,
    codes: 8,
    codeChannels: 2,
  });
  const params: LlamagenVqParameters = createParameters(llamagenVqParameters(model), key(3));
  return { model, params };
}

function assertAllOk(rows: Comparison[], atLeast: number): void {
  assert(rows.length >= atLeast, `${rows.length} comparisons`);
  for (const { name, error, tolerance, ok } of rows) {
    assert(ok, `${name}: expected at most ${tolerance} but found ${error}`);
  }
}

async function equalTensors(a: Tensor, b: Tensor): Promise<boolean> {
  const [x, y] = [await a.data(), await b.data()];
  return String(a.shape) === String(b.shape) && x.every((value, i) => value === y[i]);
}

testOnDevices("the tokenizer gives the codes and images of LlamaGen's own", async () => {
  assertAllOk(await verifyLlamagenVq(`${fixtures}/llamagen_vq`), 11);
});

testOnDevices("the GPT gives logits, gradients and guided tokens of LlamaGen's own", async () => {
  assertAllOk(await verifyLlamagenGpt(`${fixtures}/llamagen_gpt`), 85);
});

testOnDevices("temperature, top-k and top-p keep what LlamaGen's own keep", async () => {
  assertAllOk(await verifyLlamagenFilter(`${fixtures}/llamagen_filter`), 14);
});

Deno.test("the released models have the parameter counts published", () => {
  const tokenizers = { "VQ-16": 71_883_403, "VQ-8": 70_109_835 } as const;
  for (const [name, count] of Object.entries(tokenizers)) {
    const model = llamagenVq(name as keyof typeof tokenizers);
    assertEquals(countParameters(llamagenVqParameters(model)), count);
  }
  const { encoder, decoder } = llamagenVqParameters(llamagenVq("VQ-16"));
  assertEquals([countParameters(encoder), countParameters(decoder)], [29_298_176, 42_449_795]);
  const millions = { "GPT-B": 111, "GPT-L": 343, "GPT-XL": 775, "GPT-XXL": 1411, "GPT-3B": 3097 };
  for (const [name, count] of Object.entries(millions)) {
    const parameters = gptParameters(gptPreset(name as keyof typeof gptPresets, 384));
    assertEquals(Math.round(countParameters(parameters) / 1e6), count, name);
  }
});

testOnDevices("an image does not depend on its batch, and draws come from the key", async () => {
  const { model, params } = makeGpt();
  const draw = async (labels: number[], more: Partial<GptSampleOptions> = {}) => {
    const options = { labels, key: keyFromSeed(5), guidance: 1.5, topK: 15, topP: 0.95, ...more };
    return await (await sampleGpt(model, params, options)).toArray() as number[][];
  };
  const [first, second] = await draw([0, 2]);
  assertEquals((await draw([2], { firstImage: 1 }))[0], second);
  assertEquals((await draw([0]))[0], first);
  const other = await draw([0], { key: keyFromSeed(6) });
  assert(String(other[0]) !== String(first));
  assert(first!.every((token) => token >= 0 && token < 20));
});

testOnDevices(
  "cached logits are those of the whole sequence, unguided after an interval",
  async () => {
    const { model, params } = makeGpt();
    const steps: { raw: Tensor; guided: Tensor }[] = [];
    const tokens = await sampleGpt(model, params, {
      labels: [1, 2],
      guidance: 3,
      guidanceSchedule: "interval",
      guidanceInterval: [1, 3], // LlamaGen's cfg_interval of 1
      key: keyFromSeed(1),
      keepLogits: true,
      async onStep({ logits, known, tokens }) {
        steps.push(logits!);
        assertEquals([known, (await tokens()).length], [steps.length, 2 * known]);
      },
    });
    assertEquals(steps.length, 12);
    const whole = gptLogits(model, params, { labels: tensor([1, 2], { dtype: "i32" }), tokens });
    for (const [i, { raw, guided }] of steps.entries()) {
      const conditional = await slice(raw, [[0, 2]]).data();
      const unconditional = await slice(raw, [[2, 4]]).data();
      const wanted = await slice(whole, [null, i]).data();
      const found = await guided.data();
      const scale = i <= 2 ? 3 : 1; // decode steps 0 and 1 follow the first token
      for (const [j, value] of wanted.entries()) {
        assert(Math.abs(value - conditional[j]!) < 1e-5);
        const mixed = unconditional[j]! + (conditional[j]! - unconditional[j]!) * scale;
        assert(Math.abs(found[j]! - mixed) < 1e-5, `token ${i}`);
      }
    }
  },
);

testOnDevices(
  "the GPT learns a sequence by heart, with dropout and recomputed layers",
  async () => {
    const { model, params: first } = makeGpt();
    const labels = tensor([0, 1], { dtype: "i32" });
    const tokens = randint(key(4), [2, 12], 0, 20);
    const step = jit(
      (params: GptParameters, state: ReturnType<typeof adamw.init<GptParameters>>, key: Tensor) => {
        const loss = (params: GptParameters) =>
          gptLoss(model, params, { labels, tokens }, { key, checkpoint: true });
        const [value, gradients] = valueAndGrad(loss)(params);
        return [value, ...adamw.update(params, gradients, state, { learningRate: 0.02 })] as const;
      },
      { donate: [0, 1] },
    );
    const before = await gptLoss(model, first, { labels, tokens }).item();
    let params: GptParameters = createParameters(gptParameters(model), key(1));
    let state = adamw.init(params);
    for (let i = 0; i < 40; i++) {
      let loss: Tensor;
      [loss, params, state] = step(params, state, key(i));
      await loss.data();
    }
    const after = await gptLoss(model, params, { labels, tokens }).item();
    assert(before > 2.5 && after < 0.7, `${before} to ${after}`);
  },
  ["wasm", "webgpu"],
);

testOnDevices(
  "gradients pass the choice of codes, and only the codebook's loss reaches the codebook",
  async () => {
    const { model, params } = makeVq();
    const images = uniform(key(5), [2, 3, 4, 4], { low: -1, high: 1 });
    const largest = async (loss: (params: LlamagenVqParameters) => Tensor) => {
      const gradients = grad(loss)(params);
      const size = async (x: Tensor) => await max(abs(x)).item();
      return {
        encoder: await size(gradients.encoder.conv_in.weight),
        codebook: await size(gradients.quantize.embedding.weight),
      };
    };
    const run = (params: LlamagenVqParameters) => reconstructLlamagenImages(model, params, images);
    const reconstruction = await largest((params) => sum(square(run(params).images)));
    assert(reconstruction.encoder > 1e-3);
    assertEquals(reconstruction.codebook, 0);
    const codebook = await largest((params) => run(params).codebook);
    assert(codebook.codebook > 1e-4);
    assertEquals(codebook.encoder, 0);
    const commitment = await largest((params) => run(params).commitment);
    assert(commitment.encoder > 1e-5);
    assertEquals(commitment.codebook, 0);
    assertEquals(run(params).codes.shape, [2, 2, 2]);
  },
  ["reference", "wasm"],
);

Deno.test("a checkpoint of LlamaGen's GPT loads from .pt, and converted from .safetensors", async () => {
  const source = `${fixtures}/llamagen_pt/gpt.pt`;
  const to = await Deno.makeTempFile({ suffix: ".safetensors" });
  const model = await convertWeights(source, to, { grid: { height: 2, width: 2 } });
  assert(model.kind === "llamagen-gpt");
  // A width of 8 is no released one: its two heads of width 4 are for the caller to say.
  assertEquals([model.dim, model.layers, model.vocabulary, model.classes], [8, 2, 16, 3]);
  const tree = gptParameters(model);
  const [a, b] = [await loadParameters(tree, source), await loadParameters(tree, to)];
  const converted = new Map(treeEntries(b));
  for (const [name, value] of treeEntries(a)) {
    assert(await equalTensors(value, converted.get(name)!), name);
  }
  assertEquals((await a.norm.weight.data())[0], -0.07666015625);
  const { metadata } = await readSafetensors(to);
  assertEquals(JSON.parse(metadata.model!), model);
  await Deno.remove(to);
});

Deno.test("a tokenizer is told by its shapes, and converted without its unused buffer", async () => {
  const from = `${fixtures}/llamagen_vq/weights.safetensors`;
  const to = await Deno.makeTempFile({ suffix: ".safetensors" });
  const model = await convertWeights(from, to);
  assert(model.kind === "llamagen-vq");
  const wanted = {
    channels: 32,
    encoderMultipliers: [2, 1],
    decoderMultipliers: [2, 1],
    blocks: 1,
    latentChannels: 32,
    codes: 64,
  };
  assertEquals(model, llamagenVq(wanted));
  const { tensors } = await readSafetensors(to);
  assertEquals([tensors["quantize.codebook_used"], tensors["encoder.conv_in.bias"]!.dtype], [
    undefined,
    "F32",
  ]);
  await Deno.remove(to);
  await using released = await openWeights(from);
  assertEquals(findLlamagenModel(released.entries), model);
});

Deno.test("weights that do not fit are refused, with every name", async () => {
  const path = await Deno.makeTempFile();
  const data = new Float32Array(4);
  await writeSafetensors(path, {
    "norm.weight": { dtype: "F32", shape: [4], data },
    "output.weight": { dtype: "I32", shape: [16, 8], data: new Int32Array(128) },
    "quantize.codebook_used": { dtype: "F32", shape: [4], data },
    "surplus": { dtype: "F32", shape: [2, 2], data },
  });
  const { message } = await assertRejects(
    () => loadParameters(gptParameters(gpt({ dim: 8, heads: 2, layers: 1, vocabulary: 16 })), path),
    TypeError,
    `expected ${path} to hold the model's parameters`,
  );
  for (
    const line of [
      "missing tok_embeddings.weight [16, 8]",
      "missing layers.0.attention.wqkv.weight [24, 8]",
      "expected norm.weight [8] but found [4]",
      "expected output.weight of a floating-point type but found I32",
      "unexpected surplus [2, 2]",
    ]
  ) assert(message.includes(line), line);
  assert(!message.includes("codebook_used"));
  await assertRejects(() => convertWeights(path, path), Error, "names of LlamaGen's checkpoints");
  await Deno.remove(path);
});

Deno.test("a Fully Masked Transformer starts from the GPT's layers", () => {
  const { params: source } = makeGpt({ layers: 4 });
  const model = fmt({
    dim: 16,
    heads: 2,
    encoderLayers: 2,
    decoderLayers: 2,
    vocabulary: 20,
    classes: 3,
    ffnMultiple: 8,
  });
  const fresh = createParameters(fmtParameters(model), key(9));
  const warm = warmStart(fresh, source);
  assertEquals(
    treeEntries(warm).map(([name]) => name).sort(),
    treeEntries(fresh).map(([name]) => name).sort(),
  );
  assertEquals(warm.encoder[1]!.attention.wqkv.weight, source.layers[1]!.attention.wqkv.weight);
  assertEquals(warm.decoder[0]!.feed_forward.w2.weight, source.layers[2]!.feed_forward.w2.weight);
  assertEquals(warm.decoder[1]!.cross_attention, fresh.decoder[1]!.cross_attention);
  assertEquals([warm.output, warm.mask_embedding], [source.output, fresh.mask_embedding]);
  assertThrows(
    () => warmStart(fresh, makeGpt({ layers: 3 }).params),
    TypeError,
    "expected a GPT of 2 + 2 layers but found 3",
  );
  assertThrows(
    () => warmStart(fresh, makeGpt({ layers: 4, classes: 5 }).params),
    TypeError,
    "expected the GPT's cls_embedding.embedding_table.weight to have shape [4, 16] but found [6, 16]",
  );
});

Deno.test("wrong configurations and inputs are refused", async () => {
  assertThrows(() => gpt({ dim: 24, heads: 4 }), RangeError, "multiple of 4");
  assertThrows(
    () => gptPreset("GPT-2B" as "GPT-3B"),
    RangeError,
    "expected name to be one of GPT-B",
  );
  assertThrows(() => gptPreset("GPT-B", 250), RangeError, "grid: height");
  assertThrows(() => llamagenVq({ channels: 100 }), RangeError, "multiple of the 32 groups");
  assertThrows(() => llamagenVq({ decoderMultipliers: [1] }), RangeError, "expected 5 levels");
  const { model, params } = makeGpt();
  const labels = tensor([0], { dtype: "i32" });
  const tokens = tensor([1, 2], { shape: [1, 2], dtype: "i32" });
  assertThrows(
    () => gptLogits(model, params, { labels, tokens }),
    TypeError,
    "expected tokens to have shape [1, 12] but found [1, 2]",
  );
  await assertRejects(() => sampleGpt(model, params, { labels: [0] }), TypeError, "a key");
  await assertRejects(
    () => sampleGpt(model, params, { labels: [4], greedy: true }),
    RangeError,
    "labels in 0..3 but found 4",
  );
  const { model: vq, params: vqParams } = makeVq();
  assertThrows(
    () => encodeLlamagenImages(vq, vqParams, normal(key(0), [1, 3, 4, 5])),
    TypeError,
    "multiples of 2, but found shape [1, 3, 4, 5]",
  );
});
