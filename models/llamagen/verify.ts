/** Checks tokenizer, GPT and filter against fixture folders computed by LlamaGen's own code. */
import { z } from "npm:zod@4.6.7";
import { readSafetensors, type SafetensorsTensor } from "../../lib/formats/safetensors.ts";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { treeEntries } from "../../lib/tree.ts";
import { jit } from "../../lib/transforms/jit.ts";
import { valueAndGrad } from "../../lib/transforms/vjp.ts";
import { filterLogits } from "../../ops/filter_logits.ts";
import { slice } from "../../ops/slice.ts";
import { softmax } from "../../ops/softmax.ts";
import { compare, compareTensor, type Comparison, tolerances } from "../comparison.ts";
import { arrayOf, type Arrays, integersOf } from "../fmt/fixture.ts";
import { gptLogits, gptLoss, type GptParameters, gptParameters, gptRotation } from "./gpt.ts";
import { gpt } from "./gpt_config.ts";
import { sampleGpt } from "./gpt_sample.ts";
import {
  decodeLlamagenCodes,
  decodeVectors,
  encodeLlamagenImages,
  type LlamagenVqParameters,
  llamagenVqParameters,
} from "./vq.ts";
import { llamagenVq } from "./vq_config.ts";
import { loadParameters } from "./weights.ts";

/** Largest absolute differences of decoded images and of filtered probabilities. */
const decodedTolerance = 5e-4, probabilityTolerance = 1e-6;

/**
 * Tells by its `config.json` which of LlamaGen's fixtures a folder holds.
 *
 * @param config What the file says.
 * @returns The function that compares such a folder; undefined if it is none of LlamaGen's.
 */
export function findLlamagenVerifier(
  config: { args?: Record<string, unknown>; cases?: unknown },
): ((folder: string) => Promise<Comparison[]>) | undefined {
  if (config.args?.encoder_ch_mult) return verifyLlamagenVq;
  if (config.args?.n_layer) return verifyLlamagenGpt;
  if (config.cases) return verifyLlamagenFilter;
}

const vqSchema = z.object({
  args: z.object({
    encoder_ch_mult: z.array(z.number()),
    decoder_ch_mult: z.array(z.number()),
    z_channels: z.number(),
    codebook_size: z.number(),
    codebook_embed_dim: z.number(),
    codebook_l2_norm: z.boolean(),
  }),
  changed_constructor_default: z.object({ ch: z.number() }),
  num_res_blocks: z.number(),
}).transform(({ args, changed_constructor_default, num_res_blocks }) =>
  llamagenVq({
    channels: changed_constructor_default.ch,
    encoderMultipliers: args.encoder_ch_mult,
    decoderMultipliers: args.decoder_ch_mult,
    blocks: num_res_blocks,
    latentChannels: args.z_channels,
    codes: args.codebook_size,
    codeChannels: args.codebook_embed_dim,
    normalizeCodes: args.codebook_l2_norm,
  })
);

/**
 * Compares encoder outputs, latents, codes and decoded images on the current device.
 *
 * @param folder A folder with `config.json`, `weights.safetensors`, `io_*.safetensors` and `decode_*.safetensors`.
 * @returns A row for each quantity.
 */
export async function verifyLlamagenVq(folder: string): Promise<Comparison[]> {
  const model = await readConfig(folder, vqSchema);
  const params: LlamagenVqParameters = await loadParameters(
    llamagenVqParameters(model),
    `${folder}/weights.safetensors`,
  );
  const encode = jit((params: LlamagenVqParameters, images: Tensor) => {
    const encoding = encodeLlamagenImages(model, params, images);
    return { ...encoding, decoded: decodeVectors(model, params, encoding.quantized) };
  });
  const decode = jit((params: LlamagenVqParameters, codes: Tensor) =>
    decodeLlamagenCodes(model, params, codes)
  );
  const rows: Comparison[] = [];
  for (const file of await fileNames(folder)) {
    const size = /^(io|decode)_(.*)\.safetensors$/.exec(file);
    if (!size) continue;
    const arrays = await readArrays(folder, file);
    const check = async (name: string, found: Tensor, tolerance: number, stored = name) => {
      const wanted = arrayOf(arrays, stored);
      rows.push(await compareTensor(`${size[2]} ${name}`, found, wanted, tolerance));
    };
    if (size[1] === "decode") {
      const decoded = decode(params, tensorOf(arrays, "codes"));
      await check("decoded codes", decoded, decodedTolerance, "decoded");
      continue;
    }
    const { encoded, latent, codes, quantized, decoded } = encode(
      params,
      tensorOf(arrays, "image"),
    );
    await check("encoder_out", encoded, tolerances.logits);
    await check("latent", latent, tolerances.logits);
    await check("codes", codes, 0);
    await check("quant", quantized, tolerances.table);
    await check("decoded", decoded, decodedTolerance);
  }
  return rows;
}

const gptSchema = z.object({
  args: z.object({
    dim: z.number(),
    n_head: z.number(),
    n_layer: z.number(),
    multiple_of: z.number(),
    vocab_size: z.number(),
    num_classes: z.number(),
    block_size: z.number(),
    norm_eps: z.number(),
    rope_base: z.number(),
  }),
  sample: z.object({ cfg_scale: z.number() }),
}).transform(({ args, sample }) => {
  const side = Math.sqrt(args.block_size);
  const model = gpt({
    dim: args.dim,
    heads: args.n_head,
    layers: args.n_layer,
    ffnMultiple: args.multiple_of,
    vocabulary: args.vocab_size,
    classes: args.num_classes,
    grid: { height: side, width: side },
    normEpsilon: args.norm_eps,
    ropeBase: args.rope_base,
  });
  return { model, guidance: sample.cfg_scale };
});

