/** Which op made a training's loss or gradient NaN or infinite. */
import { debugNans, NonFiniteError } from "../../lib/debug/nans.ts";
import { zeros } from "../../ops/create.ts";
import type { StepOf } from "./accumulate.ts";
import { metricNames, type TrainingState, trainingStep } from "./step.ts";

/**
 * Makes a step again, op by op, and says where the first NaN or infinity came from.
 *
 * @param training The training.
 * @param state The state before the step; it stays as it is.
 * @param batch The inputs of the step.
 * @returns A sentence that names the op, or the value that came in broken.
 */
export async function blameStep<P, Batch, Buffers>(
  { loss, losses, settings, buffers }: StepOf<P, Batch, Buffers>,
  state: TrainingState<P, Buffers>,
  batch: Batch,
): Promise<string> {
  const step = trainingStep(loss, losses, settings, buffers?.update);
  const history = zeros([1, metricNames(losses, settings.precision).length]);
  try {
    await debugNans((inputs: { state: typeof state; batch: Batch }) =>
      step(inputs.state, history, inputs.batch)
    )({ state, batch });
  } catch (error) {
    return error instanceof NonFiniteError
      ? error.message
      : `looking for the op failed: ${(error as Error).message}`;
  }
  return "op by op, the step has no NaN or infinity now";
}
