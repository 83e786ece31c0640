/** AdamW: Adam with decoupled weight decay. */
import { isFloat } from "../../lib/dtype.ts";
import type { Tensor, TensorLike } from "../../lib/tensor.ts";
import { treeEntries, treeMap } from "../../lib/tree.ts";
import { add, div, mul, sub } from "../arithmetic.ts";
import { cast } from "../cast.ts";
import { zeros, zerosLike } from "../create.ts";
import { sqrt } from "../math.ts";
import { pow } from "../power.ts";

/** Settings of AdamW. */
export interface AdamWOptions {
  /** Learning rate: a number, or a scalar tensor from a schedule. */
  readonly learningRate?: TensorLike;
  readonly beta1?: number;
  readonly beta2?: number;
  readonly epsilon?: number;
  /** Decay per step, times the learning rate, of tensors of two or more axes. */
  readonly weightDecay?: number;
  /** What is different for a parameter, told by its path (`layers.0.weight`). */
  readonly groupOf?: (path: string) => AdamWGroup | undefined;
}

/** What is different for some parameters. */
export interface AdamWGroup {
  /** Multiplies the learning rate. */
  readonly learningRate?: number;
  /** Decay per step, times the learning rate, of tensors of any number of axes. */
  readonly weightDecay?: number;
}

/** The state of AdamW: the number of steps made, and running means of g and g². */
export interface AdamWState<P> {
  readonly step: Tensor;
  readonly mean: P;
  readonly variance: P;
}

/**
 * AdamW (Loshchilov and Hutter 2019, algorithm 2) as two pure functions. Biases, norms and other
 * tensors of less than two axes do not decay.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { adamw, grad, jit, mul, openDevice, sum, type Tensor, tensor } from "../../mod.ts";
 * await openDevice("reference");
 * type Params = { x: Tensor };
 * const loss = (p: Params) => sum(mul(p.x, p.x));
 * let params: Params = { x: tensor([3, -2]) };
 * let state = adamw.init(params);
 * const step = jit(
 *   (p: Params, s: typeof state) => adamw.update(p, grad(loss)(p), s, { learningRate: 0.1 }),
 *   { donate: [0, 1] },
 * );
 * for (let i = 0; i < 100; i++) [params, state] = step(params, state);
 * assert(await loss(params).item() < 1e-2);
 * ```
 */
export const adamw = {
  /**
   * The state before the first step.
   *
   * @param params A tree of floating-point tensors.
   */
  init<P>(params: P): AdamWState<P> {
    return {
      step: zeros([], { dtype: "i32" }),
      mean: treeMap(zerosLike, params),
      variance: treeMap(zerosLike, params),
    };
  },

  /**
   * One step.
   *
   * @param params The parameters.
   * @param gradients A tree like them.
   * @param state The state.
   * @param options Settings; by default learning rate 1e-3, betas 0.9 and 0.999, epsilon 1e-8, no
   * decay.
   * @returns `[params, state]` after the step.
   * @throws {TypeError} If the trees differ in structure.
   */
  update<P>(
    params: P,
    gradients: P,
    state: AdamWState<P>,
    {
      learningRate = 1e-3,
      beta1 = 0.9,
      beta2 = 0.999,
      epsilon = 1e-8,
      weightDecay = 0,
      groupOf,
    }: AdamWOptions = {},
  ): [P, AdamWState<P>] {
    const groups = new Map(
      groupOf ? treeEntries(params).map(([path, p]) => [p, groupOf(path)]) : [],
    );
    const step = add(state.step, 1);
    const t = cast(step, "f32");
    const correction1 = sub(1, pow(beta1, t)), correction2 = sub(1, pow(beta2, t));
    const mean = treeMap(
      (m: Tensor, g: Tensor) => add(mul(m, beta1), mul(g, 1 - beta1)),
      state.mean,
      gradients,
    );
    const variance = treeMap(
      (v: Tensor, g: Tensor) => add(mul(v, beta2), mul(mul(g, g), 1 - beta2)),
      state.variance,
      gradients,
    );
    const updated = treeMap(
      (p: Tensor, m: Tensor, v: Tensor) => {
        if (!isFloat(p.dtype)) {
          throw new TypeError(`adamw: expected floating-point parameters but found ${p}`);
        }
        const direction = div(
          div(m, correction1),
          add(sqrt(div(v, correction2)), epsilon),
        );
        const group = groups.get(p);
        const rate = group?.learningRate === undefined
          ? learningRate
          : mul(learningRate, group.learningRate);
        const decay = group?.weightDecay ?? (p.rank >= 2 ? weightDecay : 0);
        const kept = decay !== 0 ? mul(p, sub(1, mul(rate, decay))) : p;
        return sub(kept, mul(direction, rate));
      },
      params,
      mean,
      variance,
    );
    return [updated, { step, mean, variance }];
  },
};
