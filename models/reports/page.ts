/** Pages of HTML in one file: sections of text, tables, charts and pictures, with nothing to load from elsewhere. */
import { escapeAttribute, escapeText } from "npm:entities@9.0.0/escape";
import { faint, font, ink, rule, shade } from "./style.ts";

/** A part of a section. All text is shown as it is: none of it is taken for HTML. */
export type Part =
  | { readonly kind: "text"; readonly text: string }
  /** Text of which lines and spaces matter. */
  | { readonly kind: "code"; readonly text: string }
  | {
    readonly kind: "table";
    readonly head?: readonly string[];
    /** Cells by row; numbers are aligned to the right. */
    readonly rows: readonly (readonly (string | number)[])[];
  }
  /** Charts of `drawChart`, beside each other where there is room. */
  | { readonly kind: "charts"; readonly charts: readonly string[] }
  | {
    readonly kind: "images";
    readonly images: readonly {
      /** The content of a PNG file. */
      readonly png: Uint8Array;
      readonly caption: string;
      /** Screen pixels of one of its pixels, which stay sharp (default 1). */
      readonly scale?: number;
    }[];
  };

/** A section of a page. */
export interface Section {
  readonly title: string;
  readonly parts: readonly Part[];
  /** Whether only its title is shown until it is opened. */
  readonly folded?: boolean;
}

/** A page. */
export interface Page {
  readonly title: string;
  /** A line below the title. */
  readonly subtitle?: string;
  readonly sections: readonly Section[];
  /** JavaScript that runs once the page is there. */
  readonly script?: string;
}

/**
 * Writes a page.
 *
 * @param page What is on it.
 * @returns The content of an `.html` file; it is all in it.
 * @throws {TypeError} If a chart is no SVG.
 *
 * @example
 * ```ts
 * import { assertStringIncludes } from "@std/assert";
 * import { writePage } from "./page.ts";
 *
 * const html = writePage({
 *   title: "Run <1>",
 *   sections: [{ title: "Result", parts: [{ kind: "table", head: ["order", "FID"], rows: [["raster", 5.4]] }] }],
 * });
 * assertStringIncludes(html, "<h1>Run &lt;1&gt;</h1>");
 * ```
 */
export function writePage({ title, subtitle, sections, script }: Page): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeText(title)}</title>
<link rel="icon" href="data:,">
<style>${css}</style>
</head>
<body>
<main>
<header><h1>${escapeText(title)}</h1>${subtitle ? `<p>${escapeText(subtitle)}</p>` : ""}</header>
${sections.map(sectionHtml).join("\n")}
</main>
${script ? `<script>${script.replaceAll("</", "<\\/")}</script>\n` : ""}</body>
</html>
`;
}

function sectionHtml({ title, parts, folded }: Section): string {
  const heading = `<h2>${escapeText(title)}</h2>`;
  const body = parts.map(partHtml).join("\n");
  return folded
    ? `<details><summary>${heading}</summary>\n${body}\n</details>`
    : `<section>${heading}\n${body}\n</section>`;
}

function partHtml(part: Part): string {
  switch (part.kind) {
    case "text":
      return `<p>${escapeText(part.text)}</p>`;
    case "code":
      return `<pre>${escapeText(part.text)}</pre>`;
    case "table":
      return tableHtml(part.head ?? [], part.rows);
    case "charts":
      return `<div class="charts">${part.charts.map(chartHtml).join("\n")}</div>`;
    case "images":
      return `<div class="images">${part.images.map(imageHtml).join("\n")}</div>`;
  }
}

function tableHtml(
  head: readonly string[],
  rows: readonly (readonly (string | number)[])[],
): string {
  const isNumber = (column: number) => typeof rows[0]?.[column] === "number";
  const cell = (tag: "td" | "th", text: string | number, column: number) =>
    `<${tag}${isNumber(column) ? ' class="number"' : ""}>${escapeText(String(text))}</${tag}>`;
  const row = (tag: "td" | "th", cells: readonly (string | number)[]) =>
    `<tr>${cells.map((text, column) => cell(tag, text, column)).join("")}</tr>`;
  return [
    '<div class="table"><table>',
    ...(head.length > 0 ? [`<thead>${row("th", head)}</thead>`] : []),
    `<tbody>${rows.map((cells) => row("td", cells)).join("\n")}</tbody>`,
    "</table></div>",
  ].join("\n");
}

function chartHtml(svg: string): string {
  if (/^<svg [^]*<\/svg>\s*$/.test(svg) && !/<script/i.test(svg)) return `<figure>${svg}</figure>`;
  throw new TypeError(`writePage: expected a chart as SVG but found ${svg.slice(0, 40)}`);
}

function imageHtml(
  { png, caption, scale = 1 }: { png: Uint8Array; caption: string; scale?: number },
): string {
  const { width, height } = pngSize(png);
  const text = escapeText(caption), alternative = escapeAttribute(caption);
  const source = `data:image/png;base64,${png.toBase64()}`;
  return `<figure><img src="${source}" width="${width * scale}" height="${
    height * scale
  }" alt="${alternative}">` +
    `<figcaption>${text}</figcaption></figure>`;
}

/**
 * Width and height of a PNG file, which stand at its begin.
 *
 * @throws {TypeError} If it is none.
 */
export function pngSize(png: Uint8Array): { width: number; height: number } {
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength);
  if (png.length < 24 || view.getUint32(0) !== 0x89504e47) {
    throw new TypeError("writePage: expected an image to be a PNG file");
  }
  return { width: view.getUint32(16), height: view.getUint32(20) };
}

const css = `
:root { color-scheme: light; }
body { margin: 0; background: ${shade}; color: ${ink}; font: 15px/1.5 ${font}; }
main { max-width: 1340px; margin: 0 auto; padding: 24px; }
header { margin: 0 4px 20px; }
h1 { margin: 0; font-size: 24px; }
header p { margin: 4px 0 0; color: ${faint}; }
section, details { background: #fff; border: 1px solid ${rule}; border-radius: 8px; padding: 16px 20px; margin: 0 0 16px; }
h2 { margin: 0 0 12px; font-size: 17px; }
summary { cursor: pointer; }
summary h2 { display: inline; }
details[open] summary { margin-bottom: 12px; }
p { margin: 0 0 12px; max-width: 75ch; }
pre { margin: 0 0 12px; padding: 12px; overflow-x: auto; background: ${shade}; border-radius: 6px; font: 13px/1.45 ui-monospace, 'DejaVu Sans Mono', monospace; }
.table { overflow-x: auto; margin: 0 0 12px; }
table { border-collapse: collapse; }
th, td { padding: 5px 20px 5px 0; text-align: left; border-bottom: 1px solid ${rule}; vertical-align: top; }
th { color: ${faint}; font-weight: 600; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: 12px; }
.images { display: flex; flex-wrap: wrap; gap: 20px; align-items: flex-end; margin: 0 0 16px; }
figure { margin: 0; }
svg { display: block; width: 100%; height: auto; }
img { display: block; max-width: 100%; height: auto; image-rendering: pixelated; border-radius: 3px; }
figcaption { color: ${faint}; font-size: 13px; margin-top: 4px; }
`;
