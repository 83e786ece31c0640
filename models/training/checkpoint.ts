/** A checkpoint: a folder of safetensors files, one for each part of a training's state, and `checkpoint.json`. */
import { z } from "npm:zod@4.6.7";
import { writeFileAtomically, writeFolderAtomically } from "../../lib/formats/atomic_write.ts";
import { digestFile } from "../../lib/formats/file_digest.ts";
import {
  readSafetensors,
  type SafetensorsDtype,
  type SafetensorsInput,
  writeSafetensors,
} from "../../lib/formats/safetensors.ts";
import type { DType } from "../../lib/dtype.ts";
import type { Tensor } from "../../lib/tensor.ts";
import { treeEntries } from "../../lib/tree.ts";
import { type Created, parametersFrom } from "../layers/parameter.ts";

/** A folder is no checkpoint, or not as it was written. */
export class DamagedCheckpointError extends Error {
  override readonly name = "DamagedCheckpointError";
}

const infoSchema = z.strictObject({
  version: z.literal(1),
  stage: z.string(),
  step: z.int().nonnegative(),
  seed: z.int().nonnegative(),
  position: z.record(z.string(), z.unknown()),
  loss: z.number().nullable(),
  config: z.unknown(),
  files: z.record(
    z.string().regex(/^\w+\.safetensors$/),
    z.strictObject({ bytes: z.int().nonnegative(), sha256: z.string().regex(/^[0-9a-f]{64}$/) }),
  ),
});

/** What `checkpoint.json` says, beside a digest of itself. */
export type CheckpointInfo = z.output<typeof infoSchema>;

/** What goes with a state into its checkpoint. */
export interface Progress {
  /** Which training it is. */
  readonly stage: string;
  /** Steps made. */
  readonly step: number;
  /** Seed of all that is random; with `step` it says where data and keys are. */
  readonly seed: number;
  /** Where data and keys are, written out: a training that continues compares it with its own. */
  readonly position: Readonly<Record<string, unknown>>;
  /** The mean loss since the checkpoint before; null if no step had a finite one. */
  readonly loss: number | null;
  /** The configuration, as plain data. */
  readonly config: unknown;
}

const dtypes: Readonly<Record<DType, SafetensorsDtype>> = {
  f32: "F32",
  f16: "F16",
  i32: "I32",
  u32: "U32",
  bool: "BOOL",
};

/**
 * Writes a tree of tensors under their paths.
 *
 * @param path Where the file goes; until it is complete, an old one stays.
 * @param tree Plain objects and arrays of tensors.
 * @param metadata Texts that go with it.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../../lib/tensor.ts";
 * import { Parameter } from "../layers/parameter.ts";
 * import { loadTree, saveTree } from "./checkpoint.ts";
 *
 * const path = await Deno.makeTempFile();
 * await saveTree(path, { layers: [{ weight: tensor([1, 2]) }] }, { step: "7" });
 * const { layers } = await loadTree(path, { layers: [{ weight: new Parameter([2], "zeros") }] });
 * assertEquals(await layers[0]!.weight.toArray(), [1, 2]);
 * await Deno.remove(path);
 * ```
 */
export async function saveTree(
  path: string,
  tree: unknown,
  metadata: Record<string, string> = {},
): Promise<void> {
  const inputs = treeEntries<Tensor>(tree).map(([name, x]): [string, SafetensorsInput] => [
    name,
    {
      dtype: dtypes[x.dtype],
      shape: x.shape,
      data: async () => await x.data() as Float32Array<ArrayBuffer>,
    },
  ]);
  await writeSafetensors(path, Object.fromEntries(inputs), metadata);
}

/**
 * Reads a tree of tensors.
 *
 * @param path The file.
 * @param tree Its structure, with `Parameter` or tensor leaves.
 * @returns The tensors.
 * @throws {TypeError} If the file does not hold exactly these tensors.
 */
export async function loadTree<T>(path: string, tree: T): Promise<Created<T>> {
  return parametersFrom(tree, (await readSafetensors(path)).tensors, path);
}

