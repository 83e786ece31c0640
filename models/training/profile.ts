/** Where the time of a training step goes, kernel by kernel. */
import { type KernelRow, profile } from "../../lib/debug/profile.ts";
import { zeros } from "../../ops/create.ts";
import { stepInParts } from "./accumulate.ts";
import type { BatchPart } from "./data.ts";
import { firstState, type Stage } from "./loop.ts";
import { metricNames } from "./step.ts";

/**
 * Makes steps of a training on the current device and times their kernels; nothing is saved.
 *
 * @param stage The training; `emptyStages` has those of a run.
 * @param steps How many steps are timed, after one that compiles.
 * @returns The kernel table, the longest first; see `showKernels`.
 * @throws {Error} If the device cannot time steps.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { openDevice } from "../../lib/device.ts";
 * import { readConfig } from "../config/read.ts";
 * import { emptyStages } from "./plan.ts";
 * import { profileSteps } from "./profile.ts";
 *
 * const device = await openDevice("wasm");
 * const [tokenizer] = emptyStages(readConfig("smoke"));
 * const rows = await profileSteps(tokenizer!, 2);
 * assert(rows.some(({ name, calls }) => name.startsWith("conv2d") && calls % 2 === 0));
 * device.close();
 * ```
 */
export async function profileSteps<P, Batch, Buffers>(
  stage: Stage<P, Batch, Buffers>,
  steps: number,
): Promise<KernelRow[]> {
  const makeStep = stepInParts(stage);
  const batch = await stage.batches();
  let state = await firstState(stage);
  let history = zeros([stage.settings.logEvery, metricNames(stage.losses).length]);
  const make = async (count: number) => {
    for (let step = 0; step < count; step++) {
      const parts = (part: BatchPart) => batch(0, part);
      ({ state, history } = await makeStep(state, history, parts));
    }
    await history.data();
  };
  await make(1);
  return await profile(() => make(steps));
}
