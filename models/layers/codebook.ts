/** Codebooks: the nearest code of a latent vector, and gradients that pass the choice. */
import type { Tensor } from "../../lib/tensor.ts";
import { stopGradient } from "../../lib/transforms/vjp.ts";
import { add, mul, sub } from "../../ops/arithmetic.ts";
import { cast } from "../../ops/cast.ts";
import { embedding } from "../../ops/gather.ts";
import { matmul } from "../../ops/matmul/matmul.ts";
import { square } from "../../ops/power.ts";
import { mean, sum } from "../../ops/reduce.ts";
import { reshape } from "../../ops/reshape.ts";
import { argmax, l2Normalize } from "../../ops/statistics.ts";
import { transpose } from "../../ops/transpose.ts";
import { Parameter } from "./parameter.ts";

/** Parameters: rows `embedding.weight` [V, C]. */
export interface Codebook<Leaf = Tensor> {
  readonly embedding: { readonly weight: Leaf };
}

/** Describes a codebook: rows of all directions, about of length 1. */
export function codebookParameters(codes: number, channels: number): Codebook<Parameter> {
  return { embedding: { weight: new Parameter([codes, channels], { normal: channels ** -0.5 }) } };
}

/** What a codebook needs of a configuration. */
interface CodebookSettings {
  /** Whether latents and codebook rows are scaled to length 1. */
  readonly normalizeCodes: boolean;
}

/** Parameters of a tokenizer, of which the codebook counts. */
interface CodebookOwner {
  readonly quantize: Codebook;
}

/** Latents and the codes nearest to them. */
export interface Quantized {
  /** The code of each place i32 [B, h, w]. */
  readonly codes: Tensor;
  /** The latents as they are compared, of length 1 if codes are normalized [B, C, h, w]. */
  readonly compared: Tensor;
  /** The codes' vectors [B, C, h, w]. */
  readonly quantized: Tensor;
}

/**
 * Finds the nearest row of the codebook for every latent.
 *
 * @param model The configuration.
 * @param params Its parameters.
 * @param latent Latents [B, C, h, w].
 * @returns Codes i32 [B, h, w], and the vectors compared.
 */
export function quantize(
  model: CodebookSettings,
  params: CodebookOwner,
  latent: Tensor,
): Quantized {
  const compared = model.normalizeCodes ? l2Normalize(latent, { axis: 1 }) : latent;
  const table = codebook(model, params);
  const [batch, channels, height, width] = compared.shape as [number, number, number, number];
  const rows = reshape(transpose(compared, [0, 2, 3, 1]), [batch * height * width, channels]);
  // |z - e|² is least where z·e - |e|²/2 is greatest.
  const closeness = sub(
    matmul(rows, transpose(table)),
    mul(sum(square(table), { axes: -1 }), 0.5),
  );
  const codes = reshape(argmax(closeness), [batch, height, width]);
  return { codes, compared, quantized: codeVectors(model, params, codes) };
}

/** The vectors [B, C, h, w] of codes i32 [B, h, w]. */
export function codeVectors(
  model: CodebookSettings,
  params: CodebookOwner,
  codes: Tensor,
): Tensor {
  return transpose(embedding(codebook(model, params), codes), [0, 3, 1, 2]);
}

/** The rows f32 [V, C] as they are compared, of length 1 if codes are normalized. */
export function codebook(
  { normalizeCodes }: CodebookSettings,
  { quantize: { embedding: { weight } } }: CodebookOwner,
): Tensor {
  const rows = cast(weight, "f32");
  return normalizeCodes ? l2Normalize(rows) : rows;
}

/**
 * The codes' vectors, with the gradient of the latents in place of their own.
 *
 * Source: van den Oord et al., "Neural discrete representation learning" (2017), section 3.2.
 */
export function straightThrough({ compared, quantized }: Omit<Quantized, "codes">): Tensor {
  return add(compared, stopGradient(sub(quantized, compared)));
}

/** The two scalar losses between latents and codes; their values are the same, what they move is not. */
export interface CodebookLosses {
  /** Mean squared distance, which draws codes to latents. */
  readonly codebook: Tensor;
  /** The same, which draws latents to codes. */
  readonly commitment: Tensor;
}

/**
 * The losses between latents and codes.
 *
 * Source: van den Oord et al. (2017), equation 3, second and third term.
 */
export function codebookLosses({ compared, quantized }: Omit<Quantized, "codes">): CodebookLosses {
  const distance = (moved: Tensor, fixed: Tensor) => mean(square(sub(moved, stopGradient(fixed))));
  return { codebook: distance(quantized, compared), commitment: distance(compared, quantized) };
}

/** Which vectors took which codes, image by image. */
export interface CodeUse {
  /** Codes i32 [B, K]. */
  readonly codes: Tensor;
  /** The vectors as they were compared [B, K, C]. */
  readonly vectors: Tensor;
  /** Their squared distances from their codes [B, K]. */
  readonly distances: Tensor;
}

/** What the codes of a grid are used for. */
export function codeUse({ codes, compared, quantized }: Quantized): CodeUse {
  const [batch, channels] = compared.shape as [number, number];
  const vectors = reshape(transpose(compared, [0, 2, 3, 1]), [batch, -1, channels]);
  const distances = reshape(sum(square(sub(compared, quantized)), { axes: 1 }), [batch, -1]);
  return { codes: reshape(codes, [batch, -1]), vectors, distances };
}
