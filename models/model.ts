/** Models as data: one table of the kinds there are, and what can be done with any of them. */
import type { Tensor } from "../lib/tensor.ts";
import { treeEntries } from "../lib/tree.ts";
import { sizeOf } from "../lib/shape.ts";
import {
  type AutoencoderConfig,
  autoencoderParameters,
  autoencoderSchema,
  reconstructContinuous,
} from "./diffusion/autoencoder.ts";
import {
  type ContinuousFmtConfig,
  type ContinuousFmtParameters,
  continuousFmtParameters,
  continuousFmtSchema,
  type ContinuousInputs,
  continuousStates,
} from "./diffusion/fmt.ts";
import { type FmtConfig, fmtSchema } from "./fmt/config.ts";
import { type FmtInputs, fmtLogits, type FmtOptions } from "./fmt/fmt.ts";
import { type FmtParameters, fmtParameters } from "./fmt/network.ts";
import { createParameters, type Parameter } from "./layers/parameter.ts";
import {
  type GptInputs,
  gptLogits,
  type GptOptions,
  type GptParameters,
  gptParameters,
} from "./llamagen/gpt.ts";
import { type GptConfig, gptSchema } from "./llamagen/gpt_config.ts";
import {
  type LlamagenVqParameters,
  llamagenVqParameters,
  reconstructLlamagenImages,
} from "./llamagen/vq.ts";
import { type LlamagenVqConfig, llamagenVqSchema } from "./llamagen/vq_config.ts";
import { type MultiscaleVqConfig, multiscaleVqSchema } from "./var/config.ts";
import {
  type MultiscaleVqParameters,
  multiscaleVqParameters,
  reconstructScales,
} from "./var/tokenizer.ts";
import type { Convolutions } from "./vq/convolutions.ts";
import { type VqConfig, vqSchema } from "./vq/config.ts";
import { reconstructImages, type VqParameters, vqParameters } from "./vq/vq.ts";

/** What belongs to each kind of model. */
interface Kinds {
  fmt: { config: FmtConfig; params: FmtParameters; inputs: FmtInputs; options: FmtOptions };
  vq: { config: VqConfig; params: VqParameters; inputs: Tensor; options: undefined };
  "multiscale-vq": {
    config: MultiscaleVqConfig;
    params: MultiscaleVqParameters;
    inputs: Tensor;
    options: undefined;
  };
  "continuous-fmt": {
    config: ContinuousFmtConfig;
    params: ContinuousFmtParameters;
    inputs: ContinuousInputs;
    options: FmtOptions;
  };
  autoencoder: {
    config: AutoencoderConfig;
    params: Convolutions;
    inputs: Tensor;
    options: undefined;
  };
  "llamagen-gpt": {
    config: GptConfig;
    params: GptParameters;
    inputs: GptInputs;
    options: GptOptions;
  };
  "llamagen-vq": {
    config: LlamagenVqConfig;
    params: LlamagenVqParameters;
    inputs: Tensor;
    options: undefined;
  };
}

/** The names of the kinds of models. */
export type Kind = keyof Kinds;

/** A model: a plain object that its schema has checked. */
export type Model = Kinds[Kind]["config"];

/** The kind of a model. */
type KindOf<M extends Model> = M["kind"];

/** The parameters of a model. */
export type ParametersOf<M extends Model> = Kinds[KindOf<M>]["params"];

/** What can be done with models of one kind. */
interface Entry<M extends Model> {
  readonly schema: { parse(value: unknown): M };
  parameters(model: M): unknown;
  apply(
    model: M,
    params: Kinds[KindOf<M>]["params"],
    inputs: Kinds[KindOf<M>]["inputs"],
    options?: Kinds[KindOf<M>]["options"],
  ): Tensor;
}

const kinds: { readonly [K in Kind]: Entry<Kinds[K]["config"]> } = {
  fmt: { schema: fmtSchema, parameters: fmtParameters, apply: fmtLogits },
  vq: { schema: vqSchema, parameters: vqParameters, apply: reconstructImages },
  "multiscale-vq": {
    schema: multiscaleVqSchema,
    parameters: multiscaleVqParameters,
    apply: reconstructScales,
  },
  "continuous-fmt": {
    schema: continuousFmtSchema,
    parameters: continuousFmtParameters,
    apply: (model, params, inputs, options) =>
      continuousStates(model, params, inputs, options).hidden,
  },
  autoencoder: {
    schema: autoencoderSchema,
    parameters: autoencoderParameters,
    apply: reconstructContinuous,
  },
  "llamagen-gpt": { schema: gptSchema, parameters: gptParameters, apply: gptLogits },
  "llamagen-vq": {
    schema: llamagenVqSchema,
    parameters: llamagenVqParameters,
    apply: (model, params, images) => reconstructLlamagenImages(model, params, images).images,
  },
};

