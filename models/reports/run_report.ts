/** The report of a run: its curves, pictures, configuration and devices on one page, from the files in its folder. */
import { showBytes } from "../../lib/debug/table.ts";
import { writeFileAtomically } from "../../lib/formats/atomic_write.ts";
import type { RunConfig } from "../config/schema.ts";
import { describe } from "../model.ts";
import { recipeName } from "../sar/recipe.ts";
import { listPictures } from "../training/log.ts";
import { type Metrics, readMetrics, type StageName, stageNames } from "../training/metrics.ts";
import { readRunConfig } from "../training/run.ts";
import { readSessions, type Session } from "../training/sessions.ts";
import { drawCurves } from "./curves.ts";
import { duration } from "./duration.ts";
import { type Part, pngSize, type Section, writePage } from "./page.ts";

/** Writes `report.html` into the folder of a run. */
export async function writeRunReport(folder: string): Promise<void> {
  await writeFileAtomically(`${folder}/report.html`, await runReport(folder));
}

/**
 * The report of a run, which may still be training.
 *
 * @param folder The run's folder.
 * @param script JavaScript for the page.
 * @returns A page of HTML, all in one.
 * @throws {Deno.errors.NotFound} If the folder holds no run; {RangeError} if its configuration is broken.
 */
export async function runReport(folder: string, script?: string): Promise<string> {
  const config = await readRunConfig(folder);
  const metrics = await readMetrics(`${folder}/metrics.jsonl`);
  const lines = {
    tokenizer: metrics.filter(({ stage }) => stage === "tokenizer"),
    model: metrics.filter(({ stage }) => stage === "model"),
  };
  const sections: Section[] = [
    { title: "Summary", parts: [summary(config, lines)] },
    { title: "Samples", parts: await pictures(folder, "model", "samples.png") },
    { title: "Training of the model", parts: curves(lines.model) },
    { title: "Reconstructions", parts: await pictures(folder, "tokenizer", "reconstructions.png") },
    { title: "Training of the tokenizer", parts: curves(lines.tokenizer) },
    { title: "Where it ran", parts: sessionTable(await readSessions(folder)) },
    { title: "Configuration", parts: configuration(config), folded: true },
  ];
  return writePage({
    title: `Run ${folder.replace(/\/+$/, "").replace(/.*\//, "")}`,
    subtitle: `${config.data.source}, recipe ${recipeName(config.recipe)}, seed ${config.seed}`,
    sections: sections.filter(({ parts }) => parts.length > 0),
    script,
  });
}

/** How far both trainings are, and with what result. */
function summary(config: RunConfig, lines: Record<StageName, readonly Metrics[]>): Part {
  const settings = { tokenizer: config.tokenizerTraining, model: config.training };
  const rows = stageNames.map((stage) => {
    const { steps } = settings[stage], last = lines[stage].at(-1);
    if (!last) return [stage, `0 of ${number(steps)}`, "", "", "", "", "", ""];
    const [name, rate] = Object.entries(last).find(([name]) => name.endsWith("PerSecond")) ?? [""];
    return [
      stage,
      `${number(last.step)} of ${number(steps)}`,
      number(last.loss),
      number(last.ms),
      name && `${number(rate)} ${name.replace("PerSecond", "/s")}`,
      duration(secondsOf(lines[stage])),
      last.step < steps ? duration((steps - last.step) * last.ms / 1000) : "",
      number(lines[stage].reduce((sum, { skipped }) => sum + skipped, 0)),
    ];
  });
  const head = ["", "steps", "loss", "ms a step", "speed", "time", "time left", "steps skipped"];
  return { kind: "table", head, rows };
}

/** The time of all steps. */
function secondsOf(lines: readonly Metrics[]): number {
  return lines.reduce((sum, { step, ms }, i) => {
    const steps = step - (lines[i - 1]?.step ?? 0);
    return sum + steps * ms / 1000;
  }, 0);
}

/** Four digits of a number, all of a whole one. */
function number(value: unknown): string {
  if (typeof value !== "number") return "";
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  return value.toLocaleString("en-US", { maximumSignificantDigits: 4 });
}

function curves(lines: readonly Metrics[]): Part[] {
  return lines.length > 0 ? [{ kind: "charts", charts: drawCurves(lines) }] : [];
}

/** The most pictures in a report, and bytes of their files: it should open quickly. */
const mostPictures = 12, mostBytes = 8_000_000;

/** The picture of the end, and what was drawn on the way there: the first, the last, and some between. */
async function pictures(folder: string, stage: StageName, final: string): Promise<Part[]> {
  const parts: Part[] = [];
  const last = await fileOrNone(`${folder}/${final}`);
  if (last) parts.push(picturesPart([{ png: last, caption: "at the end" }]));
  const drawn = await listPictures(folder, stage);
  if (drawn.length === 0) return parts;
  const bytes = (await Deno.stat(drawn.at(-1)!.path)).size;
  const most = Math.max(1, Math.min(mostPictures, Math.floor(mostBytes / bytes)));
  const shown = await Promise.all(
    spread(drawn, most).map(async ({ path, step }) => ({
      png: await Deno.readFile(path),
      caption: `step ${number(step)}`,
    })),
  );
  return [...parts, picturesPart(shown)];
}

/** Some of a list in its order, the first and the last among them; of one, the last. */
function spread<T>(list: readonly T[], most: number): T[] {
  const count = Math.min(most, list.length);
  if (count < 2) return list.slice(-1);
  const at = (i: number) => Math.round(i * (list.length - 1) / (count - 1));
  return Array.from({ length: count }, (_, i) => list[at(i)]!);
}

/** Screen pixels that small pictures are brought up to, about. */
const leastWidth = 240;

function picturesPart(pictures: readonly { png: Uint8Array; caption: string }[]): Part {
  const images = pictures.map(({ png, caption }) => {
    const scale = Math.min(8, Math.floor(leastWidth / pngSize(png).width));
    return { png, caption, scale: Math.max(1, scale) };
  });
  return { kind: "images", images };
}

async function fileOrNone(path: string): Promise<Uint8Array | undefined> {
  try {
    return await Deno.readFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

function sessionTable(sessions: readonly Session[]): Part[] {
  if (sessions.length === 0) return [];
  const head = ["started", "device", "", "runtime", "system", "processor", "cores", "memory"];
  const rows = sessions.map((session) => [
    `${new Date(session.time * 1000).toISOString().slice(0, 16).replace("T", " ")} UTC`,
    session.device,
    session.description,
    session.runtime,
    session.system,
    session.processor,
    session.cores,
    session.memoryBytes > 0 ? showBytes(session.memoryBytes) : "",
  ]);
  return [{ kind: "table", head, rows }];
}

function configuration(config: RunConfig): Part[] {
  return [
    {
      kind: "code",
      text: `Tokenizer\n${describe(config.tokenizer)}\n\nModel\n${describe(config.model)}`,
    },
    { kind: "code", text: JSON.stringify(config, null, 2) },
  ];
}
