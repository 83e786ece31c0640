/** The element types of tensors: their storage, their host arrays, and the one table of promotion. */

/** An element type. `bool` holds 0 or 1 and is stored in four bytes on every device. */
export type DType = "f32" | "f16" | "i32" | "u32" | "bool";

/** The host array that holds the elements of a tensor read back from a device. */
export type HostArray = Float32Array | Float16Array | Int32Array | Uint32Array | Uint8Array;

/** Every element type, in the order of the promotion table. */
export const dtypes: readonly DType[] = ["bool", "u32", "i32", "f16", "f32"];

/** Bytes per element on a device. */
export const bytesPerElement: Readonly<Record<DType, number>> = {
  f32: 4,
  f16: 2,
  i32: 4,
  u32: 4,
  bool: 4,
};

/** Whether a type holds floating-point numbers. */
export function isFloat(dtype: DType): boolean {
  return dtype === "f32" || dtype === "f16";
}

/** Whether a type holds integers (`bool` is not one). */
export function isInteger(dtype: DType): boolean {
  return dtype === "i32" || dtype === "u32";
}

/**
 * The type of an operation on two types: the one that stands further right in
 * `bool < u32 < i32 < f16 < f32`.
 *
 * | | bool | u32 | i32 | f16 | f32 |
 * |---|---|---|---|---|---|
 * | **bool** | bool | u32 | i32 | f16 | f32 |
 * | **u32** | u32 | u32 | i32 | f16 | f32 |
 * | **i32** | i32 | i32 | i32 | f16 | f32 |
 * | **f16** | f16 | f16 | f16 | f16 | f32 |
 * | **f32** | f32 | f32 | f32 | f32 | f32 |
 *
 * A plain JavaScript number beside a tensor takes the tensor's type, except that a number with a
 * fraction beside integers gives f32.
 *
 * @param a One type.
 * @param b The other type.
 * @returns The common type.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { promote } from "./dtype.ts";
 * assertEquals(promote("i32", "f16"), "f16");
 * ```
 */
export function promote(a: DType, b: DType): DType {
  return dtypes[Math.max(dtypes.indexOf(a), dtypes.indexOf(b))]!;
}

/** An empty host array for `length` elements of a type, as `Tensor.data()` returns it. */
export function hostArray(dtype: DType, length: number): HostArray {
  switch (dtype) {
    case "f32":
      return new Float32Array(length);
    case "f16":
      return new Float16Array(length);
    case "i32":
      return new Int32Array(length);
    case "u32":
      return new Uint32Array(length);
    case "bool":
      return new Uint8Array(length);
  }
}

/** The value that a type stores for a JavaScript number: rounded, wrapped, or 0/1. */
export function roundTo(dtype: DType, value: number): number {
  switch (dtype) {
    case "f32":
      return Math.fround(value);
    case "f16":
      return Math.f16round(value);
    case "i32":
      return value | 0;
    case "u32":
      return value >>> 0;
    case "bool":
      return value ? 1 : 0;
  }
}
