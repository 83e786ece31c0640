/** Means and covariances of features, streamed in float64, and the Fréchet distance between them. */
import { EigenvalueDecomposition, Matrix } from "npm:ml-matrix@6.15.1";

/** A Gaussian: the mean and covariance of some features. */
export interface Gaussian {
  /** Mean [D]. */
  readonly mean: Float64Array<ArrayBuffer>;
  /** Covariance [D, D], row-major. */
  readonly covariance: Float64Array<ArrayBuffer>;
}

/** Sums over the features seen so far, from which a {@link Gaussian} is made. */
export interface Moments {
  /** Number of features seen. */
  count: number;
  /** Their mean [D]. */
  readonly mean: Float64Array<ArrayBuffer>;
  /** The upper triangle of Σ (x - mean)(x - mean)ᵀ [D, D]. */
  readonly scatter: Float64Array;
}

/**
 * Moments of no features.
 *
 * @param size Length D of a feature vector.
 * @returns Zeros, to be passed to {@linkcode addFeatures}.
 */
export function noMoments(size: number): Moments {
  return { count: 0, mean: new Float64Array(size), scatter: new Float64Array(size * size) };
}

/**
 * Takes further features into moments, in place. Each block is centered on its own mean and then
 * merged, so that no difference of great sums is ever formed.
 *
 * Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
 * variances" (1979).
 *
 * @param moments What was seen before.
 * @param rows Feature vectors [n, D], row-major.
 * @throws {TypeError} If the rows do not have the length of the moments.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { addFeatures, gaussianOf, noMoments } from "./statistics.ts";
 *
 * const moments = noMoments(2);
 * addFeatures(moments, Float32Array.of(0, 0, 6, 0));
 * addFeatures(moments, Float32Array.of(6, 3, 12, 3));
 * const { mean, covariance } = gaussianOf(moments);
 * assertEquals(mean, Float64Array.of(6, 1.5));
 * assertEquals(covariance, Float64Array.of(24, 6, 6, 3));
 * ```
 */
export function addFeatures(moments: Moments, rows: ArrayLike<number>): void {
  const size = moments.mean.length;
  if (rows.length % size !== 0) {
    throw new TypeError(
      `addFeatures: expected rows of ${size} numbers but found ${rows.length} numbers`,
    );
  }
  for (let start = 0; start < rows.length; start += BLOCK * size) {
    addBlock(moments, rows, start, Math.min(BLOCK, (rows.length - start) / size));
  }
}

/** Rows that are centered together. */
const BLOCK = 64;

function addBlock(moments: Moments, rows: ArrayLike<number>, start: number, count: number): void {
  const { mean, scatter } = moments;
  const size = mean.length;
  // One row more carries the mean's own move, and rows of zeros make it a multiple of four.
  const centered = new Float64Array(Math.ceil((count + 1) / 4) * 4 * size);
  const total = moments.count + count;
  for (let i = 0; i < size; i++) {
    let sum = 0;
    for (let row = 0; row < count; row++) sum += rows[start + row * size + i]!;
    const center = sum / count, shift = center - mean[i]!;
    for (let row = 0; row < count; row++) {
      centered[row * size + i] = rows[start + row * size + i]! - center;
    }
    centered[count * size + i] = shift * Math.sqrt(moments.count * count / total);
    mean[i]! += shift * count / total;
  }
  for (let at = 0; at < centered.length; at += 4 * size) addProducts(scatter, centered, at, size);
  moments.count = total;
}

/** Adds the outer products of four rows with themselves to an upper triangle. */
function addProducts(scatter: Float64Array, rows: Float64Array, at: number, size: number): void {
  const [a, b, c, d] = [0, 1, 2, 3].map((row) => rows.subarray(at + row * size)) as [
    Float64Array,
    Float64Array,
    Float64Array,
    Float64Array,
  ];
  for (let i = 0; i < size; i++) {
    const ai = a[i]!, bi = b[i]!, ci = c[i]!, di = d[i]!;
    for (let j = i, place = i * size + i; j < size; j++, place++) {
      scatter[place]! += ai * a[j]! + bi * b[j]! + ci * c[j]! + di * d[j]!;
    }
  }
}

/**
 * Mean and covariance (of a sample: divided by n - 1, as `numpy.cov` does).
 *
 * @param moments Moments of at least two features.
 * @returns The Gaussian.
 * @throws {RangeError} If there are fewer than two.
 */
