/** The same inputs for every contestant. */
import { cast, type DType, jit, mul, type Shape, type Tensor, tensor } from "../mod.ts";

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

const copy = jit((x: Tensor, one: Tensor) => mul(x, one));

/** A wave on the device; a tensor from the host would be written anew at every call. */
export function waveTensor(shape: Shape, seed: number, dtype: DType = "f32"): Tensor {
  const values = wave(shape.reduce((a, b) => a * b, 1), seed);
  return copy(cast(tensor(values, { shape }), dtype), cast(tensor(1), dtype));
}
