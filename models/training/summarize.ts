/** From the rows of a history of metrics to a line of the log. */
import process from "node:process";
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
  const mean = (rows: readonly ArrayLike<number>[], column: number) =>
    rows.reduce((sum, row) => sum + row[column]!, 0) / rows.length;
  const values = names.map((name, column) => {
    if (column === skipped) return rows.length - made.length;
    if (!losses.includes(name)) return rows.at(-1)![column]!;
    return mean(made.length > 0 ? made : rows, column);
  });
  const found = Object.fromEntries(names.map((name, i) => [name, round(values[i]!)]));
  return {
    stage,
    step,
    ...found,
    [rate.name]: round(rate.perStep * 1000 / ms),
    ms: round(ms),
    deviceBytes: currentDevice().counters.bytesLive,
    hostBytes: process.memoryUsage().rss,
    time: Math.round(Date.now()) / 1000,
  } as unknown as Metrics;
}

/** Six digits are more than a reader needs. */
function round(value: number): number {
  return Number(value.toPrecision(6));
}
