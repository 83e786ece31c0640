/** Charts as standalone SVG: lines, points and bars in one style, drawn without a browser. */
import { BarChart, LineChart, ScatterChart } from "npm:echarts@6.1.0/charts";
import { GridComponent, LegendComponent, TitleComponent } from "npm:echarts@6.1.0/components";
import { type EChartsCoreOption, init, use } from "npm:echarts@6.1.0/core";
import { SVGRenderer } from "npm:echarts@6.1.0/renderers";
import { type Axis, axisStyle, isInside, numberAxis } from "./axis.ts";
import { faint, font, ink } from "./style.ts";

use([
  BarChart,
  GridComponent,
  LegendComponent,
  LineChart,
  ScatterChart,
  SVGRenderer,
  TitleComponent,
]);

/** Points of one name and color. */
export interface Series {
  readonly name: string;
  /** Pairs of x and y; of a line in the order of x, where a y that is not finite interrupts it. */
  readonly points: readonly (readonly [x: number, y: number])[];
  /** Whether a line is dashed. */
  readonly dashed?: boolean;
}

/** What charts have in common. */
interface ChartBase {
  readonly title?: string;
  readonly y?: Axis;
  /** Size in pixels (default 640 by 360). */
  readonly width?: number;
  readonly height?: number;
  /** `ordered` where the series have an order, such as sets: colors from dark to light (default distinct). */
  readonly colors?: "distinct" | "ordered";
}

/** Lines or points over numbers. */
export interface PointChart extends ChartBase {
  readonly kind: "line" | "scatter";
  readonly x?: Axis;
  readonly series: readonly Series[];
  /** Whether every point of a line is marked (default: where a line has at most 24). */
  readonly markers?: boolean;
}

/** Groups of bars. */
export interface BarsChart extends ChartBase {
  readonly kind: "bars";
  /** The name of each group. */
  readonly groups: readonly string[];
  /** What the groups are. */
  readonly x?: { readonly label?: string };
  /** A bar in each group; one that is not finite is left out. */
  readonly series: readonly { readonly name: string; readonly values: readonly number[] }[];
}

/** A chart to be drawn. */
export type Chart = PointChart | BarsChart;

const defaultWidth = 640, legendGap = 14;
/** Told apart with impaired color vision, too (Okabe and Ito, 2008). */
const distinct = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];

/**
 * Draws a chart.
 *
 * @param chart Series and axes.
 * @returns The content of an `.svg` file, the same for the same chart; it can also stand inside a page.
 * @throws {RangeError} If a chart of bars has not as many values as groups.
 *
 * @example
 * ```ts
 * import { assertMatch } from "@std/assert";
 * import { drawChart } from "./chart.ts";
 *
 * const svg = drawChart({
 *   kind: "line",
 *   title: "Loss",
 *   x: { label: "step" },
 *   y: { label: "nats", log: true },
 *   series: [{ name: "training", points: [[1, 5.5], [2, 3.1], [3, 2.4]] }],
 * });
 * assertMatch(svg, /^<svg [^]*<\/svg>$/);
 * ```
 */
export function drawChart(chart: Chart): string {
  const { width = defaultWidth, height = 360 } = chart;
  const canvas = init(null, null, { renderer: "svg", ssr: true, width, height });
  try {
    canvas.setOption(chart.kind === "bars" ? barOptions(chart) : pointOptions(chart));
    return withoutIds(canvas.renderToSVGString());
  } finally {
    canvas.dispose();
  }
}

/**
 * Removes what answers to a pointer, and clipping (nothing outside of the axes is drawn): names that would be in each
 * other's way where several charts stand in one page, and differ from drawing to drawing.
 */
function withoutIds(svg: string): string {
  return svg
    .replaceAll(/<defs\s*>[^]*?<\/defs>|<style\s*>[^]*?<\/style>/g, "")
    .replaceAll(/ (class|clip-path|pointer-events)="[^"]*"/g, "")
    .replaceAll(/\n+/g, "\n");
}

