/** Reductions: axes summed, multiplied, or searched for their extremes. */
import { isFloat } from "../lib/dtype.ts";
import type { Op, ReductionRule } from "../lib/op.ts";
import { normalizeAxes, type Shape, showShape, sizeOf } from "../lib/shape.ts";
import { bindOne, type Tensor } from "../lib/tensor.ts";
import { div, mul } from "./arithmetic.ts";
import { checkDType } from "./arguments.ts";
import { broadcastTo } from "./broadcast.ts";
import { cast } from "./cast.ts";
import { equal, notEqual } from "./compare.ts";
import { logicalNot } from "./logic.ts";
import { reshape } from "./reshape.ts";
import { where } from "./where.ts";

/** Which axes a reduction goes over, and whether they stay with length 1. */
export interface ReduceOptions {
  /** One axis or several; by default all. */
  readonly axes?: number | readonly number[];
  /** Whether the reduced axes stay, with length 1 (default false). */
  readonly keepDims?: boolean;
}

/** The gradient of a reduction, from the cotangent and the result spread over the input's shape. */
type Spread = (x: Tensor, g: Tensor, output: Tensor, axes: readonly number[]) => Tensor;

function reduction(name: string, reduce: ReductionRule["reduce"], gradient: Spread): Op {
  return {
    name,
    infer([x], { axes }) {
      checkDType(name, "x", x!, "number");
      const count = sizeOf((axes as number[]).map((axis) => x!.shape[axis]!));
      if (count === 0 && (reduce === "maximum" || reduce === "minimum")) {
        throw new TypeError(
          `${name}: expected at least one element to reduce but found shape ${showShape(x!.shape)}`,
        );
      }
      return [{ shape: x!.shape.filter((_, i) => !axes.includes(i)), dtype: x!.dtype }];
    },
    vjp({ inputs: [x], outputs: [output], cotangents: [g], attributes: { axes } }) {
      const kept = keptShape(x!.shape, axes);
      const spread = (y: Tensor) => broadcastTo(reshape(y, kept), x!.shape);
      return [gradient(x!, spread(g!), spread(output!), axes)];
    },
    run: { kind: "reduction", reduce },
  };
}

/** A shape with some axes shrunk to 1. */
function keptShape(shape: Shape, axes: readonly number[]): number[] {
  return shape.map((length, axis) => axes.includes(axis) ? 1 : length);
}

function apply(op: Op, x: Tensor, options: ReduceOptions): Tensor {
  const axes = normalizeAxes(op.name, options.axes, x.rank);
  const result = axes.length === 0 ? x : bindOne(op, [x], { axes });
  return options.keepDims ? reshape(result, keptShape(x.shape, axes)) : result;
}

const sumOp = reduction("sum", "sum", (_x, g) => g);

/**
 * The sum of the elements along some axes; 0 where there are none. Bools are counted, as i32.
 *
 * @param x A tensor.
 * @param options `axes` (default all) and `keepDims`.
 * @returns The sums.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { sum } from "./reduce.ts";
 * const x = tensor([[1, 2], [3, 4]]);
 * assertEquals(await sum(x).item(), 10);
 * assertEquals(await sum(x, { axes: 1, keepDims: true }).toArray(), [[3], [7]]);
 * ```
 */
export function sum(x: Tensor, options: ReduceOptions = {}): Tensor {
  return apply(sumOp, x.dtype === "bool" ? cast(x, "i32") : x, options);
}

/**
 * The mean of the elements along some axes. Integers and bools give f32.
 *
 * @param x A tensor.
 * @param options `axes` (default all) and `keepDims`.
 * @returns The means; NaN where there are no elements.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { mean } from "./reduce.ts";
 * assertEquals(await mean(tensor([[1, 2], [3, 4]]), { axes: 0 }).toArray(), [2, 3]);
 * ```
 */
