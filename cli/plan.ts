/** `plan`: what a training will take, before it runs. */
import { currentDevice } from "../lib/device.ts";
import { showBytes } from "../lib/debug/table.ts";
import { planRun } from "../models/training/plan.ts";
import { table } from "./table.ts";
import { chooseConfig } from "./train.ts";
import { checked } from "./usage.ts";

/** Prints parameters, arithmetic and memory of both trainings of a configuration. */
export async function plan(name: string, { set }: { set: readonly string[] }): Promise<void> {
  const config = await chooseConfig({ config: name, set });
  const plans = await checked(() => planRun(config));
  const row = (title: string, cells: readonly string[]) => [title, ...cells];
  const bytes = (title: string, of: keyof typeof plans[number]["bytes"]) =>
    row(`  ${title}`, plans.map(({ bytes }) => showBytes(bytes[of])));
  console.log(`Device: ${currentDevice().description}\n`);
  console.log(table([
    row("a training step of the", plans.map(({ stage }) => stage)),
    row("parameters", plans.map(({ parameters }) => parameters.toLocaleString("en-US"))),
    row("GFLOP", plans.map(({ flops }) => (flops / 1e9).toPrecision(3))),
    row("memory", plans.map(({ bytes }) => showBytes(bytes.total))),
    bytes("parameters", "parameters"),
    bytes("optimizer", "optimizer"),
    bytes("moving average", "average"),
    bytes("gradients", "gradients"),
    bytes("activations", "activations"),
    bytes("scratch of kernels", "scratch"),
    bytes("batch", "batch"),
    bytes("constants, metrics, buffers", "other"),
    row("in the host's memory", plans.map(({ bytes }) => showBytes(bytes.onHost))),
  ], plans.map((_, i) => i + 1)));
}
