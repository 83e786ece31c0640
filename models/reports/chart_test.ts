import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { type Chart, drawChart } from "./chart.ts";
import { writePage } from "./page.ts";

const line: Chart = {
  kind: "line",
  title: "Loss <&>",
  x: { label: "step" },
  y: { label: "nats", log: true },
  series: [
    { name: "training", points: [[1, 5.5], [2, 3.1], [3, NaN], [4, 2.4]] },
    { name: "validation", points: [[1, 5.7], [4, 0]], dashed: true },
  ],
};

const texts = (svg: string) => [...svg.matchAll(/<text[^>]*>([^<]*)</g)].map(([, text]) => text!);

Deno.test("a chart is the same each time, and shares no name with another in a page", () => {
  const svg = drawChart(line);
  assertEquals(drawChart(line), svg);
  assertEquals(svg.match(/ (id|class)=|url\(|<style|<script/), null);
});

Deno.test("a chart names its axes and series, as text", () => {
  const found = texts(drawChart(line));
  for (const text of ["Loss &lt;&amp;&gt;", "step", "nats", "training", "validation"]) {
    assert(found.includes(text), `${text} is not among ${found.join(" | ")}`);
  }
});

Deno.test("a logarithmic axis has numbers within a decade, and over many", () => {
  const numbers = (low: number, high: number) =>
    texts(drawChart({
      kind: "line",
      y: { log: true },
      x: { min: 0, max: 1 },
      series: [{ name: "", points: [[0, low], [1, high]] }],
    })).filter((text) => !/^(0|0\.\d|1)$/.test(text) || text === "0.001");
  assertEquals(numbers(2.1, 2.6), ["2.1", "2.2", "2.3", "2.4", "2.5", "2.6"]);
  assertEquals(numbers(3, 700), ["5", "10", "20", "50", "100", "200", "500"]);
  assertEquals(numbers(1e-6, 1e-4), ["1e-6", "1e-5", "0.0001"]);
  assertEquals(numbers(1e4, 3e6), ["10k", "100k", "1M"]);
});

Deno.test("what is not finite, not positive on a logarithmic axis, or out of range is left out", () => {
  const points = (x: number, y: number) => [[1, 1], [x, y], [3, 2]] as [number, number][];
  const circles = (chart: Partial<Chart>, x: number, y: number) => {
    const svg = drawChart(
      { kind: "scatter", series: [{ name: "", points: points(x, y) }], ...chart } as Chart,
    );
    assert(!/NaN|Infinity/.test(svg), svg);
    return svg.match(/<path[^>]* fill="#0072b2"/g)?.length;
  };
  assertEquals(circles({}, 2, 1.5), 3);
  assertEquals(circles({}, 2, Infinity), 2);
  assertEquals(circles({}, NaN, 1), 2);
  assertEquals(circles({ y: { log: true } }, 2, 0), 2);
  assertEquals(circles({ y: { max: 5 } }, 2, 9), 2);
});

Deno.test("charts of nothing, of one point and of constants can be drawn", () => {
  for (const points of [[], [[1, 5]], [[1, 5], [2, 5]]] as [number, number][][]) {
    for (const log of [false, true]) {
      const svg = drawChart({ kind: "line", y: { log }, series: [{ name: "x", points }] });
      assert(!/NaN|Infinity|undefined/.test(svg), svg);
    }
  }
});

Deno.test("bars start at zero, one for each group and series", () => {
  const chart: Chart = {
    kind: "bars",
    groups: ["8", "16"],
    series: [{ name: "raster", values: [50, 30] }, { name: "random", values: [40, NaN] }],
  };
  const svg = drawChart(chart);
  assert(texts(svg).includes("0"));
  const bars = (color: string) => svg.match(new RegExp(`fill="${color}"`, "g"))!.length - 1; // one is the legend's
  assertEquals([bars("#0072b2"), bars("#d55e00")], [2, 1]);
  assertThrows(
    () => drawChart({ ...chart, groups: ["8"] }),
    RangeError,
    "drawChart: expected 1 values of raster, one for each group, but found 2",
  );
});

Deno.test("a page shows all text as text, and loads nothing", () => {
  const nasty = `<script>alert("1")</script>&'`;
  const png = new Uint8Array(24);
  new DataView(png.buffer).setUint32(0, 0x89504e47);
  const html = writePage({
    title: nasty,
    subtitle: nasty,
    sections: [{
      title: nasty,
      parts: [
        { kind: "text", text: nasty },
        { kind: "code", text: nasty },
        { kind: "table", head: [nasty], rows: [[nasty], [1]] },
        { kind: "charts", charts: [drawChart({ ...line, title: nasty })] },
        { kind: "images", images: [{ png, caption: nasty, scale: 2 }] },
      ],
    }],
  });
  assertEquals(html.match(/<script/g), null);
  const links = [...html.matchAll(/(?:src|href|url\()\s*=?\s*"?([^"\s>]{1,22})/g)].map(([, to]) =>
    to
  );
  assertEquals(links, ["data:,", "data:image/png;base64,"]);
  assertStringIncludes(html, "alert(&quot;1&quot;)"); // in an attribute
});

Deno.test("a page refuses charts and images that are none", () => {
  const page = (part: Parameters<typeof writePage>[0]["sections"][0]["parts"][0]) => () =>
    writePage({ title: "", sections: [{ title: "", parts: [part] }] });
  assertThrows(page({ kind: "charts", charts: ["<b>"] }), TypeError, "expected a chart as SVG");
  const images = [{ png: new Uint8Array(40), caption: "" }];
  assertThrows(page({ kind: "images", images }), TypeError, "expected an image to be a PNG file");
});
