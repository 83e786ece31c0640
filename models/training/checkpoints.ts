/**
 * The checkpoints of a run: `checkpoints/STAGE-STEP` in its folder. The last few are kept and the best; what is damaged
 * is passed over.
 */
import { removeTemporaries } from "../../lib/formats/atomic_write.ts";
import { openSafetensors } from "../../lib/formats/safetensors.ts";
import type { Created } from "../layers/parameter.ts";
import {
  checkFiles,
  type CheckpointInfo,
  DamagedCheckpointError,
  loadState,
  loadTree,
  type Progress,
  readCheckpoint,
  saveTree,
  writeCheckpoint,
} from "./checkpoint.ts";

/** A run's folder cannot be written to: the disk is full, broken or read-only. */
export class RunWriteError extends Error {
  override readonly name = "RunWriteError";
}

/** A checkpoint that is whole. */
export interface Checkpoint {
  readonly folder: string;
  readonly info: CheckpointInfo;
}

/** A checkpoint of a training: the last, the one with the lowest loss, or that of a step. */
export type WhichCheckpoint = "last" | "best" | number;

/** Which checkpoints stay when another is written. */
export interface Kept {
  /** How many of the last ones. */
  readonly keepCheckpoints: number;
  /** Whether the one with the lowest loss stays too. */
  readonly keepBest: boolean;
}

/** A checkpoint by its folder, not looked into. */
interface Listed {
  readonly folder: string;
  readonly step: number;
}

/** The checkpoints of a training, the newest first. */
export async function listCheckpoints(run: string, stage: string): Promise<Listed[]> {
  const found: Listed[] = [];
  for (const name of await namesOf(run)) {
    const [, of, step] = /^(.+)-(\d+)$/.exec(name) ?? [];
    if (of === stage) found.push({ folder: `${run}/checkpoints/${name}`, step: Number(step) });
  }
  return found.sort((a, b) => b.step - a.step);
}

/** The names of all checkpoints of a run: they tell how far it is. With those being written, if they are wanted. */
export async function checkpointNames(
  run: string,
  { temporary = false }: { readonly temporary?: boolean } = {},
): Promise<string[]> {
  return (await namesOf(run)).filter((name) => temporary || !name.endsWith(".tmp")).sort();
}

