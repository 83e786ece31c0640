/** From the rows of a history of metrics to a line of the log. */
import { currentDevice } from "../../lib/device.ts";
import type { Stage } from "./loop.ts";
import type { Metrics } from "./metrics.ts";

/**
 * A line of the log: means of the losses over the steps since the last, without those skipped, their number, and
 * the other metrics of the last step.
 *
 * @param stage What is trained.
 * @param step Steps made.
 * @param names The columns of the history.
 * @param rows Its rows since the last line, at least one.
 * @param ms Milliseconds of a step.
 * @returns The line, with the time and the memory of now.
 */
export function summarize(
  { name: stage, losses, rate }: Pick<Stage<unknown, never>, "name" | "losses" | "rate">,
  step: number,
  names: readonly string[],
  rows: readonly ArrayLike<number>[],
  ms: number,
): Metrics {
  const skipped = names.indexOf("skipped");
  const made = rows.filter((row) => row[skipped] === 0);
  const counted = made.length > 0 ? made : rows;
  const mean = (column: number) =>
    round(counted.reduce((sum, row) => sum + row[column]!, 0) / counted.length);
  const last = (name: string) => round(rows.at(-1)![names.indexOf(name)]!);
  const means = losses.map((loss) => {
    if (typeof loss === "string") return [loss, mean(names.indexOf(loss))];
    const first = names.indexOf(`${loss.name}.0`);
    return [loss.name, Array.from({ length: loss.length }, (_, i) => mean(first + i))];
  });
  return {
    stage,
    step,
    ...Object.fromEntries(means),
    learningRate: last("learningRate"),
    gradientNorm: last("gradientNorm"),
    skipped: rows.length - made.length,
    [rate.name]: round(rate.perStep * 1000 / ms),
    ms: round(ms),
    deviceBytes: currentDevice().counters.bytesLive,
    hostBytes: Deno.memoryUsage().rss,
    time: Math.round(Date.now()) / 1000,
  } as Metrics;
}

/** Six digits are more than a reader needs. */
function round(value: number): number {
  return Number(value.toPrecision(6));
}