export function mean(x: Tensor, options: ReduceOptions = {}): Tensor {
  const floats = isFloat(x.dtype) ? x : cast(x, "f32");
  const count = sizeOf(normalizeAxes("mean", options.axes, x.rank).map((axis) => x.shape[axis]!));
  return div(sum(floats, options), count);
}

/** The gradient goes to the elements that attain the extreme, in equal shares. */
const toExtremes: Spread = (x, g, output, axes) => {
  const attains = equal(x, output);
  const count = sum(cast(attains, x.dtype), { axes, keepDims: true });
  return where(attains, div(g, broadcastTo(count, x.shape)), 0);
};

const maxOp = reduction("max", "maximum", toExtremes);

/**
 * The greatest element along some axes. Elements that are equally great share the gradient.
 *
 * @param x A tensor of numbers.
 * @param options `axes` (default all) and `keepDims`.
 * @returns The greatest elements.
 * @throws {TypeError} If there are no elements.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { max } from "./reduce.ts";
 * assertEquals(await max(tensor([[1, 5], [3, 2]]), { axes: 1 }).toArray(), [5, 3]);
 * ```
 */
export function max(x: Tensor, options: ReduceOptions = {}): Tensor {
  return apply(maxOp, x, options);
}

const minOp = reduction("min", "minimum", toExtremes);

/**
 * The least element along some axes. Elements that are equally small share the gradient.
 *
 * @param x A tensor of numbers.
 * @param options `axes` (default all) and `keepDims`.
 * @returns The least elements.
 * @throws {TypeError} If there are no elements.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { min } from "./reduce.ts";
 * assertEquals(await min(tensor([[1, 5], [3, 2]]), { axes: 1 }).toArray(), [1, 2]);
 * ```
 */
export function min(x: Tensor, options: ReduceOptions = {}): Tensor {
  return apply(minOp, x, options);
}

const productOp = reduction("product", "product", (x, g, output, axes) => {
  // Of the other elements' product: output / x, but where x is 0 that has to be found without x.
  const isZero = equal(x, 0);
  const nonzero = where(isZero, 1, x);
  const zeros = sum(cast(isZero, x.dtype), { axes, keepDims: true });
  const others = where(equal(zeros, 1), product(nonzero, { axes, keepDims: true }), 0);
  return mul(g, where(isZero, broadcastTo(others, x.shape), div(output, nonzero)));
});

/**
 * The product of the elements along some axes; 1 where there are none. Second derivatives are
 * right only where no element is 0.
 *
 * @param x A tensor of numbers.
 * @param options `axes` (default all) and `keepDims`.
 * @returns The products.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { product } from "./reduce.ts";
 * assertEquals(await product(tensor([2, 3, 4])).item(), 24);
 * ```
 */
export function product(x: Tensor, options: ReduceOptions = {}): Tensor {
  return apply(productOp, x, options);
}

/**
 * Whether any element along some axes is true.
 *
 * @param x A bool tensor.
 * @param options `axes` (default all) and `keepDims`.
 * @returns A bool tensor.
 * @throws {TypeError} If `x` is not bool.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { any } from "./reduce.ts";
 * assertEquals(await any(tensor([[true, false], [false, false]]), { axes: 1 }).toArray(), [true, false]);
 * ```
 */
export function any(x: Tensor, options: ReduceOptions = {}): Tensor {
  checkDType("any", "x", x, "bool");
  return notEqual(sum(x, options), 0);
}

/**
 * Whether all elements along some axes are true.
 *
 * @param x A bool tensor.
 * @param options `axes` (default all) and `keepDims`.
 * @returns A bool tensor.
 * @throws {TypeError} If `x` is not bool.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { all } from "./reduce.ts";
 * assertEquals(await all(tensor([[true, false], [true, true]]), { axes: 1 }).toArray(), [false, true]);
 * ```
 */
export function all(x: Tensor, options: ReduceOptions = {}): Tensor {
  checkDType("all", "x", x, "bool");
  return equal(sum(logicalNot(x), options), 0);
}
