/** `info`: what a run or a file of weights holds. */
import { openSafetensors } from "../lib/formats/safetensors.ts";
import { describe } from "../models/model.ts";
import { recipeName } from "../models/sar/recipe.ts";
import {
  checkFiles,
  DamagedCheckpointError,
  readCheckpoint,
} from "../models/training/checkpoint.ts";
import { listCheckpoints } from "../models/training/checkpoints.ts";
import { readMetrics, stageNames } from "../models/training/metrics.ts";
import { readRunConfig } from "../models/training/run.ts";
import { table } from "./table.ts";
import { checked, UsageError } from "./usage.ts";

/** Prints what a folder of a run, or a `.safetensors` file, holds. */
export async function info(path: string): Promise<void> {
  const { isDirectory } = await checked(() => Deno.stat(path));
  if (isDirectory) return await describeRun(path);
  if (!path.endsWith(".safetensors")) {
    throw new UsageError(`expected the folder of a run or a .safetensors file but found ${path}`);
  }
  await describeWeights(path);
}

async function describeRun(folder: string): Promise<void> {
  const config = await checked(() => readRunConfig(folder));
  const { tokenizer, model, recipe, data, seed } = config;
  console.log(`${folder}: ${data.source}, recipe ${recipeName(recipe)}, seed ${seed}\n`);
  console.log(`Tokenizer\n${describe(tokenizer)}\n\nModel\n${describe(model)}\n`);

  const metrics = await readMetrics(`${folder}/metrics.jsonl`);
  const settings = { tokenizer: config.tokenizerTraining, model: config.training };
  const rows = stageNames.map((stage) => {
    const last = metrics.findLast((line) => line.stage === stage);
    const done = `${last?.step ?? 0} of ${settings[stage].steps} steps`;
    return [stage, done, ...(last ? [`loss ${last.loss}`, `${last.ms} ms a step`] : [])];
  });
  console.log(table([["training"], ...rows]));

  const checkpoints: string[][] = [];
  for (const stage of stageNames) {
    for (const found of (await listCheckpoints(folder, stage)).reverse()) {
      checkpoints.push(await describeCheckpoint(folder, found.folder));
    }
  }
  if (checkpoints.length > 0) {
    console.log(`\n${table([["checkpoint", "bytes", "loss", ""], ...checkpoints], [1, 2])}`);
  }

  const files = await Array.fromAsync(Deno.readDir(folder));
  const sizes = await Promise.all(
    files.filter(({ isFile }) => isFile).map(({ name }) => name).sort().map(async (name) => [
      name,
      (await Deno.stat(`${folder}/${name}`)).size.toLocaleString("en-US"),
    ]),
  );
  console.log(`\n${table([["file", "bytes"], ...sizes], [1])}`);
}

async function describeCheckpoint(run: string, folder: string): Promise<string[]> {
  const name = folder.slice(run.length + 1);
  try {
    const info = await readCheckpoint(folder);
    await checkFiles(folder, info);
    const bytes = Object.values(info.files).reduce((sum, file) => sum + file.bytes, 0);
    return [name, bytes.toLocaleString("en-US"), info.loss?.toPrecision(6) ?? "", ""];
  } catch (error) {
    if (!(error instanceof DamagedCheckpointError)) throw error;
    return [name, "", "", `damaged: ${error.message.slice(folder.length + 2)}`];
  }
}

async function describeWeights(path: string): Promise<void> {
  let file;
  try {
    file = await openSafetensors(path);
  } catch (error) {
    throw new UsageError((error as Error).message, { cause: error });
  }
  await using open = file;
  const rows: string[][] = [["tensor", "type", "shape", "count"]];
  let total = 0;
  for (const [name, { dtype, shape }] of open.entries) {
    const count = shape.reduce((product, length) => product * length, 1);
    rows.push([name, dtype, `[${shape.join(", ")}]`, count.toLocaleString("en-US")]);
    total += count;
  }
  rows.push(["total", "", "", total.toLocaleString("en-US")]);
  console.log(table(rows, [3]));
  for (const [name, value] of Object.entries(open.metadata)) console.log(`${name}: ${value}`);
}
