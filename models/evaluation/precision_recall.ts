/** Precision and recall of samples by the neighborhoods of features, block by block on the device. */
import { ensureDevice } from "../../lib/device.ts";
import { inTurn } from "../../lib/distributed/in_turn.ts";
import { alone, type Mpi } from "../../lib/distributed/mpi.ts";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { jit } from "../../lib/transforms/jit.ts";
import { add, mul, sub } from "../../ops/arithmetic.ts";
import { equal, lessEqual } from "../../ops/compare.ts";
import { concat } from "../../ops/concat.ts";
import { iota } from "../../ops/create.ts";
import { maximum } from "../../ops/extremes.ts";
import { matmul } from "../../ops/matmul/matmul.ts";
import { square } from "../../ops/power.ts";
import { any, min, sum } from "../../ops/reduce.ts";
import { expandDims } from "../../ops/reshape.ts";
import { argmin } from "../../ops/statistics.ts";
import { transpose } from "../../ops/transpose.ts";
import { where } from "../../ops/where.ts";

/** Feature vectors of a set of images. */
export interface FeatureRows {
  /** Length D of a vector. */
  readonly size: number;
  /** The vectors [N, D], row-major. */
  readonly data: Float32Array;
}

/** Options of {@linkcode precisionAndRecall}. */
export interface NeighborOptions {
  /** The neighbor whose distance is the radius of a point's neighborhood (default 3). */
  readonly neighbors?: number;
  /** Points in a block; a block of distances has the square of it (default 4096). */
  readonly block?: number;
  /** The processes that share the pairs of blocks, all of which call this; by default this one alone. */
  readonly mpi?: Mpi;
  /** Told after each pair of blocks. */
  onProgress?(done: number, total: number): void;
}

/** Beyond every squared distance. */
const FAR = 3.4e38;

/** Squared distances [n, m] of the rows of `a` [n, D] and `b` [m, D]. */
function squaredDistances(a: Tensor, b: Tensor): Tensor {
  const norms = (x: Tensor) => sum(square(x), { axes: 1 });
  const products = matmul(a, transpose(b));
  return maximum(sub(add(expandDims(norms(a), 1), norms(b)), mul(products, 2)), 0);
}

/** The `count` least squared distances of each row of `a` to rows of `b` [n, count]. */
const leastDistances = jit(function leastDistances(a: Tensor, b: Tensor, count: number): Tensor {
  let distances = squaredDistances(a, b);
  const least: Tensor[] = [];
  for (let i = 0; i < count; i++) {
    least.push(min(distances, { axes: 1, keepDims: true }));
    const place = argmin(distances, { axis: 1, keepDims: true });
    distances = where(equal(iota(distances.shape, { axis: 1 }), place), FAR, distances);
  }
  return concat(least, { axis: 1 });
});

/** Whether each row of `a` lies in a neighborhood of `b`, and each of `b` in one of `a`. */
const areMembers = jit(
  function areMembers(a: Tensor, radiiA: Tensor, b: Tensor, radiiB: Tensor): [Tensor, Tensor] {
    const distances = squaredDistances(a, b);
    return [
      any(lessEqual(distances, radiiB), { axes: 1 }),
      any(lessEqual(distances, expandDims(radiiA, 1)), { axes: 0 }),
    ];
  },
);

/**
 * Precision, the share of samples that lie in the neighborhood of some reference image, and recall,
 * the share of reference images that lie in the neighborhood of some sample. The neighborhood of a
 * point is the ball that its k-th nearest neighbor in its own set lies on.
 *
 * Source: Kynkäänniemi et al., "Improved precision and recall metric for assessing generative models"
 * (2019), algorithm 1; k = 3 as in ADM's suite.
 *
 * @param reference Features of reference images, more than k of them.
 * @param samples Features of samples, more than k of them.
 * @param options `neighbors`, `block`, `mpi`, `onProgress`.
 * @returns Both shares, in 0..1.
 * @throws {TypeError} If the features differ in length.
 * @throws {RangeError} If a set has no more than k points.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice } from "../../lib/device.ts";
 * import { precisionAndRecall } from "./precision_recall.ts";
 *
 * await openDevice("reference");
 * const reference = { size: 1, data: Float32Array.of(0, 1, 2, 10, 11, 12) };
 * const samples = { size: 1, data: Float32Array.of(0.5, 1.5, 1.6) };
 * const found = await precisionAndRecall(reference, samples, { neighbors: 1 });
 * assertEquals(found, { precision: 1, recall: 1 / 3 });
 * ```
 */
