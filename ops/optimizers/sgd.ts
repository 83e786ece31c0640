/** Stochastic gradient descent, with momentum if wanted. */
import type { Tensor, TensorLike } from "../../lib/tensor.ts";
import { treeMap } from "../../lib/tree.ts";
import { add, mul, sub } from "../arithmetic.ts";
import { zeros, zerosLike } from "../create.ts";

/** Settings of SGD. */
export interface SgdOptions {
  /** Learning rate: a number, or a scalar tensor from a schedule. */
  readonly learningRate?: TensorLike;
  readonly momentum?: number;
  /** Decay per step, added to the gradient of tensors of two or more axes. */
  readonly weightDecay?: number;
}

/** The state of SGD: the number of steps made, and the velocity. */
export interface SgdState<P> {
  readonly step: Tensor;
  readonly velocity: P;
}

/**
 * SGD as two pure functions: v ← momentum·v + g, p ← p − rate·v.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice, sgd, tensor } from "../../mod.ts";
 * await openDevice("reference");
 * const params = { x: tensor([1, 2]) };
 * const [next] = sgd.update(params, { x: tensor([1, 1]) }, sgd.init(params), {
 *   learningRate: 0.5,
 * });
 * assertEquals(await next.x.toArray(), [0.5, 1.5]);
 * ```
 */
export const sgd = {
  /**
   * The state before the first step.
   *
   * @param params A tree of floating-point tensors.
   */
  init<P>(params: P): SgdState<P> {
    return { step: zeros([], { dtype: "i32" }), velocity: treeMap(zerosLike, params) };
  },

  /**
   * One step.
   *
   * @param params The parameters.
   * @param gradients A tree like them.
   * @param state The state.
   * @param options Settings; by default learning rate 1e-2, no momentum, no decay.
   * @returns `[params, state]` after the step.
   * @throws {TypeError} If the trees differ in structure.
   */
  update<P>(
    params: P,
    gradients: P,
    state: SgdState<P>,
    { learningRate = 1e-2, momentum = 0, weightDecay = 0 }: SgdOptions = {},
  ): [P, SgdState<P>] {
    const velocity = treeMap(
      (v: Tensor, g: Tensor, p: Tensor) => {
        const decayed = weightDecay !== 0 && p.rank >= 2 ? add(g, mul(p, weightDecay)) : g;
        return momentum === 0 ? decayed : add(mul(v, momentum), decayed);
      },
      state.velocity,
      gradients,
      params,
    );
    const updated = treeMap(
      (p: Tensor, v: Tensor) => sub(p, mul(v, learningRate)),
      params,
      velocity,
    );
    return [updated, { step: add(state.step, 1), velocity }];
  },
};
