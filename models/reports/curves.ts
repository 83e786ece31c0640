/** The curves of a training, from the lines of its log. */
import type { Metrics } from "../training/metrics.ts";
import { groupSets } from "../training/set_groups.ts";
import { drawChart, type PointChart, type Series } from "./chart.ts";

/** Metrics with a chart of their own, or none. */
const special = new Set([
  "stage",
  "step",
  "time",
  "loss",
  "setLoss",
  "learningRate",
  "gradientNorm",
  "skipped",
  "ms",
  "deviceBytes",
  "hostBytes",
]);

/**
 * Draws the curves of a training: loss, the loss of each set, other losses, learning rate, gradient norm, speed, memory.
 *
 * @param lines Its lines of the log, by step.
 * @returns SVGs; what the log does not have is left out.
 */
export function drawCurves(lines: readonly Metrics[]): string[] {
  const names = new Set(lines.flatMap((line) => Object.keys(line)));
  const rates = [...names].filter((name) => name.endsWith("PerSecond"));
  const others = [...names].filter((name) => !special.has(name) && !rates.includes(name));
  const curve = (name: string, chart: Partial<PointChart>) =>
    drawLines(lines, { series: [seriesOf(lines, name)], ...chart });
  return [
    curve("loss", { title: "Loss" }),
    ...(names.has("setLoss")
      ? [
        drawLines(lines, {
          title: "Loss of each set",
          series: setSeries(lines),
          colors: "ordered",
        }),
      ]
      : []),
    ...others.map((name) => curve(name, { title: titleOf(name) })),
    curve("learningRate", { title: "Learning rate", y: { min: 0 } }),
    curve("gradientNorm", { title: "Gradient norm", y: { log: true } }),
    ...rates.map((name) => curve(name, { title: titleOf(name), y: { min: 0 } })),
    memory(lines),
  ];
}

function memory(lines: readonly Metrics[]): string {
  const names = { device: "deviceBytes", process: "hostBytes" };
  const isLarge = lines.some(({ hostBytes, deviceBytes }) =>
    Math.max(hostBytes, deviceBytes) >= 1e9
  );
  const [unit, scale] = isLarge ? ["GB", 1e-9] : ["MB", 1e-6];
  const series = Object.entries(names).map(([name, metric]) => ({
    ...seriesOf(lines, metric, scale),
    name,
  }));
  return drawLines(lines, { title: `Memory in ${unit}`, y: { min: 0 }, series });
}

function drawLines(
  lines: readonly Metrics[],
  chart: { series: readonly Series[] } & Partial<PointChart>,
): string {
  const values = chart.series.flatMap(({ points }) => points.map(([, y]) => y)).filter(isFinite);
  const low = values.reduce((least, value) => Math.min(least, value), Infinity);
  const high = values.reduce((greatest, value) => Math.max(greatest, value), -Infinity);
  return drawChart({
    kind: "line",
    width: 460,
    height: 280,
    x: { label: "step", min: 0, max: lines.at(-1)?.step },
    y: { log: low > 0 && high > 20 * low },
    ...chart,
  });
}

/** A metric over the steps; what is missing interrupts it. */
function seriesOf(lines: readonly Metrics[], name: string, scale = 1): Series {
  return {
    name,
    points: lines.map((line) => {
      const value = line[name];
      return [line.step, typeof value === "number" ? value * scale : NaN];
    }),
  };
}

/** The loss of each set; where there are many, means over neighbors. */
function setSeries(lines: readonly Metrics[]): Series[] {
  const groups = lines.map(({ setLoss }) => groupSets(Array.isArray(setLoss) ? setLoss : []));
  const names = (groups.findLast(({ length }) => length > 0) ?? []).map(({ name }) => name);
  return names.map((name, i) => ({
    name,
    points: lines.map(({ step }, line) => [step, groups[line]![i]?.mean ?? NaN]),
  }));
}

/** `tokensPerSecond` as `Tokens per second`. */
function titleOf(name: string): string {
  const words = name.replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
  return words[0]!.toUpperCase() + words.slice(1);
}