async function namesOf(run: string): Promise<string[]> {
  try {
    return await Array.fromAsync(Deno.readDir(`${run}/checkpoints`), ({ name }) => name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/**
 * Writes a checkpoint, and then removes those that are no longer kept, and what killed writers left.
 *
 * @param run The run's folder.
 * @param state Trees of tensors by name.
 * @param progress Where the training is.
 * @param kept What stays.
 * @returns The checkpoint's folder.
 * @throws {RunWriteError} If it cannot be written; the ones before it are as they were.
 */
export async function saveCheckpoint(
  run: string,
  state: object,
  progress: Progress,
  kept: Kept,
): Promise<string> {
  const { stage, step } = progress;
  const parent = `${run}/checkpoints`;
  await Deno.mkdir(parent, { recursive: true });
  await removeTemporaries(parent); // room for what comes
  const folder = `${parent}/${stage}-${String(step).padStart(8, "0")}`;
  try {
    await writeCheckpoint(folder, state, progress);
  } catch (error) {
    throw await explainFailure(error, run, folder);
  }
  const all = await listCheckpoints(run, stage);
  // What is of a later step was passed over as damaged.
  const earlier = all.filter((found) => found.step <= step);
  const staying = new Set(earlier.slice(0, kept.keepCheckpoints));
  if (kept.keepBest) { for (const best of (await byLoss(earlier)).slice(0, 1)) staying.add(best); }
  for (const found of all) {
    if (!staying.has(found)) await Deno.remove(found.folder, { recursive: true });
  }
  return folder;
}

/**
 * An error that says what could not be written, and that nothing saved is lost; other errors than those of a disk that
 * is full, broken or read-only stay as they are.
 */
export async function explainFailure(
  cause: unknown,
  run: string,
  path = run,
): Promise<unknown> {
  const { code, message } = cause as { code?: unknown; message: string };
  if (!["ENOSPC", "EDQUOT", "EFBIG", "EIO", "EROFS"].includes(String(code))) return cause;
  const before = (await checkpointNames(run)).map((name) => `checkpoints/${name}`);
  return new RunWriteError(
    `could not write ${path}: ${message}; what is saved is as it was: ${
      before.join(", ") || "no checkpoint yet"
    }`,
    { cause },
  );
}

/** Those with a loss, the lowest first, and of equal ones the newest. */
async function byLoss(listed: readonly Listed[]): Promise<Listed[]> {
  const losses = new Map<Listed, number>();
  for (const found of listed) {
    const info = await readCheckpoint(found.folder).catch(() => undefined);
    if (typeof info?.loss === "number") losses.set(found, info.loss);
  }
  return [...losses.keys()].sort((a, b) => losses.get(a)! - losses.get(b)!);
}

/**
 * Finds a checkpoint whose files are whole: every reader of checkpoints goes through here.
 *
 * @param run The run's folder.
 * @param stage The training.
 * @param options `which` (default the last); `parts` of the state that are going to be read (default all); `warn`, told
 * of a damaged checkpoint in place of which the one before is taken.
 * @returns The checkpoint, or undefined if there is none.
 * @throws {DamagedCheckpointError} If there are only damaged ones.
 * @throws {RangeError} If there is none of the step that was asked for.
 */
export async function findCheckpoint(
  run: string,
  stage: string,
  { which = "last", parts, warn = console.warn }: {
    readonly which?: WhichCheckpoint;
    readonly parts?: readonly string[];
    readonly warn?: (message: string) => void;
  } = {},
): Promise<Checkpoint | undefined> {
  let candidates = await listCheckpoints(run, stage);
  if (which === "best") {
    const best = await byLoss(candidates);
    candidates = [...best, ...candidates.filter((found) => !best.includes(found))];
  } else if (which !== "last") {
    const steps = candidates.map(({ step }) => step);
    candidates = candidates.filter(({ step }) => step === which);
    if (candidates.length === 0) {
      throw new RangeError(
        `findCheckpoint: expected a checkpoint of the ${stage} at step ${
          steps.reverse().join(", ") || "(none)"
        } but found ${which}`,
      );
    }
  }
  let damage: DamagedCheckpointError | undefined;
  for (const { folder, step } of candidates) {
    try {
      const info = await readCheckpoint(folder);
      if (info.stage !== stage || info.step !== step) {
        throw new DamagedCheckpointError(`${folder}: is of ${info.stage}, step ${info.step}`);
      }
      await checkFiles(folder, info, parts);
      if (damage) warn(`Continuing from ${folder} instead`);
      return { folder, info };
    } catch (error) {
      if (!(error instanceof DamagedCheckpointError)) throw error;
      damage = error;
      warn(`Damaged checkpoint ${error.message}`);
    }
  }
  if (damage) throw damage;
  return undefined;
}

/**
 * Reads the state that a training continues from.
 *
 * @param run The run's folder.
 * @param stage The training.
 * @param template A state of the same structure.
 * @param warn Told of damaged checkpoints.
 * @returns State and checkpoint, or undefined if there is none.
 * @throws {DamagedCheckpointError} If there are only damaged ones; {TypeError} if it is of another model.
 */
export async function loadLast<S extends object>(
  run: string,
  stage: string,
  template: S,
  warn?: (message: string) => void,
): Promise<{ state: S; info: CheckpointInfo } | undefined> {
  const found = await findCheckpoint(run, stage, { warn });
  return found && { state: await loadState(found.folder, template), info: found.info };
}

/**
 * Reads trained weights: those of a checkpoint (the moving average if it has one), or, where a run has no checkpoints,
 * of the file that {@link exportWeights} wrote.
 *
 * @param run The run's folder.
 * @param stage The training.
 * @param tree Describes the parameters.
 * @param which The checkpoint.
 * @returns The weights.
 * @throws {RangeError} If they are damaged or of another model; {Deno.errors.NotFound} if there are none.
 */
export async function loadWeights<T>(
  run: string,
  stage: string,
  tree: T,
  which: WhichCheckpoint = "last",
): Promise<Created<T>> {
  try {
    const found = await findCheckpoint(run, stage, { which, parts: ["params", "average"] });
    if (!found) return await loadTree(weightsFile(run, stage), tree);
    const part = "average.safetensors" in found.info.files ? "average" : "params";
    return await loadTree(`${found.folder}/${part}.safetensors`, tree);
  } catch (error) {
    const isBad = error instanceof TypeError || error instanceof DamagedCheckpointError;
    throw isBad ? new RangeError(error.message, { cause: error }) : error;
  }
}

/** Writes trained weights as one file to share, `STAGE.safetensors`, unless it holds those of this step. */
export async function exportWeights(
  run: string,
  stage: string,
  weights: unknown,
  step: number,
): Promise<void> {
  const path = weightsFile(run, stage);
  try {
    await using file = await openSafetensors(path);
    if (file.metadata.step === String(step)) return;
  } catch {
    // There is none, or it is damaged.
  }
  await saveTree(path, weights, { step: String(step) });
}

function weightsFile(run: string, stage: string): string {
  return `${run}/${stage}.safetensors`;
}
