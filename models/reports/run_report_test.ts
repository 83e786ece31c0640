/** Tests of the report of a run: what is on it, from the files in the run's folder alone. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { encodePng } from "../../lib/formats/png.ts";
import { readConfig } from "../config/read.ts";
import { openLog } from "../training/log.ts";
import type { Metrics } from "../training/metrics.ts";
import { runReport, writeRunReport } from "./run_report.ts";

const line = (step: number, more: Partial<Metrics> = {}): Metrics => ({
  stage: "model",
  step,
  loss: 10 / step,
  setLoss: [20 / step, 30 / step],
  learningRate: 1e-3,
  gradientNorm: 2,
  skipped: 1,
  tokensPerSecond: 1234,
  ms: 5000,
  deviceBytes: 1e9,
  hostBytes: 2e9,
  time: 1.7e9 + step,
  ...more,
});

async function inRun(body: (folder: string) => Promise<void>): Promise<void> {
  const outer = await Deno.makeTempDir();
  const folder = `${outer}/<b>run`;
  await Deno.mkdir(folder);
  const config = JSON.stringify(readConfig("smoke"));
  await Deno.writeTextFile(`${folder}/config.json`, config);
  try {
    await body(folder);
  } finally {
    await Deno.remove(outer, { recursive: true });
  }
}

const titles = (html: string) => [...html.matchAll(/<h2>(.*?)<\/h2>/g)].map(([, title]) => title);
const charts = (html: string) =>
  [...html.matchAll(/<text[^>]*font-weight:600[^>]*>(.*?)</g)].map(([, title]) => title);

Deno.test("a run that has only begun has a report", () =>
  inRun(async (folder) => {
    const html = await runReport(folder);
    assertEquals(titles(html), ["Summary", "Configuration"]);
    assertStringIncludes(html, "<h1>Run &lt;b&gt;run</h1>");
    assertStringIncludes(html, "shapes, recipe random-4-random, seed 0");
    assertStringIncludes(html, "<td>0 of 40</td>");
    await writeRunReport(folder);
    assertEquals(await Deno.readTextFile(`${folder}/report.html`), html);
  }));

Deno.test("a report shows curves, pictures, sessions, and loads nothing", () =>
  inRun(async (folder) => {
    const log = await openLog(folder, "model", 0);
    for (const step of [10, 20]) await log.add(line(step, { surprise: step }));
    await log.add(line(30, { loss: NaN, gradientNorm: Infinity })); // null in the file
    const image = { width: 30, height: 20, channels: 1, data: new Uint8Array(600) } as const;
    for (let step = 1; step <= 40; step++) await log.addPicture(step, image);
    await Deno.writeFile(`${folder}/samples.png`, encodePng(image));
    const session = {
      time: 1.7e9,
      device: "wasm",
      description: "<i>two threads",
      runtime: "Deno 1.2.3",
      system: "linux",
      processor: "Z80",
      cores: 1,
      memoryBytes: 65536,
    };
    const lines = `${JSON.stringify(session)}\n{"time": "yesterday"}\n{"tim`;
    await Deno.writeTextFile(`${folder}/sessions.jsonl`, lines);

    const html = await runReport(folder);
    const sections = ["Summary", "Samples", "Training of the model", "Where it ran"];
    assertEquals(titles(html), [...sections, "Configuration"]);
    assertEquals(charts(html), [
      "Loss",
      "Loss of each set",
      "Surprise",
      "Learning rate",
      "Gradient norm",
      "Tokens per second",
      "Memory in GB",
    ]);
    const captions = [...html.matchAll(/<figcaption>(.*?)</g)].map(([, caption]) => caption);
    assertEquals([captions.length, captions[0]], [13, "at the end"]);
    assertEquals([captions[1], captions.at(-1)], ["step 1", "step 40"]);
    for (const text of ["30 of 40", "1,234 tokens/s", "2:30", "0:50", "<td>3</td>", "&lt;i&gt;"]) {
      assertStringIncludes(html, text);
    }
    assertEquals(html.match(/<i>|<b>|<script|\/\/[a-z]+\.(?!w3)/g), null);
    assert(!/NaN|Infinity|undefined/.test(html));
  }));

Deno.test("where there is no run, or a broken one, there is no report", () =>
  inRun(async (folder) => {
    await assertRejects(() => runReport(`${folder}/none`), Deno.errors.NotFound);
    await Deno.writeTextFile(`${folder}/config.json`, "{");
    await assertRejects(() => runReport(folder), RangeError, "config.json");
  }));
