/** What ops check about their arguments, with messages that name op, argument, wish and finding. */
import { type DType, dtypes, isFloat, isInteger } from "../lib/dtype.ts";
import type { TensorType } from "../lib/op.ts";
import { type Shape, showShape } from "../lib/shape.ts";

/** The sets of element types that ops work on. */
export type Domain = "float" | "number" | "integer" | "bool" | "word" | "any";

const accepts: Readonly<Record<Domain, (dtype: DType) => boolean>> = {
  float: isFloat,
  number: (dtype) => dtype !== "bool",
  integer: isInteger,
  bool: (dtype) => dtype === "bool",
  word: (dtype) => isInteger(dtype) || dtype === "f32",
  any: () => true,
};

/**
 * Checks an argument's element type.
 *
 * @throws {TypeError} If the type is outside the domain.
 */
export function checkDType(op: string, argument: string, type: TensorType, domain: Domain): void {
  if (accepts[domain](type.dtype)) return;
  const wanted = dtypes.filter(accepts[domain]).reverse().join(" or ");
  throw new TypeError(`${op}: expected ${argument} to be ${wanted} but found ${type.dtype}`);
}

/**
 * Checks an argument's number of axes.
 *
 * @throws {TypeError} If it has another number of axes.
 */
export function checkRank(op: string, argument: string, type: TensorType, rank: number): void {
  if (type.shape.length === rank) return;
  throw new TypeError(
    `${op}: expected ${argument} to have ${rank} ${rank === 1 ? "axis" : "axes"} but found shape ${
      showShape(type.shape)
    }`,
  );
}

/**
 * Checks an argument's shape.
 *
 * @throws {TypeError} If it has another shape.
 */
export function checkShapeIs(op: string, argument: string, type: TensorType, wanted: Shape): void {
  if (
    type.shape.length === wanted.length &&
    type.shape.every((length, axis) => length === wanted[axis])
  ) return;
  throw new TypeError(
    `${op}: expected ${argument} to have shape ${showShape(wanted)} but found ${
      showShape(type.shape)
    }`,
  );
}

/**
 * Checks a whole number of at least `least`.
 *
 * @throws {RangeError} If it is not one.
 */
export function checkWhole(op: string, argument: string, value: number, least: number): void {
  if (Number.isSafeInteger(value) && value >= least) return;
  throw new RangeError(
    `${op}: expected ${argument} to be a whole number of at least ${least} but found ${value}`,
  );
}
