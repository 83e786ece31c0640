/** What a tokenizer learns by: the error of its pixels, its codebook's losses, and what other networks judge. */
import type { Tensor } from "../../lib/tensor.ts";
import { stopGradient } from "../../lib/transforms/vjp.ts";
import { add, mul, sub } from "../../ops/arithmetic.ts";
import { square } from "../../ops/power.ts";
import { foldIn } from "../../ops/random.ts";
import { mean } from "../../ops/reduce.ts";
import { reshape } from "../../ops/reshape.ts";
import { slice } from "../../ops/slice.ts";
import type { TokenizerLossSettings } from "../config/tokenizer_losses.ts";
import { type Codebook, codebook } from "../layers/codebook.ts";
import {
  type Adversary,
  adversaryParameters,
  initAdversary,
  judgement,
  updateAdversary,
} from "../vq/adversary.ts";
import {
  type CodebookBuffers,
  codebookBuffers,
  type CodebookTraining,
  codebookUse,
  initCodebookBuffers,
  updateCodebook,
} from "../vq/codebook_training.ts";
import { entropyLoss } from "../vq/entropy_loss.ts";
import { loadPerceptual, perceptualDistance } from "../vq/perceptual.ts";
import type { CodedImages } from "../vq/vq.ts";
import type { Stage } from "./loop.ts";
import type { Losses } from "./step.ts";

/** A tokenizer as its training sees it. */
export interface TrainableTokenizer<P> {
  /** Values of a pixel of its images. */
  readonly imageChannels: number;
  /** Its codebook, if it has one: rows V, their width C, and how they are compared and learned. */
  readonly codebook?: {
    readonly codes: number;
    readonly codeChannels: number;
    readonly normalizeCodes: boolean;
    /** Weight of the loss that draws vectors to their codes. */
    readonly commitment: number;
  };
  /** Gives images back, with what the codebook did, if it has one. */
  code(params: P, images: Tensor, key: Tensor): Pick<CodedImages, "images"> & Partial<CodedImages>;
}

/** What a step of the tokenizer's training reads. */
export interface TokenizerBatch {
  /** Images [B, C, H, W] in -1..1. */
  readonly images: Tensor;
  /** A random key for each image u32 [B, 2]; what is drawn once for a batch has the first image's. */
  readonly keys: Tensor;
}

/** What goes on from step to step beside a tokenizer's parameters. */
export interface TokenizerBuffers<Leaf = Tensor> {
  readonly codebook?: CodebookBuffers<Leaf>;
  readonly adversary?: Adversary<Leaf>;
}

/** The parts of a tokenizer's training that its losses decide. */
export type TokenizerLoss<P> =
  & Pick<Stage<P, TokenizerBatch, TokenizerBuffers>, "loss" | "losses" | "buffers">
  & {
    /** Loads what the losses need; to be called before the first step. */
    prepare(): Promise<void>;
  };

/**
 * Puts together what a tokenizer learns by. The whole is
 *
 *     pixels + codebook + commitment · c + entropy · e + perceptual · p + adversarial · a,
 *
 * where `codebook` is left out if codes are moving averages, and each further term if its weight is 0. After the
 * optimizer the codebook's averages and restarts move its codes, and the discriminator takes its own step.
 *
 * Source: van den Oord et al. (2017), equation 3; Esser et al., "Taming transformers" (2021), section 3.1, with a fixed
 * weight of the adversarial term, as LlamaGen's training has it.
 *
 * @param tokenizer The tokenizer.
 * @param settings Weights and ways; those of a codebook are for tokenizers that have one.
 * @param key Of the discriminator's first values.
 * @returns Losses and their names, buffers, and how to get ready.
 */
