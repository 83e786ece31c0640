/** The same inputs for every contestant. */

/** Smooth, deterministic numbers in -1..1; the same as `wave` in peers/torch.py. */
export function wave(length: number, seed: number): Float32Array {
  return Float32Array.from(
    { length },
    (_, i) => Math.sin(i * 0.37 + (i * 0.011) * seed + seed),
  );
}

/** Up to 1,000 elements spread over an array, as every contestant reports its result. */
export function sample(data: ArrayLike<number>): Float32Array {
  const step = Math.max(1, Math.floor(data.length / 1000));
  return Float32Array.from(
    { length: Math.min(1000, Math.ceil(data.length / step)) },
    (_, i) => data[i * step]!,
  );
}