export async function precisionAndRecall(
  reference: FeatureRows,
  samples: FeatureRows,
  options: NeighborOptions = {},
): Promise<{ precision: number; recall: number }> {
  const { neighbors = 3, block = 4096, mpi = alone, onProgress } = options;
  for (const [name, value] of Object.entries({ neighbors, block })) {
    if (Number.isInteger(value) && value >= 1) continue;
    throw new RangeError(
      `precisionAndRecall: expected ${name} to be a whole number of at least 1 but found ${value}`,
    );
  }
  if (samples.size !== reference.size) {
    throw new TypeError(
      `precisionAndRecall: expected samples to have ${reference.size} features` +
        ` but found ${samples.size}`,
    );
  }
  await ensureDevice();
  const [points, others] = [blocksOf(reference, block), blocksOf(samples, block)];
  const total = points.length ** 2 + others.length ** 2 + points.length * others.length;
  let done = 0;
  const step = () => onProgress?.(++done, total);
  const pointRadii = await radii("reference", points, { neighbors, mpi, step });
  const otherRadii = await radii("samples", others, { neighbors, mpi, step });

  const covered = points.map(({ shape }) => new Uint8Array(shape[0]!));
  const real = others.map(({ shape }) => new Uint8Array(shape[0]!));
  const memberships = async ([i, j]: Pair) => {
    const found = areMembers(points[i]!, pointRadii[i]!, others[j]!, otherRadii[j]!);
    const [inA, inB] = await Promise.all(found.map((x) => x.data()));
    for (const x of found) x.dispose();
    return { i, j, inA: inA!, inB: inB! };
  };
  for await (const { i, j, inA, inB } of inTurn(pairs(points, others), memberships, mpi)) {
    inA.forEach((inside, row) => covered[i]![row]! |= inside);
    inB.forEach((inside, row) => real[j]![row]! |= inside);
    step();
  }
  return { precision: shareOf(real), recall: shareOf(covered) };
}

/** Places in two lists. */
type Pair = readonly [i: number, j: number];

function pairs(a: readonly unknown[], b: readonly unknown[]): Pair[] {
  return a.flatMap((_, i) => b.map((_, j): Pair => [i, j]));
}

/** Features as tensors of at most `block` rows. */
function blocksOf({ size, data }: FeatureRows, block: number): Tensor[] {
  const blocks: Tensor[] = [];
  for (let start = 0; start < data.length; start += block * size) {
    const rows = data.subarray(start, start + block * size);
    blocks.push(tensor(rows, { shape: [rows.length / size, size] }));
  }
  return blocks;
}

/** The squared distance of each point to its k-th neighbor, itself left out; a tensor per block. */
async function radii(
  name: string,
  blocks: readonly Tensor[],
  { neighbors, mpi, step }: { neighbors: number; mpi: Mpi; step: () => void },
): Promise<Tensor[]> {
  const count = blocks.reduce((total, { shape }) => total + shape[0]!, 0);
  if (count <= neighbors) {
    throw new RangeError(
      `precisionAndRecall: expected more than ${neighbors} ${name} but found ${count}`,
    );
  }
  const least = async ([i, j]: Pair) => {
    const kept = Math.min(neighbors + 1, blocks[j]!.shape[0]!); // with the point itself, at distance 0
    const found = leastDistances(blocks[i]!, blocks[j]!, kept);
    const distances = await found.data();
    found.dispose();
    return { i, kept, distances };
  };
  const nearest = blocks.map(({ shape }) =>
    Array.from({ length: shape[0]! }, () => [] as number[])
  );
  for await (const { i, kept, distances } of inTurn(pairs(blocks, blocks), least, mpi)) {
    nearest[i]!.forEach((known, row) =>
      known.push(...distances.subarray(row * kept, (row + 1) * kept))
    );
    step();
  }
  return nearest.map((ofBlock) =>
    tensor(Float32Array.from(ofBlock, (known) => known.sort((x, y) => x - y)[neighbors]!))
  );
}

function shareOf(flags: readonly Uint8Array[]): number {
  const all = flags.flatMap((block) => [...block]);
  return all.filter(Boolean).length / all.length;
}
