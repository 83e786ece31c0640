/** Learning-rate schedules: functions of the step, computed on the device. */
import { type Tensor, tensor, type TensorLike } from "../../lib/tensor.ts";
import { add, div, mul, sub } from "../arithmetic.ts";
import { cast } from "../cast.ts";
import { clamp, minimum } from "../extremes.ts";
import { cos } from "../math.ts";

/** The learning rate at a step, counted from 0: a scalar f32 tensor. */
export type Schedule = (step: TensorLike) => Tensor;

const f32 = (x: TensorLike): Tensor => typeof x === "object" ? cast(x, "f32") : tensor(Number(x));

/**
 * The same rate at every step.
 *
 * @param rate The rate.
 * @returns The schedule.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { constantSchedule, openDevice } from "../../mod.ts";
 * await openDevice("reference");
 * assertEquals(await constantSchedule(0.5)(7).item(), 0.5);
 * ```
 */
export function constantSchedule(rate: number): Schedule {
  return (step) => add(mul(f32(step), 0), rate);
}

/**
 * A schedule with a linear rise in front: at step s of `steps` it is multiplied by (s + 1)/steps.
 * The schedule itself counts from the first step on.
 *
 * @param steps The length of the rise; 0 for none.
 * @param schedule What follows.
 * @returns The schedule.
 * @throws {RangeError} If `steps` is no whole number of at least 0.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { constantSchedule, openDevice, warmup } from "../../mod.ts";
 * await openDevice("reference");
 * const schedule = warmup(4, constantSchedule(1));
 * assertEquals([await schedule(0).item(), await schedule(9).item()], [0.25, 1]);
 * ```
 */
export function warmup(steps: number, schedule: Schedule): Schedule {
  checkSteps("warmup", steps, 0);
  if (steps === 0) return schedule;
  return (step) => mul(schedule(step), minimum(1, div(add(f32(step), 1), steps)));
}

/**
 * Half a cosine from `rate` at step 0 to `rate · final` at step `steps`, and constant from there
 * (Loshchilov and Hutter 2017).
 *
 * @param rate The rate at the start.
 * @param steps The length.
 * @param final The share of the rate at the end.
 * @returns The schedule.
 * @throws {RangeError} If `steps` is no whole number of at least 1.
 *
 * @example
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { cosineSchedule, openDevice } from "../../mod.ts";
 * await openDevice("reference");
 * const schedule = cosineSchedule(1, 10, 0.5);
 * assertAlmostEquals(await schedule(5).item(), 0.75, 1e-6);
 * ```
 */
export function cosineSchedule(rate: number, steps: number, final = 0): Schedule {
  checkSteps("cosineSchedule", steps, 1);
  return (step) => {
    const progress = clamp(div(f32(step), steps), 0, 1);
    const share = mul(add(cos(mul(progress, Math.PI)), 1), 0.5);
    return mul(add(mul(share, 1 - final), final), rate);
  };
}

/**
 * A straight line from `rate` at step 0 to `rate · final` at step `steps`, and constant from there.
 *
 * @param rate The rate at the start.
 * @param steps The length.
 * @param final The share of the rate at the end.
 * @returns The schedule.
 * @throws {RangeError} If `steps` is no whole number of at least 1.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { linearSchedule, openDevice } from "../../mod.ts";
 * await openDevice("reference");
 * assertEquals(await linearSchedule(1, 4)(1).item(), 0.75);
 * ```
 */
export function linearSchedule(rate: number, steps: number, final = 0): Schedule {
  checkSteps("linearSchedule", steps, 1);
  return (step) => {
    const progress = clamp(div(f32(step), steps), 0, 1);
    return mul(sub(1, mul(progress, 1 - final)), rate);
  };
}

function checkSteps(op: string, steps: number, least: number): void {
  if (!Number.isSafeInteger(steps) || steps < least) {
    throw new RangeError(
      `${op}: expected steps to be a whole number of at least ${least} but found ${steps}`,
    );
  }
}
