/** Configurations of runs that have a name; beside each number the reason for it. */
import type { RunInput } from "./schema.ts";

/** A model of digits, so small that it learns on two CPU cores. */
const digitModel = {
  dim: 96,
  heads: 4,
  encoderLayers: 2,
  decoderLayers: 2,
  // 1.69 nats instead of 2.08 with the fixed table. With `encoderFinalNorm` as well the loss is no lower,
  // but samples keep to their class less.
  queryPosition: "learned",
  embeddingDropout: 0, // less than two epochs: hardly anything is seen twice
  residualDropout: 0,
  ffnDropout: 0,
} as const;

/** How it learns. */
const digitTraining = {
  batchSize: 64,
  learningRate: 2e-3, // a small model bears more than the 1e-4 of the paper's
  schedule: "cosine",
  warmup: 50,
  clip: 0.5, // `mnist` ends with 1.69 nats instead of 2.15 with 1, in both trainings
  checkpointEvery: 200,
} as const;

/** How its tokenizers learn. */
const digitTokenizerTraining = {
  steps: 300, // the squared error is then 0.03 on a range of 2, strokes are clean
  batchSize: 64,
  learningRate: 2e-3,
  clip: 0.5,
} as const;

/** The networks of tokenizers of generated shapes. */
const shapeTokenizer = {
  encoderChannels: [8], // 8×8 pixels to 4×4 tokens
  decoderChannels: [8, 8],
};