export function tokenizerLoss<P>(
  { imageChannels, codebook: codes, code }: TrainableTokenizer<P>,
  settings: TokenizerLossSettings,
  key: Tensor,
): TokenizerLoss<P> {
  const { codebook: ofCodes, perceptual, adversarial } = settings;
  const discriminator = { imageChannels, ...adversarial };
  let ofVgg: Readonly<Record<string, Tensor>> | undefined;
  const terms: Term<P>[] = [{
    name: "reconstruction",
    weight: 1,
    value: ({ coded, images }) => mean(square(sub(coded.images, images))),
  }];
  if (codes) {
    const isMoved = ofCodes.update === "gradient";
    terms.push(
      { name: "codebook", weight: isMoved ? 1 : 0, value: ({ coded }) => coded.codebook! },
      { name: "commitment", weight: codes.commitment, value: ({ coded }) => coded.commitment! },
    );
    if (ofCodes.entropy > 0) {
      terms.push({
        name: "entropy",
        weight: ofCodes.entropy,
        value({ params, coded: { use } }) {
          const rows = codebook(codes, params as CodebookOwner);
          const compared = isMoved ? rows : stopGradient(rows);
          return entropyLoss(flat(use!.vectors), compared, ofCodes.entropyTemperature);
        },
      });
    }
  }
  if (perceptual.weight > 0) {
    terms.push({
      name: "perceptual",
      weight: perceptual.weight,
      value: ({ coded, images }) => perceptualDistance(ofVgg!, coded.images, images),
    });
  }
  if (adversarial.weight > 0) {
    terms.push({
      name: "adversarial",
      weight: adversarial.weight,
      value: ({ coded, buffers }) => judgement(adversarial, buffers.adversary!, coded.images),
    });
  }

  const movesCodes = codes && (ofCodes.update === "ema" || ofCodes.restart);
  const hasAdversary = adversarial.weight > 0;
  return {
    losses: [
      "loss",
      ...terms.map(({ name }) => name),
      ...(codes ? ["codesUsed", "perplexity"] : []),
      ...(hasAdversary ? ["discriminator"] : []),
      ...(hasAdversary && adversarial.gradientPenalty > 0 ? ["gradientPenalty"] : []),
    ],
    async prepare() {
      if (perceptual.weight > 0) ofVgg ??= await loadPerceptual(perceptual.weights!);
    },
    loss(params, { images, keys }, buffers) {
      const coded = code(params, images, foldIn(keys, 0));
      const found = terms.map(({ name, weight, value }) => ({
        name,
        weight,
        value: value({ params, coded, images, buffers }),
      }));
      const weighted = found.filter(({ weight }) => weight > 0)
        .map(({ weight, value }) => weight === 1 ? value : mul(value, weight));
      return {
        loss: weighted.reduce((sum, term) => add(sum, term)),
        ...Object.fromEntries(found.map(({ name, value }) => [name, value])),
        ...(codes ? codebookUse(flat(coded.use!.codes), codes.codes) : {}),
        ...(movesCodes ? coded.use : {}),
        ...(hasAdversary ? { images: coded.images } : {}),
      };
    },
    ...(movesCodes || hasAdversary
      ? {
        buffers: {
          parameters: () => ({
            ...(movesCodes
              ? { codebook: codebookBuffers(ofCodes, codes.codes, codes.codeChannels) }
              : {}),
            ...(hasAdversary ? { adversary: adversaryParameters(discriminator) } : {}),
          }),
          init: () => ({
            ...(movesCodes
              ? { codebook: initCodebookBuffers(ofCodes, codes.codes, codes.codeChannels) }
              : {}),
            ...(hasAdversary ? { adversary: initAdversary(discriminator, key) } : {}),
          }),
          update(params, { codebook, adversary }, found, { images, keys }) {
            const moved = codebook &&
              moveCodes(ofCodes, params, codebook, found, foldIn(slice(keys, [0]), 1));
            const judged = adversary &&
              updateAdversary(adversarial, adversary, images, found.images!);
            return {
              params: moved?.params ?? params,
              buffers: {
                ...(moved ? { codebook: moved.buffers } : {}),
                ...(judged ? { adversary: judged.adversary } : {}),
              },
              metrics: judged?.metrics,
            };
          },
        },
      }
      : {}),
  };
}

/** A term of the loss. */
interface Term<P> {
  readonly name: string;
  readonly weight: number;
  value(of: {
    readonly params: P;
    readonly coded: Pick<CodedImages, "images"> & Partial<CodedImages>;
    readonly images: Tensor;
    readonly buffers: TokenizerBuffers;
  }): Tensor;
}

/** Parameters of a tokenizer that has a codebook. */
interface CodebookOwner {
  readonly quantize: Codebook;
}

/** All vectors or codes of a batch in one row after another. */
function flat(x: Tensor): Tensor {
  return reshape(x, [-1, ...x.shape.slice(2)]);
}

/** Parameters with their codebook as it is after a step. */
function moveCodes<P>(
  training: CodebookTraining,
  params: P,
  buffers: CodebookBuffers,
  { codes, vectors, distances }: Losses,
  key: Tensor,
) {
  const { quantize } = params as P & CodebookOwner;
  const batch = { codes: flat(codes!), vectors: flat(vectors!), distances: flat(distances!) };
  const next = updateCodebook(training, quantize.embedding.weight, buffers, batch, key);
  const moved = { ...params, quantize: { embedding: { weight: next.rows } } };
  return { params: moved, buffers: next.buffers };
}
