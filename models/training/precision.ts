/** Computing in f16 with weights in f32: a cast at the border of the loss, and the scale that keeps gradients in range. */
import { currentDevice } from "../../lib/device.ts";
import type { Tensor } from "../../lib/tensor.ts";
import { customVjp } from "../../lib/transforms/vjp.ts";
import { treeMap } from "../../lib/tree.ts";
import { add, mul } from "../../ops/arithmetic.ts";
import { cast } from "../../ops/cast.ts";
import { greaterEqual } from "../../ops/compare.ts";
import { full, zeros } from "../../ops/create.ts";
import { clamp } from "../../ops/extremes.ts";
import { where } from "../../ops/where.ts";
import type { Precision } from "../config/schema.ts";
import { Parameter } from "../layers/parameter.ts";

/** What the loss is multiplied by, so that small gradients do not become 0 in f16, and large ones do not overflow. */
export interface LossScale<Leaf = Tensor> {
  /** A power of 2, f32 []. */
  readonly scale: Leaf;
  /** Steps made since it changed, f32 []. */
  readonly steps: Leaf;
}

/** The first scale, and the least and greatest. */
const initial = 2 ** 16, least = 1, greatest = 2 ** 24;

/**
 * Dynamic loss scaling: a step that overflows is skipped and halves the scale; n good steps in a row double it.
 *
 * Source: Micikevicius et al., "Mixed precision training" (2018), section 3.2.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice, tensor } from "../../mod.ts";
 * import { lossScaling } from "./precision.ts";
 *
 * await openDevice("reference");
 * const first = lossScaling.init();
 * const halved = lossScaling.next(first, tensor(false), 2000);
 * assertEquals([await first.scale.item(), await halved.scale.item()], [65536, 32768]);
 * ```
 */
export const lossScaling = {
  /** Describes the state. */
  parameters: (): LossScale<Parameter> => ({
    scale: new Parameter([], "ones"),
    steps: new Parameter([], "zeros"),
  }),

  /** The state before the first step. */
  init: (): LossScale => ({ scale: full([], initial), steps: zeros([]) }),

  /**
   * The state after a step.
   *
   * @param state The state.
   * @param isGood bool []: whether loss and gradient were finite.
   * @param growEvery Good steps in a row that double the scale.
   */
  next({ scale, steps }: LossScale, isGood: Tensor, growEvery: number): LossScale {
    const made = where(isGood, add(steps, 1), 0);
    const grows = greaterEqual(made, growEvery);
    const changed = mul(scale, where(isGood, where(grows, 2, 1), 0.5));
    return { scale: clamp(changed, least, greatest), steps: where(grows, 0, made) };
  },
};

/**
 * Parameters in f16, whose cotangents become f32 before they are multiplied by a factor.
 *
 * @param params A tree of f32 tensors.
 * @param factor Gives it, a scalar, when gradients are computed.
 * @returns A tree of f16 tensors.
 */
export function inHalf<P>(params: P, factor: () => Tensor): P {
  const half = customVjp(
    (x: Tensor) => cast(x, "f16"),
    (_args, _half, cotangent) => [mul(cast(cotangent, "f32"), factor())],
  );
  return treeMap((x: Tensor) => half(x), params);
}

/**
 * Fails where the current device cannot train in a type.
 *
 * @param trainings Trainings by the names of their settings.
 * @throws {RangeError} If it does not have it.
 */
export function checkPrecision(
  trainings: {
    readonly [N in "tokenizerTraining" | "training"]?: { readonly precision: Precision };
  },
): void {
  const { name, features } = currentDevice();
  const half = Object.entries(trainings).find(([, { precision }]) => precision === "f16");
  if (!half || features.f16) return;
  throw new RangeError(
    `${half[0]}.precision: expected f32 but found f16, which the device ${name} ` +
      (name === "webgpu" ? "lacks (its adapter has no shader-f16)" : "does not have"),
  );
}
