/** The small transformer of step.ts: sizes, initial values and data, equal for every contestant. */

/** The model's sizes: B, N, V, D, H, FFN, layers. */
export const sizes = {
  batch: 32,
  tokens: 64,
  vocabulary: 256,
  width: 128,
  heads: 4,
  hidden: 512,
  layers: 2,
};

/** Names and shapes of the parameters; their order numbers their random streams. */
export function parameterShapes({ tokens, vocabulary, width, hidden, layers } = sizes) {
  const shapes: [string, number[]][] = [["tok", [vocabulary, width]], ["pos", [tokens, width]]];
  for (let layer = 0; layer < layers; layer++) {
    const own: [string, number[]][] = [
      ["ln1_g", [width]],
      ["ln1_b", [width]],
      ["Wq", [width, width]],
      ["bq", [width]],
      ["Wk", [width, width]],
      ["bk", [width]],
      ["Wv", [width, width]],
      ["bv", [width]],
      ["Wo", [width, width]],
      ["bo", [width]],
      ["ln2_g", [width]],
      ["ln2_b", [width]],
      ["W1", [width, hidden]],
      ["b1", [hidden]],
      ["W2", [hidden, width]],
      ["b2", [width]],
    ];
    shapes.push(...own.map(([name, shape]): [string, number[]] => [`${layer}.${name}`, shape]));
  }
  shapes.push(["lnf_g", [width]], ["lnf_b", [width]], ["Wh", [width, vocabulary]], [
    "bh",
    [vocabulary],
  ]);
  return shapes;
}

/** Element i of the stream of a seed, in 0..1 (mulberry32). */
export function uniform(seed: number, i: number): number {
  const a = (seed + Math.imul(i + 1, 0x6D2B79F5)) | 0;
  let t = Math.imul(a ^ (a >>> 15), a | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}

/** The initial values of a parameter. */
export function initialValues(name: string, shape: readonly number[], index: number): Float32Array {
  const values = new Float32Array(shape.reduce((a, b) => a * b, 1));
  if (name.endsWith("_g")) return values.fill(1);
  if (shape.length === 1) return values;
  const scale = name === "tok" || name === "pos" ? 0.1 : 1 / Math.sqrt(shape[0]!);
  return values.map((_, i) => (2 * uniform(1000 + index, i) - 1) * scale);
}

/** Token ids or targets, by the seed of their stream. */
export function randomIds(seed: number): Int32Array {
  const { batch, tokens, vocabulary } = sizes;
  return Int32Array.from(
    { length: batch * tokens },
    (_, i) => Math.floor(uniform(seed, i) * vocabulary),
  );
}