/**
 * Compares rotary tables, logits, loss, gradients, and guided greedy decoding with a cache on the current device.
 *
 * @param folder A folder with `config.json` and `weights`, `io`, `grads` and `sample` as `.safetensors`.
 * @returns A row for each quantity.
 */
export async function verifyLlamagenGpt(folder: string): Promise<Comparison[]> {
  const { model, guidance } = await readConfig(folder, gptSchema);
  const params: GptParameters = await loadParameters(
    gptParameters(model),
    `${folder}/weights.safetensors`,
  );
  const io = await readArrays(folder, "io.safetensors");
  const inputs = { labels: tensorOf(io, "labels"), tokens: tensorOf(io, "codes") };
  const run = jit((params: GptParameters, batch: typeof inputs) => ({
    logits: gptLogits(model, params, batch),
    loss: valueAndGrad((params: GptParameters) => gptLoss(model, params, batch))(params),
  }));
  const { logits, loss: [loss, gradients] } = run(params, inputs);
  const angles = arrayOf(io, "freqs_cis");
  const { cos, sin } = gptRotation(model);
  const rows = [
    compare("cos", await cos.data(), everySecond(angles, 0), tolerances.table),
    compare("sin", await sin.data(), everySecond(angles, 1), tolerances.table),
    await compareTensor("logits", logits, arrayOf(io, "logits"), tolerances.logits),
    await compareTensor("loss", loss, arrayOf(io, "loss"), tolerances.loss),
  ];
  const stored = await readArrays(folder, "grads.safetensors");
  for (const [name, gradient] of treeEntries(gradients)) {
    const wanted = arrayOf(stored, name);
    const largest = (wanted.data as Float32Array).reduce((a, x) => Math.max(a, Math.abs(x)), 0);
    const tolerance = tolerances.gradient + tolerances.relativeGradient * largest;
    rows.push(await compareTensor(`grad ${name}`, gradient, wanted, tolerance));
  }
  const decoding = await readArrays(folder, "sample.safetensors");
  const labels = integersOf(decoding, "labels");
  const tokens = await sampleGpt(model, params, {
    labels,
    guidance,
    greedy: true,
    keepLogits: true,
    async onStep({ known, logits }) {
      const { raw, guided } = logits!;
      const check = async (part: string, found: Tensor, tolerance: number) => {
        const name = `step_${String(known).padStart(2, "0")}.${part}`;
        rows.push(compare(name, await found.data(), arrayOf(decoding, name), tolerance));
      };
      await check("cond", slice(raw, [[0, labels.length]]), tolerances.logits);
      await check("uncond", slice(raw, [[labels.length, null]]), tolerances.logits);
      await check("guided", guided, tolerances.guided);
    },
  });
  rows.push(await compareTensor("tokens", tokens, arrayOf(decoding, "codes"), 0));
  return rows;
}

const filterSchema = z.object({
  cases: z.array(z.object({
    name: z.string(),
    temperature: z.number(),
    top_k: z.number(),
    top_p: z.number(),
  })),
});

/**
 * Compares temperature, top-k and top-p with LlamaGen's on the current device.
 *
 * @param folder A folder with `config.json` and `io.safetensors`.
 * @returns Two rows for each setting.
 */
export async function verifyLlamagenFilter(folder: string): Promise<Comparison[]> {
  const { cases } = await readConfig(folder, filterSchema);
  const arrays = await readArrays(folder, "io.safetensors");
  const logits = tensorOf(arrays, "logits");
  const rows: Comparison[] = [];
  for (const { name, temperature, top_k, top_p } of cases) {
    const filtered = filterLogits(logits, { temperature, topK: top_k, topP: top_p });
    const kept = (await filtered.data()).map((logit) => Number(logit > -Infinity));
    const probabilities = await softmax(filtered).data();
    rows.push(
      compare(`${name} kept`, kept, arrayOf(arrays, `${name}.kept`), 0),
      compare(
        `${name} probs`,
        probabilities,
        arrayOf(arrays, `${name}.probs`),
        probabilityTolerance,
      ),
    );
  }
  return rows;
}

async function readConfig<T>(folder: string, schema: z.ZodType<T>): Promise<T> {
  const path = `${folder}/config.json`;
  const parsed = schema.safeParse(JSON.parse(await Deno.readTextFile(path)));
  if (parsed.success) return parsed.data;
  const { path: field, message } = parsed.error.issues[0]!;
  throw new Error(`verify: ${path}: ${field.join(".")}: ${message}`);
}

async function readArrays(folder: string, file: string): Promise<Arrays> {
  return (await readSafetensors(`${folder}/${file}`)).tensors;
}

async function fileNames(folder: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(folder), ({ name }) => name)).sort();
}

function tensorOf(arrays: Arrays, name: string): Tensor {
  const { shape, data } = arrayOf(arrays, name);
  return tensor(data as Float32Array | Int32Array, { shape });
}

/** Every second element, from the first or the second on. */
function everySecond({ shape, data }: SafetensorsTensor, first: 0 | 1): SafetensorsTensor {
  const half = (data as Float32Array).filter((_, i) => i % 2 === first);
  return { dtype: "F32", shape: shape.slice(0, -1), data: half };
}
