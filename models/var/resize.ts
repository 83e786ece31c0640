/** Enlarging and reducing square grids, as matrices: multi-scale tokenizers do it once for every scale. */
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { matmul } from "../../ops/matmul/matmul.ts";
import { reshape } from "../../ops/reshape.ts";

/** Weights [to][from] of one axis: each new cell is a weighted sum of old ones. */
export type AxisWeights = readonly (readonly number[])[];

/**
 * Weights of a reduction by areas: each new cell is the mean of the old cells it touches, `⌊i·from/to⌋` up to
 * `⌈(i+1)·from/to⌉`.
 *
 * @param from Cells there are.
 * @param to Cells wanted, at most `from`.
 * @returns Weights whose rows add up to 1.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { areaWeights } from "./resize.ts";
 *
 * assertEquals(areaWeights(3, 2), [[0.5, 0.5, 0], [0, 0.5, 0.5]]);
 * ```
 */
export function areaWeights(from: number, to: number): AxisWeights {
  return Array.from({ length: to }, (_, i) => {
    const start = Math.floor(i * from / to), end = Math.ceil((i + 1) * from / to);
    return Array.from({ length: from }, (_, j) => j >= start && j < end ? 1 / (end - start) : 0);
  });
}

/** The free number of the cubic convolution kernel, as PyTorch has it. */
const sharpness = -0.75;

/**
 * Weights of a bicubic enlargement: centers of the cells are aligned, and the border goes on as it is.
 *
 * Source: Keys, "Cubic convolution interpolation for digital image processing" (1981), with a = -0.75.
 *
 * @param from Cells there are.
 * @param to Cells wanted.
 * @returns Weights whose rows add up to 1.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { bicubicWeights } from "./resize.ts";
 *
 * assertEquals(bicubicWeights(2, 4)[1], [0.7734375, 0.2265625]);
 * ```
 */
export function bicubicWeights(from: number, to: number): AxisWeights {
  return Array.from({ length: to }, (_, i) => {
    const center = (i + 0.5) * from / to - 0.5;
    const first = Math.floor(center) - 1;
    const row = new Array<number>(from).fill(0);
    for (let tap = first; tap < first + 4; tap++) {
      row[Math.min(from - 1, Math.max(0, tap))]! += cubic(Math.abs(center - tap));
    }
    return row;
  });
}

function cubic(x: number): number {
  const a = sharpness;
  return x <= 1 ? (a + 2) * x ** 3 - (a + 3) * x ** 2 + 1 : a * (x ** 3 - 5 * x ** 2 + 8 * x - 4);
}

/**
 * Resizes square grids.
 *
 * @param x Grids [B, C, s, s].
 * @param weights Of both axes [to][s].
 * @returns Grids [B, C, to, to].
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../../lib/tensor.ts";
 * import { areaWeights, resize } from "./resize.ts";
 *
 * const reduced = resize(tensor([[[[1, 2], [3, 4]]]]), areaWeights(2, 1));
 * assertEquals(await reduced.toArray(), [[[[2.5]]]]);
 * ```
 */
export function resize(x: Tensor, weights: AxisWeights): Tensor {
  const [batch, channels, from] = x.shape as [number, number, number, number];
  const to = weights.length;
  const both = new Float32Array(from * from * to * to);
  for (let i = 0; i < from * from; i++) {
    for (let j = 0; j < to * to; j++) {
      both[i * to * to + j] = weights[Math.floor(j / to)]![Math.floor(i / from)]! *
        weights[j % to]![i % from]!;
    }
  }
  const rows = reshape(x, [batch * channels, from * from]);
  const matrix = tensor(both, { shape: [from * from, to * to] });
  return reshape(matmul(rows, matrix), [batch, channels, to, to]);
}