/** The configurations by name. */
export const namedConfigs = {
  /** The demo: digits that a person recognizes after a few minutes on two CPU cores. */
  mnist: {
    data: { source: "mnist" },
    tokenizer: {
      codes: 128, // of which about 118 come into use on digits
      encoderChannels: [32, 64], // 28×28 pixels to 7×7 tokens
    },
    tokenizerTraining: digitTokenizerTraining,
    model: digitModel,
    recipe: "random-16-random", // the paper's transition state: serves few steps and one token a step
    training: {
      ...digitTraining,
      steps: 1000, // more goes on sharpening strokes
      sampleEvery: 200,
    },
    sampling: { temperature: 0.9 }, // fewer broken strokes
  },
  /** Everything once in seconds, without a download: for trying out and for tests. */
  smoke: {
    data: { source: "shapes", size: 8, count: 256, classes: 4 },
    tokenizer: {
      codes: 16,
      ...shapeTokenizer,
      codeChannels: 4,
    },
    tokenizerTraining: { steps: 20, batchSize: 8, checkpointEvery: 10 },
    model: {
      dim: 16,
      heads: 2,
      encoderLayers: 1,
      decoderLayers: 1,
      ffnMultiple: 16,
    },
    recipe: "random-4-random",
    training: {
      steps: 40,
      batchSize: 8,
      learningRate: 2e-3,
      average: 0.9, // so that tests see the average saved and resumed
      checkpointEvery: 10,
      sampleEvery: 20,
    },
    sampling: { steps: 4, perClass: 2 },
  },
  /** What the study trains many times over: the demo's model, smaller. */
  study: {
    data: { source: "mnist" },
    tokenizer: { codes: 128, encoderChannels: [32, 64] },
    tokenizerTraining: { ...digitTokenizerTraining, clip: 1 },
    model: { ...digitModel, dim: 64 },
    training: { ...digitTraining, steps: 1000, clip: 1, checkpointEvery: 500 },
    sampling: { guidance: 1.5 },
  },
  /** Digits by next-scale prediction: true VAR, with a tokenizer of several scales. */
  "mnist-var": {
    data: { source: "mnist" },
    tokenizer: {
      kind: "multiscale-vq",
      codes: 128,
      encoderChannels: [32, 64], // 28×28 pixels to 7×7 tokens
      scales: [1, 2, 4, 7], // 70 tokens in all
    },
    tokenizerTraining: { ...digitTokenizerTraining, steps: 400 },
    model: digitModel,
    training: { ...digitTraining, steps: 1200 },
    sampling: { guidance: 2, temperature: 0.9 },
  },
  /** Digits of continuous tokens, each drawn by a diffusion head, in random order as MAR has it. */
  "mnist-continuous": {
    data: { source: "mnist" },
    tokenizer: {
      kind: "autoencoder",
      encoderChannels: [32, 64], // 28×28 pixels to 7×7 tokens
      channels: 8,
    },
    tokenizerTraining: { ...digitTokenizerTraining, clip: 1 },
    model: {
      ...digitModel,
      kind: "continuous-fmt",
      head: {
        width: 192,
        layers: 3,
        steps: 100, // a short chain is learned sooner
        repeats: 4,
      },
    },
    recipe: "random-16-random",
    training: { ...digitTraining, steps: 1200 },
    sampling: { steps: 16, noiseSteps: 25, guidance: 2, temperature: 0.9 },
  },
  /** The decoder-only baseline on the demo's tokens: one token a step, row by row. */
  "mnist-ar": {
    data: { source: "mnist" },
    tokenizer: { codes: 128, encoderChannels: [32, 64] }, // as in `mnist`
    tokenizerTraining: digitTokenizerTraining,
    model: {
      kind: "llamagen-gpt",
      dim: 96,
      heads: 4,
      layers: 4, // as many as encoder and decoder of `mnist` together
      embeddingDropout: 0,
      residualDropout: 0,
      ffnDropout: 0,
    },
    training: { ...digitTraining, steps: 1000 },
    sampling: { guidance: 1.5, temperature: 0.9 },
  },
  /** The twin of `smoke` with a tokenizer of several scales, which are the sets: VAR. */
  "smoke-var": {
    data: { source: "shapes", size: 8, count: 256, classes: 4 },
    tokenizer: {
      kind: "multiscale-vq",
      codes: 16,
      ...shapeTokenizer,
      codeChannels: 4,
      scales: [1, 2, 4],
      refinements: 1,
    },
    tokenizerTraining: { steps: 20, batchSize: 8, checkpointEvery: 10 },
    model: { dim: 16, heads: 2, encoderLayers: 1, decoderLayers: 1, ffnMultiple: 16 },
    training: { steps: 20, batchSize: 8, learningRate: 2e-3, checkpointEvery: 10 },
    sampling: { perClass: 2 },
  },
  /** Its twin with continuous tokens. */
  "smoke-continuous": {
    data: { source: "shapes", size: 8, count: 256, classes: 4 },
    tokenizer: {
      kind: "autoencoder",
      ...shapeTokenizer,
      channels: 4,
    },
    tokenizerTraining: { steps: 20, batchSize: 8, checkpointEvery: 10 },
    model: {
      kind: "continuous-fmt",
      dim: 16,
      heads: 2,
      encoderLayers: 1,
      decoderLayers: 1,
      ffnMultiple: 16,
      head: { width: 16, layers: 1, steps: 20 },
    },
    recipe: "random-4-random",
    training: { steps: 20, batchSize: 8, learningRate: 2e-3, checkpointEvery: 10 },
    sampling: { steps: 4, noiseSteps: 4, perClass: 2 },
  },
  /** Its twin with a decoder alone. */
  "smoke-ar": {
    data: { source: "shapes", size: 8, count: 256, classes: 4 },
    tokenizer: {
      codes: 16,
      ...shapeTokenizer,
      codeChannels: 4,
    },
    tokenizerTraining: { steps: 20, batchSize: 8, checkpointEvery: 10 },
    model: { kind: "llamagen-gpt", dim: 16, heads: 2, layers: 2, ffnMultiple: 16 },
    training: { steps: 20, batchSize: 8, learningRate: 2e-3, checkpointEvery: 10 },
    sampling: { perClass: 2 },
  },
} as const satisfies Record<string, RunInput>;

/** Name of a configuration. */
export type ConfigName = keyof typeof namedConfigs;
