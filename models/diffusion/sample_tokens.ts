/** Drawing continuous tokens: noise is removed in few of the steps that training knows. */
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { jit } from "../../lib/transforms/jit.ts";
import { add, div, mul, sub } from "../../ops/arithmetic.ts";
import { concat } from "../../ops/concat.ts";
import { normal } from "../../ops/distributions.ts";
import { clamp } from "../../ops/extremes.ts";
import { foldIn } from "../../ops/random.ts";
import { slice } from "../../ops/slice.ts";
import { type DiffusionHead, type DiffusionHeadParameters, predictNoise } from "./head.ts";
import { cosineNoise, spacedSteps } from "./noise_schedule.ts";

/** How noise is removed. */
export interface DenoiseOptions {
  /** Steps, at most those of training (default 100). */
  readonly steps?: number;
  /** The noise added after each step is multiplied by it (default 1). */
  readonly temperature?: number;
  /** 1 (the default): ancestral sampling; 0: the deterministic DDIM; or between. */
  readonly eta?: number;
  /** The transformer's output without the condition, like `z`, for classifier-free guidance. */
  readonly unconditional?: Tensor;
  /** Scale of the guidance (default 1: none). */
  readonly guidance?: number | Tensor;
}

/**
 * Draws tokens.
 *
 * Source: Ho et al., "Denoising diffusion probabilistic models" (2020), algorithm 2; steps left out, and `eta`, as
 * in Song et al., "Denoising diffusion implicit models" (2021), equation 12; temperature as in Li et al. (2024),
 * section 3.3.
 *
 * @param head The configuration.
 * @param params Its parameters.
 * @param z The transformer's output [..., d].
 * @param key A random key.
 * @param options Steps, temperature, guidance.
 * @returns Tokens [..., C].
 * @throws {RangeError} If there are more steps than those of training.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice } from "../../lib/device.ts";
 * import { zeros } from "../../ops/create.ts";
 * import { key } from "../../ops/random.ts";
 * import { createParameters } from "../layers/parameter.ts";
 * import { diffusionHeadParameters, diffusionHeadSchema } from "./head.ts";
 * import { sampleTokens } from "./sample_tokens.ts";
 *
 * await openDevice("reference");
 * const head = diffusionHeadSchema.parse({ channels: 2, width: 8, layers: 1, steps: 20 });
 * const params = createParameters(diffusionHeadParameters(head, 4), key(0));
 * assertEquals(sampleTokens(head, params, zeros([3, 4]), key(1), { steps: 5 }).shape, [3, 2]);
 * ```
 */
export function sampleTokens(
  head: DiffusionHead,
  params: DiffusionHeadParameters,
  z: Tensor,
  key: Tensor,
  options: DenoiseOptions = {},
): Tensor {
  const shape = [...z.shape.slice(0, -1), head.channels];
  return denoise(head, params, z, (step) => drawNoise(key, scalar(step), shape), options);
}

const drawNoise = jit(function drawNoise(key: Tensor, step: Tensor, shape: readonly number[]) {
  return normal(foldIn(key, step), shape);
});

/**
 * Draws tokens from given noise.
 *
 * @param head The configuration.
 * @param params Its parameters.
 * @param z The transformer's output [..., d].
 * @param noiseOf Gives the noise [..., C] to begin with (0) and that of each step but the last (1, 2, …).
 * @param options Steps, temperature, guidance.
 * @returns Tokens [..., C].
 * @throws {RangeError} If there are more steps than those of training.
 */
export function denoise(
  head: DiffusionHead,
  params: DiffusionHeadParameters,
  z: Tensor,
  noiseOf: (step: number) => Tensor,
  options: DenoiseOptions = {},
): Tensor {
  const { temperature = 1, eta = 1, unconditional, guidance = 1 } = options;
  const left = cosineNoise(head.steps);
  const times = spacedSteps(head.steps, options.steps ?? Math.min(100, head.steps));
  let x = noiseOf(0);
  for (const [i, time] of times.entries()) {
    const now = left[time]!, next = i + 1 < times.length ? left[times[i + 1]!]! : 1;
    const spread = eta * Math.sqrt((1 - next) / (1 - now) * (1 - now / next));
    const factors = Float32Array.of(
      Math.sqrt(now),
      Math.sqrt(1 - now),
      Math.sqrt(next),
      Math.sqrt(Math.max(0, 1 - next - spread * spread)),
      spread * temperature,
    );
    const inputs: StepInputs = {
      x,
      z,
      unconditional,
      guidance: typeof guidance === "number" ? tensor(guidance) : guidance,
      time: scalar(time),
      factors: tensor(factors),
      noise: spread * temperature > 0 ? noiseOf(i + 1) : undefined,
    };
    x = denoiseStep(head, params, inputs);
  }
  return x;
}

/** What one step works on. */
interface StepInputs {
  readonly x: Tensor;
  readonly z: Tensor;
  readonly unconditional?: Tensor;
  readonly guidance: Tensor;
  readonly time: Tensor;
  /** Shares of token and noise now and after the step, and of new noise [5]. */
  readonly factors: Tensor;
  readonly noise?: Tensor;
}

const denoiseStep = jit(
  function denoiseStep(
    head: DiffusionHead,
    params: DiffusionHeadParameters,
    { x, z, unconditional, guidance, time, factors, noise }: StepInputs,
  ): Tensor {
    const [signal, disturbance, nextSignal, nextDisturbance, spread] = Array.from(
      { length: 5 },
      (_, i) => slice(factors, [i]),
    ) as [Tensor, Tensor, Tensor, Tensor, Tensor];
    const predicted = unconditional
      ? guideNoise(head, params, x, time, [z, unconditional], guidance)
      : predictNoise(head, params, x, time, z);
    const token = clamp(div(sub(x, mul(predicted, disturbance)), signal), -head.range, head.range);
    // The noise that goes with the token, if that has been kept in range.
    const remaining = div(sub(x, mul(token, signal)), disturbance);
    const moved = add(mul(token, nextSignal), mul(remaining, nextDisturbance));
    return noise ? add(moved, mul(noise, spread)) : moved;
  },
);

/** Both predictions in one pass, then `unconditional + (conditional - unconditional) · guidance`. */
function guideNoise(
  head: DiffusionHead,
  params: DiffusionHeadParameters,
  x: Tensor,
  time: Tensor,
  conditions: readonly [Tensor, Tensor],
  guidance: Tensor,
): Tensor {
  const rows = x.shape[0]!;
  const both = predictNoise(head, params, concat([x, x]), time, concat(conditions));
  const conditional = slice(both, [[0, rows]]);
  const unconditional = slice(both, [[rows, null]]);
  return add(unconditional, mul(sub(conditional, unconditional), guidance));
}

function scalar(value: number): Tensor {
  return tensor(value, { dtype: "i32" });
}
