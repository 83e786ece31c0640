/**
 * The log of a training in the run's folder: `metrics.jsonl`, pictures, and both once more as TensorBoard reads them.
 */
import { writeAll, writeAtomically } from "../../lib/formats/atomic_write.ts";
import { decodePng, encodePng, type Image, writePng } from "../../lib/formats/png.ts";
import { encodeEvent, eventFileHead, type EventValue } from "../../lib/formats/tfevents.ts";
import { expendable } from "./expendable.ts";
import {
  appendMetrics,
  type Metrics,
  readMetrics,
  type StageName,
  stageNames,
  trimMetrics,
} from "./metrics.ts";
import { groupSets } from "./set_groups.ts";

/** Where the pictures of each training go, below the run's folder. */
export const pictureFolders = { tokenizer: "reconstructions", model: "samples" } as const;

/** A log that is being written. */
export interface TrainingLog {
  /** Adds a line of metrics. */
  add(line: Metrics): Promise<void>;
  /** Adds what the parameters draw after a step. */
  addPicture(step: number, image: Image): Promise<void>;
}

/**
 * Opens the log of a training that goes on. What it says about steps that are about to be made (again) is removed.
 *
 * TensorBoard's file is written anew from the rest, so that no step is in it twice, and no record broken. Of what cannot
 * be written, nothing is thrown; it is tried again with what comes next.
 *
 * @param folder The run's folder.
 * @param stage The training.
 * @param step Steps that it has made.
 * @param warn Told of what cannot be written.
 * @returns The log.
 */
export async function openLog(
  folder: string,
  stage: StageName,
  step: number,
  warn?: (message: string) => void,
): Promise<TrainingLog> {
  const metrics = `${folder}/metrics.jsonl`, pictures = `${folder}/${pictureFolders[stage]}`;
  const write = expendable(warn);
  // What failed to be written may be there in part: then the file is made whole before anything else goes into it.
  let isWhole = false, written = step;
  const addLines = (lines: readonly Metrics[]) =>
    write(metrics, async () => {
      if (!isWhole) await trimMetrics(metrics, stage, written);
      isWhole = false;
      await appendMetrics(metrics, lines);
      isWhole = true;
      written = lines.at(-1)?.step ?? written;
    });
  let events: string | undefined;
  const addEvent = (record: Uint8Array) =>
    write(`${folder}/events.out.tfevents`, async () => {
      const path = events;
      events = undefined;
      if (path) await Deno.writeFile(path, record, { append: true });
      events = path ?? await rewriteEvents(folder); // from what has just been written as well
    });
  await addLines([]);
  await write(pictures, () => removePictures(folder, stage, step));
  await addEvent(new Uint8Array());
  return {
    async add(line) {
      await addLines([line]);
      await addEvent(metricsEvent(line));
    },
    async addPicture(step, image) {
      await write(pictures, async () => {
        await Deno.mkdir(pictures, { recursive: true });
        await writePng(`${pictures}/step-${String(step).padStart(6, "0")}.png`, image);
      });
      await addEvent(pictureEvent(stage, step, Date.now() / 1000, encodePng(image), image));
    },
  };
}

/** Removes what a training, and those after it, have drawn after a step. */
async function removePictures(folder: string, stage: StageName, step: number): Promise<void> {
  for (const later of stageNames.slice(stageNames.indexOf(stage))) {
    for (const picture of await listPictures(folder, later)) {
      if (later !== stage || picture.step > step) await Deno.remove(picture.path);
    }
  }
}

/** A picture in a run's folder. */
export interface Picture {
  readonly path: string;
  readonly step: number;
}

/** The pictures that a training has drawn, by step. */
export async function listPictures(folder: string, stage: StageName): Promise<Picture[]> {
  const inside = `${folder}/${pictureFolders[stage]}`;
  const found: Picture[] = [];
  try {
    for await (const { name } of Deno.readDir(inside)) {
      const [, step] = /^step-(\d+)\.png$/.exec(name) ?? [];
      if (step) found.push({ path: `${inside}/${name}`, step: Number(step) });
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return found.sort((a, b) => a.step - b.step);
}

const eventFile = /^events\.out\.tfevents\.\d+\.tessera$/;

/** Writes TensorBoard's file from metrics and pictures, in the place of those before; returns its path. */
async function rewriteEvents(folder: string): Promise<string> {
  const now = Date.now() / 1000;
  const path = `${folder}/events.out.tfevents.${Math.floor(now)}.tessera`;
  const lines = await readMetrics(`${folder}/metrics.jsonl`);
  await writeAtomically(path, async (file) => {
    await writeAll(file, eventFileHead(lines[0]?.time ?? now));
    for (const line of lines) await writeAll(file, metricsEvent(line));
    for (const stage of stageNames) {
      for (const { path, step } of await listPictures(folder, stage)) {
        const png = await Deno.readFile(path);
        const time = lines.find((line) => line.stage === stage && line.step >= step)?.time ?? now;
        await writeAll(file, pictureEvent(stage, step, time, png, decodePng(png)));
      }
    }
  });
  for await (const { name } of Deno.readDir(folder)) {
    if (eventFile.test(name) && !path.endsWith(`/${name}`)) await Deno.remove(`${folder}/${name}`);
  }
  return path;
}

function metricsEvent({ stage, step, time, ...metrics }: Metrics): Uint8Array {
  const values = Object.entries(metrics).flatMap(([name, value]): EventValue[] => {
    if (typeof value === "number") return [{ tag: `${stage}/${name}`, scalar: value }];
    if (value === null) return [{ tag: `${stage}/${name}`, scalar: NaN }]; // as JSON has it
    if (!Array.isArray(value)) return [];
    return groupSets(value).map((group) => ({
      tag: `${stage}/${name}/${group.name}`,
      scalar: group.mean,
    }));
  });
  return encodeEvent({ time, step, values });
}

function pictureEvent(
  stage: StageName,
  step: number,
  time: number,
  png: Uint8Array,
  { width, height, channels }: Image,
): Uint8Array {
  const image = { width, height, channels, png };
  return encodeEvent({ time, step, values: [{ tag: `${stage}/${pictureFolders[stage]}`, image }] });
}
