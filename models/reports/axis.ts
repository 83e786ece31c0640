/** The axes of charts: their ranges, where their numbers stand, and how these read. */
// @ts-types="npm:@types/d3-array@3.2.2"
import { ticks } from "npm:d3-array@3.2.4";
import { faint, font, rule } from "./style.ts";

/** An axis of numbers. */
export interface Axis {
  /** What it measures, with the unit. */
  readonly label?: string;
  /** Whether it is logarithmic; values that are not positive are then left out. */
  readonly log?: boolean;
  /** The least and the greatest value (default: from the data; of bars, from 0). */
  readonly min?: number;
  readonly max?: number;
}

/** The look of an axis. */
export function axisStyle(label: string | undefined, axis: "x" | "y") {
  return {
    silent: true,
    name: label,
    nameLocation: "middle",
    nameGap: axis === "x" ? 26 : 10,
    nameTextStyle: { color: faint, fontFamily: font },
    axisLine: { show: axis === "x", onZero: false, lineStyle: { color: faint } },
  };
}

/** The options of an axis of numbers that shows some values. */
export function numberAxis(axis: Axis, values: readonly number[], side: "x" | "y") {
  const { label, log, min, max } = axis;
  const style = {
    ...axisStyle(label, side),
    axisTick: { show: side === "x", lineStyle: { color: faint } },
    splitLine: { lineStyle: { color: rule } },
    axisLabel: { color: faint, fontFamily: font, formatter: showNumber, hideOverlap: true },
  };
  if (!log) {
    const known = values.length > 0 ? {} : { min: 0, max: 1 };
    return { ...style, type: "value", scale: true, min, max, ...known };
  }
  const [least, greatest] = logRange(min ?? lowest(values), max ?? highest(values));
  const customValues = logTicks(least, greatest);
  return {
    ...style,
    type: "log",
    min: least,
    max: greatest,
    axisTick: { ...style.axisTick, customValues },
    axisLabel: { ...style.axisLabel, customValues },
  };
}

/** A range with some room around it. */
function logRange(least: number, greatest: number): [number, number] {
  if (!(least > 0 && greatest >= least)) return [1, 10]; // nothing to show
  const room = Math.max((greatest / least) ** 0.04, greatest > least ? 1 : 2);
  return [least / room, greatest * room];
}

/**
 * Where a logarithmic axis has its numbers: at powers of ten, at 1, 2, 5 times these where there are few, and at
 * equal distances within a part of a decade.
 */
function logTicks(least: number, greatest: number): number[] {
  const first = Math.floor(Math.log10(least)), last = Math.ceil(Math.log10(greatest));
  for (const multiples of [[1], [1, 2, 5]]) {
    const found: number[] = [];
    for (let power = first; power <= last; power++) {
      found.push(...multiples.map((multiple) => Number(`${multiple}e${power}`)));
    }
    const inside = found.filter((x) => least <= x && x <= greatest);
    if (inside.length >= 3) return inside;
  }
  return ticks(least, greatest, 5);
}

/** A number beside an axis: `0.002`, `1e-5`, `1.5`, `250k`, `3M`. */
function showNumber(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e15 || (size > 0 && size < 1e-4)) {
    return value.toExponential(2).replace(/\.?0+e/, "e").replace("e+", "e");
  }
  const [unit, suffix] = size >= 1e12
    ? [1e12, "T"]
    : size >= 1e9
    ? [1e9, "G"]
    : size >= 1e6
    ? [1e6, "M"]
    : size >= 1e4
    ? [1e3, "k"]
    : [1, ""];
  return `${Number((value / unit).toPrecision(8))}${suffix}`;
}

function lowest(values: readonly number[]): number {
  return values.reduce((least, value) => Math.min(least, value), Infinity);
}

function highest(values: readonly number[]): number {
  return values.reduce((greatest, value) => Math.max(greatest, value), -Infinity);
}

/** Whether an axis can show a value. */
export function isInside(value: number, { log, min = -Infinity, max = Infinity }: Axis): boolean {
  return Number.isFinite(value) && min <= value && value <= max && !(log && value <= 0);
}
