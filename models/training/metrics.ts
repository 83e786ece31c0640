/** The log of a run: one line of JSON for every reading of the losses. */
import { writeFileAtomically } from "../../lib/formats/atomic_write.ts";

/** The trainings of a run, in their order. */
export const stageNames = ["tokenizer", "model"] as const;

/** Name of a training. */
export type StageName = typeof stageNames[number];

/** A line of the log. */
export interface Metrics {
  readonly stage: StageName;
  /** Steps made. */
  readonly step: number;
  /** When the line was written, in seconds since 1970. */
  readonly time: number;
  /** Mean of the loss since the line before; in a file null where every step was skipped. */
  readonly loss: number;
  /** Learning rate and gradient norm of this step, and further losses. */
  readonly learningRate: number;
  readonly gradientNorm: number;
  /** Steps since the line before that were skipped because loss or gradient was not finite. */
  readonly skipped: number;
  /** Milliseconds a step. */
  readonly ms: number;
  /** Bytes in use on the device, and of the whole process. */
  readonly deviceBytes: number;
  readonly hostBytes: number;
  /** Such as `setLoss`, the mean cross entropy of each set. */
  readonly [further: string]: number | string | readonly number[];
}

/** Adds lines to a log. */
export async function appendMetrics(path: string, lines: readonly Metrics[]): Promise<void> {
  const text = lines.map((line) => `${JSON.stringify(line)}\n`).join("");
  await Deno.writeTextFile(path, text, { append: true });
}

/**
 * Reads a log.
 *
 * @param path The file; there may be none.
 * @returns Its lines; one that was cut off by a crash is left out.
 */
export async function readMetrics(path: string): Promise<Metrics[]> {
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
  return text.split("\n").flatMap((line) => {
    try {
      return [JSON.parse(line) as Metrics];
    } catch {
      return [];
    }
  });
}

/**
 * Removes what a log says about steps that are about to be made (again).
 *
 * @param path The file; there may be none.
 * @param stage The training that goes on; lines of later ones are removed.
 * @param step Steps that it has made.
 */
export async function trimMetrics(path: string, stage: StageName, step: number): Promise<void> {
  const place = stageNames.indexOf(stage);
  const kept = (await readMetrics(path)).filter((line) => {
    const at = stageNames.indexOf(line.stage);
    return at < place || (at === place && line.step <= step);
  });
  await writeFileAtomically(path, kept.map((line) => `${JSON.stringify(line)}\n`).join(""));
}