function pointOptions(chart: PointChart): EChartsCoreOption {
  const { kind, x = {}, y = {}, series } = chart;
  const isShown = ([a, b]: readonly [number, number]) => isInside(a, x) && isInside(b, y);
  const shown = series.flatMap(({ points }) => points.filter(isShown));
  return {
    ...common(chart),
    xAxis: {
      ...numberAxis(x, shown.map(([a]) => a), "x"),
      splitLine: { show: kind === "scatter" },
    },
    yAxis: numberAxis(y, shown.map(([, b]) => b), "y"),
    series: series.map(({ name, points, dashed }) => {
      const marked = kind === "scatter" || (chart.markers ?? points.length <= 24);
      return {
        name,
        type: kind,
        ...quiet,
        data: kind === "scatter"
          ? points.filter(isShown)
          : points.map((point) => [point[0], isShown(point) ? point[1] : NaN]),
        symbol: "circle",
        symbolSize: kind === "scatter" ? 7 : 5,
        showSymbol: marked,
        sampling: "lttb", // what a screen cannot show is left out
        lineStyle: { width: 2, type: dashed ? "dashed" : "solid" },
        ...(kind === "scatter" ? { itemStyle: { opacity: 0.8 } } : {}),
      };
    }),
  };
}

function barOptions(chart: BarsChart): EChartsCoreOption {
  const { groups, x = {}, y = {}, series } = chart;
  for (const { name, values } of series) {
    if (values.length === groups.length) continue;
    throw new RangeError(
      `drawChart: expected ${groups.length} values of ${name}, one for each group, but found ${values.length}`,
    );
  }
  const shown = series.flatMap(({ values }) => values.filter((value) => isInside(value, y)));
  return {
    ...common(chart),
    xAxis: {
      type: "category",
      data: [...groups],
      ...axisStyle(x.label, "x"),
      axisTick: { show: false },
      axisLabel: { color: faint, fontFamily: font, interval: 0, hideOverlap: true },
    },
    yAxis: numberAxis(y.log || shown.some((value) => value < 0) ? y : { min: 0, ...y }, shown, "y"),
    series: series.map(({ name, values }) => ({
      name,
      type: "bar",
      ...quiet,
      data: values.map((value) => isInside(value, y) ? value : "-"),
      barGap: "8%",
      barMaxWidth: 44,
    })),
  };
}

/** No answer to a pointer, no clipping. */
const quiet = { silent: true, clip: false };

function common(
  { title, colors = "distinct", series, width = defaultWidth }: Chart,
): EChartsCoreOption {
  const legendRows = rowsOfLegend(series, width);
  return {
    animation: false,
    backgroundColor: "#ffffff",
    color: colors === "ordered" ? orderedColors(series.length) : distinct,
    textStyle: { fontFamily: font },
    title: {
      show: title !== undefined,
      text: title ?? "",
      left: 12,
      top: 10,
      textStyle: { color: ink, fontFamily: font, fontSize: 15, fontWeight: 600 },
    },
    legend: {
      show: legendRows > 0,
      bottom: 6,
      left: "center",
      icon: "roundRect",
      itemWidth: 14,
      itemHeight: 8,
      itemGap: legendGap,
      selectedMode: false,
      silent: true,
      textStyle: { color: faint, fontFamily: font },
    },
    grid: {
      left: 16,
      right: 24,
      top: title === undefined ? 20 : 50,
      bottom: 12 + 22 * legendRows,
      outerBoundsMode: "same",
      outerBoundsContain: "all",
    },
  };
}

/** How many rows the names of series take; a single one needs none. */
function rowsOfLegend(series: readonly { readonly name: string }[], width: number): number {
  if (series.length < 2) return 0;
  let rows = 1, used = 0;
  for (const { name } of series) {
    const wide = 20 + 6.5 * name.length; // an icon and letters of 12 pixels
    if (used > 0 && used + wide > width - 2 * legendGap) [rows, used] = [rows + 1, 0];
    used += wide + legendGap;
  }
  return rows;
}

/** Dark blue to light green, by way of colors of falling lightness. */
function orderedColors(count: number): string[] {
  return Array.from({ length: count }, (_, i) => {
    const place = count > 1 ? i / (count - 1) : 0;
    return `hsl(${Math.round(255 - 165 * place)}, 65%, ${Math.round(30 + 25 * place)}%)`;
  });
}
