/** The smaller and the greater of two numbers, element by element. */
import type { Tensor, TensorLike } from "../lib/tensor.ts";
import { mul } from "./arithmetic.ts";
import { equal, greater } from "./compare.ts";
import { applyPointwise, pointwise } from "./pointwise.ts";
import { where } from "./where.ts";

const minimumOp = pointwise("minimum", {
  domain: "number",
  element: (e, x, y) => e.apply("minimum", x!, y!),
  gradient: (g, [x, y]) => shareOfGreater(g, y!, x!),
});

/**
 * The smaller of two numbers; where they are equal each gets half of the gradient.
 *
 * @param x A tensor or number.
 * @param y A tensor or number that broadcasts with it.
 * @returns A tensor of the common shape and type.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { minimum } from "./extremes.ts";
 * assertEquals(await minimum(tensor([1, 5]), 3).toArray(), [1, 3]);
 * ```
 */
export function minimum(x: TensorLike, y: TensorLike): Tensor {
  return applyPointwise(minimumOp, x, y);
}

const maximumOp = pointwise("maximum", {
  domain: "number",
  element: (e, x, y) => e.apply("maximum", x!, y!),
  gradient: (g, [x, y]) => shareOfGreater(g, x!, y!),
});

/** What of `g` belongs to the first argument and to the second, if the greater one gets it. */
function shareOfGreater(g: Tensor, x: Tensor, y: Tensor): [Tensor, Tensor] {
  const tied = where(equal(x, y), mul(g, 0.5), 0);
  return [where(greater(x, y), g, tied), where(greater(y, x), g, tied)];
}

/**
 * The greater of two numbers; where they are equal each gets half of the gradient.
 *
 * @param x A tensor or number.
 * @param y A tensor or number that broadcasts with it.
 * @returns A tensor of the common shape and type.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { maximum } from "./extremes.ts";
 * assertEquals(await maximum(tensor([1, 5]), 3).toArray(), [3, 5]);
 * ```
 */
export function maximum(x: TensorLike, y: TensorLike): Tensor {
  return applyPointwise(maximumOp, x, y);
}

/**
 * A number held within bounds.
 *
 * @param x A tensor or number.
 * @param low The lower bound.
 * @param high The upper bound.
 * @returns A tensor of the common shape and type.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { clamp } from "./extremes.ts";
 * assertEquals(await clamp(tensor([-2, 0.5, 2]), -1, 1).toArray(), [-1, 0.5, 1]);
 * ```
 */
export function clamp(x: TensorLike, low: TensorLike, high: TensorLike): Tensor {
  return minimum(maximum(x, low), high);
}
