/** Comparing what was computed with what is stored, within a tolerance. */
import type { Tensor } from "../lib/tensor.ts";
import type { Shape } from "../lib/shape.ts";

/** One quantity compared. */
export interface Comparison {
  /** What was compared. */
  readonly name: string;
  /** Largest absolute difference; Infinity where the shapes differ. */
  readonly error: number;
  /** Largest difference allowed. */
  readonly tolerance: number;
  /** Whether the error is within the tolerance; NaN never is. */
  readonly ok: boolean;
}

/** Largest absolute differences of f32 implementations from stored values. */
export const tolerances = {
  logits: 1e-4,
  loss: 1e-5,
  guided: 5e-4,
  /** Of a gradient, beside `relativeGradient` times its largest stored element. */
  gradient: 1e-5,
  relativeGradient: 1e-4,
  /** Of tables that are computed in f64 and rounded. */
  table: 1e-6,
} as const;

/** A stored array. */
export interface Stored {
  readonly shape: Shape;
  readonly data: { readonly length: number; readonly [i: number]: number | bigint };
}

/**
 * Compares elements in row-major order.
 *
 * @param name What is compared.
 * @param found The elements that were computed.
 * @param stored The wanted array.
 * @param tolerance Largest absolute difference allowed.
 * @returns The comparison.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { compare } from "./comparison.ts";
 *
 * const stored = { shape: [2], data: Float32Array.of(1, 2) };
 * assertEquals(compare("x", [1, 2.5], stored, 1), { name: "x", error: 0.5, tolerance: 1, ok: true });
 * ```
 */
export function compare(
  name: string,
  found: ArrayLike<number>,
  { data }: Stored,
  tolerance: number,
): Comparison {
  let error = found.length === data.length ? 0 : Infinity;
  for (let i = 0; i < found.length; i++) {
    const difference = Math.abs(found[i]! - Number(data[i]));
    if (!(difference <= error)) error = difference; // NaN stays
    if (Number.isNaN(error)) break;
  }
  return { name, error, tolerance, ok: error <= tolerance };
}

/** Compares a tensor, its shape included. */
export async function compareTensor(
  name: string,
  found: Tensor,
  stored: Stored,
  tolerance: number,
): Promise<Comparison> {
  if (String(found.shape) !== String(stored.shape)) {
    return { name, error: Infinity, tolerance, ok: false };
  }
  return compare(name, await found.data(), stored, tolerance);
}