export function gaussianOf({ count, mean, scatter }: Moments): Gaussian {
  if (count < 2) {
    throw new RangeError(`gaussianOf: expected at least 2 features but found ${count}`);
  }
  const size = mean.length;
  const covariance = new Float64Array(size * size);
  for (let i = 0; i < size; i++) {
    for (let j = i; j < size; j++) {
      covariance[i * size + j] = covariance[j * size + i] = scatter[i * size + j]! / (count - 1);
    }
  }
  return { mean: mean.slice(), covariance };
}

/**
 * The squared Fréchet (2-Wasserstein) distance of two Gaussians,
 * `|μ₁ - μ₂|² + tr(Σ₁) + tr(Σ₂) - 2 tr((Σ₁ Σ₂)^½)`: the FID where they are of Inception features.
 *
 * The trace of the root is the sum of the roots of the eigenvalues of `BᵀΣ₂B` with `Σ₁ = BBᵀ`,
 * which is symmetric and has the eigenvalues of `Σ₁^½ Σ₂ Σ₁^½`; those that rounding makes negative
 * count as 0, and directions in which Σ₁ has no spread are left out. This is defined for singular
 * covariances too, where the general matrix root of the common implementations can fail: they then
 * add 1e-6 to both diagonals within the product, which `regularization` does here.
 *
 * Source: Dowson and Landau, "The Fréchet distance between multivariate normal distributions" (1982);
 * Heusel et al., "GANs trained by a two time-scale update rule" (2017).
 *
 * @param a A Gaussian.
 * @param b A Gaussian of the same size.
 * @param options `regularization`: added to both diagonals within the product (default 0).
 * @returns The distance, at least 0.
 * @throws {TypeError} If the sizes differ.
 * @throws {RangeError} If a Gaussian holds numbers that are not finite.
 *
 * @example
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { frechetDistance } from "./statistics.ts";
 *
 * const narrow = { mean: Float64Array.of(0), covariance: Float64Array.of(1) };
 * const wide = { mean: Float64Array.of(3), covariance: Float64Array.of(4) };
 * assertAlmostEquals(frechetDistance(narrow, wide), 3 ** 2 + (2 - 1) ** 2, 1e-12);
 * ```
 */
export function frechetDistance(
  a: Gaussian,
  b: Gaussian,
  { regularization = 0 }: { regularization?: number } = {},
): number {
  const size = a.mean.length;
  if (b.mean.length !== size) {
    throw new TypeError(
      `frechetDistance: expected b to have ${size} dimensions but found ${b.mean.length}`,
    );
  }
  for (const [name, { mean, covariance }] of Object.entries({ a, b })) {
    if (mean.every(Number.isFinite) && covariance.every(Number.isFinite)) continue;
    throw new RangeError(
      `frechetDistance: expected ${name} to be finite but found NaN or infinity`,
    );
  }
  let distance = 0;
  for (let i = 0; i < size; i++) {
    distance += (a.mean[i]! - b.mean[i]!) ** 2 +
      a.covariance[i * size + i]! + b.covariance[i * size + i]!;
  }
  const root = factor(matrixOf(a, regularization));
  const product = root.transpose().mmul(matrixOf(b, regularization).mmul(root));
  for (const eigenvalue of eigen(product).realEigenvalues) {
    distance -= 2 * Math.sqrt(Math.max(0, eigenvalue));
  }
  return Math.max(0, distance);
}

function matrixOf({ mean, covariance }: Gaussian, added: number): Matrix {
  const matrix = Matrix.from1DArray(mean.length, mean.length, covariance);
  for (let i = 0; added !== 0 && i < mean.length; i++) matrix.set(i, i, matrix.get(i, i) + added);
  return matrix;
}

/** A matrix B [D, r] with `B Bᵀ` the positive semidefinite matrix of rank r. */
function factor(matrix: Matrix): Matrix {
  const { realEigenvalues, eigenvectorMatrix } = eigen(matrix);
  const negligible = Math.max(...realEigenvalues) * matrix.rows * Number.EPSILON;
  const kept = realEigenvalues.flatMap((value, i) => value > negligible ? [i] : []);
  if (kept.length === 0) return Matrix.zeros(matrix.rows, 1);
  const vectors = eigenvectorMatrix.subMatrixColumn(kept);
  return vectors.mulRowVector(kept.map((i) => Math.sqrt(realEigenvalues[i]!)));
}

function eigen(matrix: Matrix): EigenvalueDecomposition {
  return new EigenvalueDecomposition(matrix, { assumeSymmetric: true });
}