/**
 * Writes a checkpoint: it is there as a whole or not at all, also after a crash.
 *
 * @param folder Where it goes.
 * @param state Trees of tensors by name; each becomes a file.
 * @param progress What goes with them.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../../lib/tensor.ts";
 * import { loadState, readCheckpoint, writeCheckpoint } from "./checkpoint.ts";
 *
 * const folder = `${await Deno.makeTempDir()}/model-7`;
 * const state = { params: { w: tensor([1, 2]) }, optimizer: { step: tensor([7]) } };
 * const progress = { stage: "model", step: 7, seed: 0, position: {}, loss: 0.5, config: {} };
 * await writeCheckpoint(folder, state, progress);
 * assertEquals((await readCheckpoint(folder)).step, 7);
 * assertEquals(await (await loadState(folder, state)).params.w.toArray(), [1, 2]);
 * ```
 */
export async function writeCheckpoint(
  folder: string,
  state: object,
  progress: Progress,
): Promise<void> {
  await writeFolderAtomically(folder, async (temporary) => {
    const files: CheckpointInfo["files"] = {};
    for (const [name, tree] of Object.entries(state)) {
      const file = `${name}.safetensors`;
      await saveTree(`${temporary}/${file}`, tree, { step: String(progress.step) });
      files[file] = await digestFile(`${temporary}/${file}`);
    }
    const info = infoSchema.parse({ version: 1, ...progress, files });
    const text = JSON.stringify({ ...info, sha256: await digestOf(info) }, null, 2);
    await writeFileAtomically(`${temporary}/checkpoint.json`, `${text}\n`);
  });
}

/**
 * Reads what a checkpoint says of itself.
 *
 * @param folder The checkpoint.
 * @returns Its `checkpoint.json`.
 * @throws {DamagedCheckpointError} If the file is missing, or not as it was written.
 */
export async function readCheckpoint(folder: string): Promise<CheckpointInfo> {
  const damaged = (cause: unknown, what = (cause as Error).message) =>
    new DamagedCheckpointError(`${folder}: checkpoint.json: ${what}`, { cause });
  let text: string;
  try {
    text = await Deno.readTextFile(`${folder}/checkpoint.json`);
  } catch (error) {
    throw error instanceof Deno.errors.NotFound ? damaged(error, "there is none") : error;
  }
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (error) {
    throw damaged(error);
  }
  const { sha256, ...rest } = (content ?? {}) as Record<string, unknown>;
  const { success, data, error } = infoSchema.safeParse(rest);
  if (!success) {
    const { path, message } = error.issues[0]!;
    throw damaged(error, `${path.join(".")}: ${message}`);
  }
  const found = await digestOf(data);
  if (found === sha256) return data;
  throw damaged(undefined, `expected the SHA-256 digest ${sha256} but found ${found}`);
}

/**
 * Checks that files of a checkpoint are as they were written.
 *
 * @param folder The checkpoint.
 * @param info What it says of itself.
 * @param parts Names of the parts that are going to be read (default: all).
 * @throws {DamagedCheckpointError} If one is not; the message names it.
 */
export async function checkFiles(
  folder: string,
  { files }: CheckpointInfo,
  parts: readonly string[] = Object.keys(files).map((file) => file.replace(/\..*/, "")),
): Promise<void> {
  for (const file of parts.map((part) => `${part}.safetensors`)) {
    const wanted = files[file];
    if (!wanted) continue;
    let found: typeof wanted;
    try {
      found = await digestFile(`${folder}/${file}`);
    } catch (cause) {
      throw new DamagedCheckpointError(`${folder}: ${file}: ${(cause as Error).message}`, {
        cause,
      });
    }
    const [a, b] = wanted.bytes === found.bytes
      ? [`the SHA-256 digest ${wanted.sha256}`, found.sha256]
      : [`${wanted.bytes} bytes`, found.bytes];
    if (wanted.sha256 !== found.sha256) {
      throw new DamagedCheckpointError(`${folder}: ${file}: expected ${a} but found ${b}`);
    }
  }
}

/**
 * Reads the state in a checkpoint whose files are known to be whole.
 *
 * @param folder The checkpoint.
 * @param template A state of the same structure, whose values are not looked at.
 * @returns The state.
 * @throws {TypeError} If the checkpoint is of another model.
 */
export async function loadState<S extends object>(folder: string, template: S): Promise<S> {
  const parts: [string, unknown][] = [];
  for (const [name, tree] of Object.entries(template)) {
    parts.push([name, await loadTree(`${folder}/${name}.safetensors`, tree)]);
  }
  return Object.fromEntries(parts) as S;
}

async function digestOf(info: CheckpointInfo): Promise<string> {
  const { createHash } = await import("node:crypto");
  return createHash("sha256").update(JSON.stringify(info)).digest("hex");
}
