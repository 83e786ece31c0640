/** Fixture folders of the Fully Masked Transformer: their configuration, weights, inputs and wanted outputs. */
import { z } from "npm:zod@4.6.7";
import { readSafetensors, type SafetensorsTensor } from "../../lib/formats/safetensors.ts";
import { parametersFrom } from "../layers/parameter.ts";
import { fmt, type FmtConfig } from "./config.ts";
import { type FmtParameters, fmtParameters } from "./network.ts";

/** Tensors of a file by name. */
export type Arrays = Readonly<Record<string, SafetensorsTensor>>;

const modelFields = z.strictObject({
  dim: z.number(),
  n_head: z.number(),
  n_enc: z.number(),
  n_dec: z.number(),
  ffn_multiple: z.number().optional(),
  vocab_size: z.number(),
  num_classes: z.number(),
  grid_h: z.number(),
  grid_w: z.number(),
  norm_eps: z.number().optional(),
  rope_base: z.number().optional(),
  learned_pos: z.boolean().default(false),
  cls_rope: z.enum(["identity", "zero"]).optional(),
  encoder_final_norm: z.boolean().optional(),
}).transform((model) =>
  fmt({
    dim: model.dim,
    heads: model.n_head,
    encoderLayers: model.n_enc,
    decoderLayers: model.n_dec,
    ffnMultiple: model.ffn_multiple,
    vocabulary: model.vocab_size,
    classes: model.num_classes,
    grid: { height: model.grid_h, width: model.grid_w },
    normEpsilon: model.norm_eps,
    ropeBase: model.rope_base,
    queryPosition: model.learned_pos ? "learned" : "none",
    classRope: model.cls_rope,
    encoderFinalNorm: model.encoder_final_norm,
  })
);

const caseSchema = z.object({
  kind: z.enum(["train", "sample"]),
  model: modelFields,
  weights: z.string(),
  cfg_scale: z.number().default(1),
  given_sets: z.number().default(0),
});

/** A fixture folder, read. */
export interface FmtFixture {
  readonly kind: "train" | "sample";
  readonly model: FmtConfig;
  readonly params: FmtParameters;
  /** Guidance scale of a sampling case; 1 without guidance. */
  readonly guidance: number;
  /** How many leading sets of a sampling case are given. */
  readonly givenSets: number;
  readonly inputs: Arrays;
  readonly outputs: Arrays;
  /** Gradients of the loss by parameter name, where the folder has them. */
  readonly gradients?: Arrays;
}

/**
 * Reads a fixture folder: `config.json`, `inputs`, `outputs` and maybe `grads` as `.safetensors`, and the file
 * of weights that the configuration names.
 *
 * @param folder Path of the folder.
 * @returns What it holds.
 * @throws {Error} If a file is missing or broken, or the weights are not those of the model.
 */
export async function readFmtFixture(folder: string): Promise<FmtFixture> {
  const text = await Deno.readTextFile(`${folder}/config.json`);
  const parsed = caseSchema.safeParse(JSON.parse(text));
  if (!parsed.success) {
    const { path, message } = parsed.error.issues[0]!;
    throw new Error(`readFmtFixture: ${folder}/config.json: ${path.join(".")}: ${message}`);
  }
  const config = parsed.data;
  const read = async (name: string) => (await readSafetensors(`${folder}/${name}`)).tensors;
  const weights = await read(config.weights);
  const hasGradients = await Deno.stat(`${folder}/grads.safetensors`).then(() => true, () => false);
  return {
    kind: config.kind,
    model: config.model,
    params: parametersFrom(fmtParameters(config.model), weights, config.weights),
    guidance: config.cfg_scale,
    givenSets: config.given_sets,
    inputs: await read("inputs.safetensors"),
    outputs: await read("outputs.safetensors"),
    gradients: hasGradients ? await read("grads.safetensors") : undefined,
  };
}

/** A wanted array, by name. */
export function arrayOf(arrays: Arrays, name: string): SafetensorsTensor {
  const found = arrays[name];
  if (!found) throw new Error(`verify: expected a tensor ${name} but found none`);
  return found;
}

/** A wanted array of whole numbers. */
export function integersOf(arrays: Arrays, name: string): Int32Array {
  return Int32Array.from(arrayOf(arrays, name).data as Int32Array);
}
