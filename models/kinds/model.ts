/** What a run asks of a model that draws tokens: one table of the kinds that it may train. */
import type { Key } from "../../lib/random/threefry.ts";
import type { Tensor } from "../../lib/tensor.ts";
import type { SamplingSettings } from "../config/sampling.ts";
import type { ContinuousFmtConfig } from "../diffusion/fmt.ts";
import type { FmtConfig } from "../fmt/config.ts";
import type { GptConfig } from "../llamagen/gpt_config.ts";
import type { ParametersOf } from "../model.ts";
import type { Recipe, RecipeInput } from "../sar/recipe.ts";
import { continuousFmtKind } from "./continuous_fmt.ts";
import { fmtKind } from "./fmt.ts";
import { gptKind } from "./llamagen_gpt.ts";
import type { TokenLayout, TokenValues } from "./tokenizer.ts";

/** A model that a run may train. */
export type TokenModel = FmtConfig | ContinuousFmtConfig | GptConfig;

/** Tokens on the host: codes [B·N] or vectors [B·N·channels]. */
export type TokenArray = Int32Array | Float32Array;

/** What does not fit in a configuration: a field, and what was expected there. */
export interface Misfit {
  readonly path: readonly string[];
  readonly message: string;
}

/** What to sample. B images of N tokens. */
export interface SamplingRequest {
  /** Class ids [B]. */
  readonly labels: readonly number[];
  readonly settings: SamplingSettings;
  /** The random key of all images; an image is the same in whatever batch it is. */
  readonly key: Key;
  /** Number of the first image. */
  readonly firstImage: number;
  /** Whether the model was trained with full decoder self-attention. */
  readonly fullDecoder: boolean;
  /** Tokens that stay as they are: those of `tokens` [B·N] where `keep` [N] is 1; the others are drawn. */
  readonly kept?: { readonly tokens: TokenArray; readonly keep: Uint8Array };
  /** Told after every set. */
  readonly onStep?: (step: SamplingStep) => void | Promise<void>;
}

/** What is known after a set. */
export interface SamplingStep {
  /** Number of the set, from 1. */
  readonly set: number;
  /** Number of sets. */
  readonly sets: number;
  /** Reads the tokens. */
  tokens(): Promise<PartialTokens>;
}

/** Tokens of images of which some are not drawn yet. */
export interface PartialTokens {
  /** [B·N] or [B·N·channels]; 0 where they are not known. */
  readonly values: TokenArray;
  /** 1 for each token that is known [B·N]. */
  readonly known: Uint8Array;
}

/** What a kind of model has to provide. A new one: a line in `models/model.ts`, its schema's in the run's, this. */
export interface ModelKind<M extends TokenModel, Inputs = unknown> {
  /** What its tokens are. */
  readonly tokens: TokenValues["kind"];
  /** Fields of the configuration that follow from the tokens and the number of classes. */
  fit(layout: TokenLayout, classes: number): Record<string, unknown>;
  /** How it is trained and sampled where nothing else is said, or a name that means something of its own here. */
  recipe(layout: TokenLayout, given: RecipeInput | undefined): RecipeInput | undefined;
  sampling(layout: TokenLayout): Partial<SamplingSettings>;
  /** What it cannot be trained with or sampled by. */
  misfits(model: M, recipe: Recipe, sampling: SamplingSettings): Misfit[];
  /** What one who edits with it should know. */
  readonly editing?: string;
  /** How a run's picture shows it beside the settings of the run, if in another way. */
  otherSampling?(model: M, sampling: SamplingSettings): SamplingSettings | undefined;
  /**
   * Inputs of a training step, their shapes the same for every step.
   *
   * @param tokens Of B images by grid index.
   * @param labels Class ids [B], some replaced by the null class.
   * @param key The key of the step; all parts of its batch have the same.
   * @param firstImage Number of the first of these images in the batch.
   */
  inputs(
    model: M,
    recipe: Recipe,
    tokens: TokenArray,
    labels: ArrayLike<number>,
    key: Key,
    firstImage: number,
  ): Inputs;
  /** Number of sets that the tokens of an image are drawn in. */
  sets(model: M, recipe: Recipe): number;
  /** The loss of a training step, a scalar, and the mean loss of each set [K]. */
  losses(
    model: M,
    recipe: Recipe,
    params: ParametersOf<M>,
    inputs: Inputs,
    options: { key: Tensor; checkpoint: boolean },
  ): { readonly loss: Tensor; readonly setLoss: Tensor };
  /** Tokens i32 [B, N] or f32 [B, N, channels] by grid index. */
  sample(model: M, params: ParametersOf<M>, request: SamplingRequest): Promise<Tensor>;
}

const kinds: { readonly [M in TokenModel as M["kind"]]: ModelKind<M> } = {
  fmt: fmtKind,
  "continuous-fmt": continuousFmtKind,
  "llamagen-gpt": gptKind,
};

/**
 * What a run can do with a model.
 *
 * @param model The model, of which the kind counts.
 * @returns The functions of its kind.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { modelKind } from "./model.ts";
 *
 * assertEquals(modelKind({ kind: "continuous-fmt" }).tokens, "vectors");
 * ```
 */
export function modelKind<M extends Pick<TokenModel, "kind">>(
  model: M,
): ModelKind<Extract<TokenModel, { kind: M["kind"] }>> {
  return kinds[model.kind] as ModelKind<Extract<TokenModel, { kind: M["kind"] }>>;
}