function entryOf<M extends Model>(model: M): Entry<M> {
  return kinds[model.kind] as unknown as Entry<M>;
}

/**
 * Reads a model from plain data, such as the `config.json` of a run.
 *
 * @param value An object with a `kind`.
 * @returns The model, every field checked and filled in.
 * @throws {RangeError} If the kind is unknown; {Error} as the schema of the kind, if a field is wrong.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { readModel } from "./model.ts";
 *
 * const model = readModel({ kind: "fmt", dim: 64, heads: 4 });
 * assertEquals(model.kind === "fmt" && model.dim, 64);
 * ```
 */
export function readModel(value: unknown): Model {
  const kind = (value as { kind?: unknown } | null)?.kind;
  if (typeof kind !== "string" || !Object.hasOwn(kinds, kind)) {
    throw new RangeError(
      `readModel: expected kind to be one of ${Object.keys(kinds).join(", ")} but found ${kind}`,
    );
  }
  return kinds[kind as Kind].schema.parse(value);
}

/**
 * The shapes and first values of a model's parameters.
 *
 * @param model The model.
 * @returns A tree with {@link Parameter} leaves; its paths are the names in files of weights.
 */
export function parametersOf(model: Model): unknown {
  return entryOf(model).parameters(model);
}

/**
 * First parameters of a model.
 *
 * @param model The model.
 * @param key A random key; the same key gives the same parameters on every device.
 * @returns A tree of tensors.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { key } from "../ops/random.ts";
 * import { fmt } from "./fmt/config.ts";
 * import { init } from "./model.ts";
 *
 * const params = init(fmt({ dim: 8, heads: 2, vocabulary: 5 }), key(0));
 * assertEquals(params.output.weight.shape, [5, 8]);
 * ```
 */
export function init<M extends Model>(model: M, key: Tensor): Kinds[KindOf<M>]["params"] {
  return createParameters(parametersOf(model), key) as Kinds[KindOf<M>]["params"];
}

/**
 * Runs a model: for the Fully Masked Transformer, the logits [B, N, V] of a sequence, or, on continuous tokens, what
 * the diffusion head is given [B, N, d]; for a tokenizer, images encoded and decoded again.
 *
 * @param model The model.
 * @param params Its parameters.
 * @param inputs What its kind takes.
 * @param options How it is run.
 * @returns What its kind gives.
 */
export function apply<M extends Model>(
  model: M,
  params: Kinds[KindOf<M>]["params"],
  inputs: Kinds[KindOf<M>]["inputs"],
  options?: Kinds[KindOf<M>]["options"],
): Tensor {
  return entryOf(model).apply(model, params, inputs, options);
}

/**
 * A table of a model's parameters: names, shapes and counts. Parameters that differ by the number of their
 * layer only share a line.
 *
 * @param model The model.
 * @returns The table, its last line the sum.
 *
 * @example
 * ```ts
 * import { assertStringIncludes } from "@std/assert";
 * import { fmt } from "./fmt/config.ts";
 * import { describe } from "./model.ts";
 *
 * assertStringIncludes(describe(fmt({})), "total"); // 125.0 M parameters
 * ```
 */
export function describe(model: Model): string {
  const groups = new Map<string, { name: string; shape: string; copies: number; each: number }>();
  let total = 0;
  for (const [path, { shape }] of treeEntries<Parameter>(parametersOf(model))) {
    const name = path.replaceAll(/(?<=\.|^)\d+(?=\.|$)/g, "*");
    const text = `[${shape.join(", ")}]`;
    const group = groups.get(name + text) ??
      { name, shape: text, copies: 0, each: sizeOf(shape) };
    group.copies++;
    total += group.each;
    groups.set(name + text, group);
  }
  const number = (value: number) => value.toLocaleString("en-US");
  const lines = [...groups.values()].map(({ name, shape, copies, each }) => [
    name,
    shape,
    copies === 1 ? "" : `${copies} ×`,
    number(copies * each),
  ]);
  lines.unshift(["parameter", "shape", "", "count"]);
  lines.push(["total", "", "", number(total)]);
  const widths = [0, 1, 2, 3].map((column) =>
    Math.max(...lines.map((line) => line[column]!.length))
  );
  return lines.map(([name, shape, copies, count]) =>
    [
      name!.padEnd(widths[0]!),
      shape!.padEnd(widths[1]!),
      copies!.padStart(widths[2]!),
      count!.padStart(widths[3]!),
    ].join("  ")
  ).join("\n");
}
