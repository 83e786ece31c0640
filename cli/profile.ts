/** `profile`: where the time of a training step goes. */
import { showKernels } from "../lib/debug/profile.ts";
import { currentDevice } from "../lib/device.ts";
import type { StageName } from "../models/training/metrics.ts";
import { emptyStages } from "../models/training/plan.ts";
import { profileSteps } from "../models/training/profile.ts";
import { chooseConfig } from "./train.ts";
import { checked, UsageError } from "./usage.ts";

/** The most rows of the table. */
const shownKernels = 30;

/** Options of `profile`. */
export interface ProfileOptions {
  readonly set: readonly string[];
  readonly stage: StageName;
  readonly steps: number;
}

/** Prints the kernel table of a few training steps. */
export async function profileCommand(name: string, options: ProfileOptions): Promise<void> {
  const config = await chooseConfig({ config: name, set: options.set });
  const stages = await checked(() => emptyStages(config));
  const stage = stages.find(({ name }) => name === options.stage);
  if (!stage) throw new UsageError(`--stage: ${name} does not train a ${options.stage}`);
  const rows = await profileSteps(stage, options.steps);
  const total = rows.reduce((sum, { ms }) => sum + ms, 0);
  console.log(`Device: ${currentDevice().description}`);
  console.log(
    `${(total / options.steps).toPrecision(3)} ms a step of the ${stage.name}, kernels alone\n`,
  );
  console.log(showKernels(rows.slice(0, shownKernels)));
  const rest = rows.slice(shownKernels).reduce((sum, { share }) => sum + share, 0);
  if (rest > 0) console.log(`${rows.length - shownKernels} others: ${(100 * rest).toFixed(1)} %`);
}
