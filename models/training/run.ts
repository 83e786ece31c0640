/** A run and its folder: configuration, both trainings, their codes in between, and pictures at the end. */
import { alone, type Mpi } from "../../lib/distributed/mpi.ts";
import { removeTemporaries, writeFileAtomically } from "../../lib/formats/atomic_write.ts";
import { writePng } from "../../lib/formats/png.ts";
import { readConfig } from "../config/read.ts";
import type { RunConfig } from "../config/schema.ts";
import type { Tokenizer } from "../kinds/tokenizer.ts";
import { loadParameters } from "../llamagen/weights.ts";
import { type ParametersOf, parametersOf } from "../model.ts";
import {
  checkpointNames,
  explainFailure,
  exportWeights,
  loadWeights,
  type WhichCheckpoint,
} from "./checkpoints.ts";
import { isFolder, loadHeldOut, openData } from "./data.ts";
import { expendable } from "./expendable.ts";
import { type StageProgress, train } from "./loop.ts";
import { modelStage } from "./model_stage.ts";
import { reconstructionPicture } from "./reconstructions.ts";
import { surviveFaults } from "./recovery.ts";
import { progressPicture, samplePicture, type TrainedRun } from "./samples.ts";
import { checkRanks, firstAlone, once } from "./ranks.ts";
import { addSession } from "./sessions.ts";
import { tokenizerStage, trainsTokenizer } from "./tokenizer_stage.ts";
import { encodeRun, openRunCodes } from "./tokens.ts";

/** What a run is doing. */
export type RunProgress = StageProgress | {
  readonly stage: "data" | "codes" | "samples";
  readonly step: number;
  readonly steps: number;
};

/**
 * Trains a tokenizer and a model on its codes, and samples from them. The folder then holds `config.json`, `checkpoints`,
 * the weights `tokenizer.safetensors` and `model.safetensors`, `metrics.jsonl` and the same for TensorBoard,
 * `samples.png` and `reconstructions.png`, others of `samples/` and `reconstructions/` on the way there, and
 * `report.html`, which shows all of it. Where it holds checkpoints, the run continues from them.
 *
 * @param config The configuration.
 * @param folder The run's folder.
 * @param report Told what is being done.
 * @param signal Once it is aborted, a training writes a checkpoint, and the signal's reason is thrown.
 * @param warn Told of damaged checkpoints that are passed over; of faults of the device: it is opened again, and the run
 * goes on from its checkpoints; and of logs, pictures and reports that cannot be written: it goes on without them.
 * @throws {TypeError} If the folder's checkpoints are of another model.
 * @throws {RunWriteError} If the disk is full: the checkpoints are as they were.
 * @throws {DeviceLostError} or {OutOfMemoryError} If that happens again and again before another checkpoint.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { closeDevices, openDevice } from "../../lib/device.ts";
 * import { readConfig } from "../config/read.ts";
 * import { openRun, trainRun } from "./run.ts";
 * import { sampleImages } from "./samples.ts";
 *
 * await openDevice("wasm");
 * const folder = await Deno.makeTempDir();
 * const config = readConfig("smoke", ["tokenizerTraining.steps=1", "training.steps=2"]);
 * await trainRun(config, folder);
 * const images = await sampleImages(await openRun(folder), [0, 3], config.sampling, 7);
 * assertEquals(images.length, 2);
 * await Deno.remove(folder, { recursive: true });
 * closeDevices();
 * ```
 */
export async function trainRun(
  config: RunConfig,
  folder: string,
  report: (progress: RunProgress) => void = () => {},
  signal?: AbortSignal,
  warn?: (message: string) => void,
  mpi: Mpi = alone,
): Promise<void> {
  const tell = (progress: RunProgress) => {
    report(progress);
    if (mpi.size === 1) signal?.throwIfAborted(); // several stop together, in a training
  };
  const write = expendable(warn);
  checkRanks(config, mpi.size);
  await once(mpi, async () => {
    await Deno.mkdir(folder, { recursive: true });
    await removeTemporaries(folder);
    await writeFileAtomically(`${folder}/config.json`, `${JSON.stringify(config, null, 2)}\n`);
    await write(`${folder}/sessions.jsonl`, () => addSession(folder));
  });
  const saved = () => write(`${folder}/report.html`, () => refreshReport(folder));
  tell({ stage: "data", step: 0, steps: 1 });
  using open = new DisposableStack();
  const images = config.data.source === "codes" ? undefined : await openData(config, warn);
  if (images && isFolder(images)) open.use(images);
  const codes = images ? undefined : await openRunCodes(config);
  const heldOut = await loadHeldOut(config);
  tell({ stage: "data", step: 1, steps: 1 });
  const fromCheckpoints = async () => {
    const tokenizer = trainsTokenizer(config)
      ? await train(
        { ...tokenizerStage(config, images!, heldOut), saved },
        folder,
        report,
        signal,
        warn,
        mpi,
      )
      : await firstAlone(mpi, () => takeTokenizer(config, folder));
    if (images) {
      const draw = reconstructionPicture(config, heldOut ?? images);
      await once(mpi, async () => {
        const picture = await draw(tokenizer);
        const path = `${folder}/reconstructions.png`;
        await write(path, () => writePng(path, picture));
      });
    }
    const tellEncoding = (step: number, steps: number) => tell({ stage: "codes", step, steps });
    const tokens = async () =>
      codes ?? await encodeRun(config, tokenizer, images!, folder, tellEncoding, warn, mpi);
    const pictures = {
      every: config.training.sampleEvery,
      draw: (model: TrainedRun["model"]) => progressPicture({ config, tokenizer, model }),
    };
    const stage = { ...modelStage(config, (images ?? codes!).count, tokens), pictures, saved };
    const model = await train(stage, folder, report, signal, warn, mpi);
    return await samplePicture({ config, tokenizer, model }, (step, steps) => {
      tell({ stage: "samples", step, steps });
    }, mpi);
  };
  try {
    const place = async () => (await checkpointNames(folder)).join();
    // A fault on one of several ranks ends all of them: the others cannot go back with it.
    const picture = mpi.size > 1
      ? await fromCheckpoints()
      : await surviveFaults(fromCheckpoints, { place, warn });
    await once(mpi, async () => {
      await write(`${folder}/samples.png`, () => writePng(`${folder}/samples.png`, picture));
      await saved();
    });
  } catch (error) {
    throw await explainFailure(error, folder);
  }
}

/** Writes the report anew. What draws it is loaded only now: who imports a model needs none of it. */
async function refreshReport(folder: string): Promise<void> {
  const { writeRunReport } = await import("../reports/run_report.ts");
  await writeRunReport(folder);
}

/** The weights that a configuration names, which the folder then has as well. */
async function takeTokenizer(
  { tokenizer, tokenizerTraining }: RunConfig,
  folder: string,
): Promise<ParametersOf<Tokenizer>> {
  const described = parametersOf(tokenizer);
  try {
    return await loadWeights(folder, "tokenizer", described) as ParametersOf<Tokenizer>;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  try {
    const params = await loadParameters(described, tokenizerTraining.weights!);
    await exportWeights(folder, "tokenizer", params, 0);
    return params as ParametersOf<Tokenizer>;
  } catch (error) {
    const isOther = error instanceof TypeError || error instanceof Deno.errors.NotFound;
    if (!isOther) throw error;
    throw new RangeError(`tokenizerTraining.weights: ${error.message}`, { cause: error });
  }
}

/**
 * Opens a run that has made a checkpoint of its model, or holds the weights of one.
 *
 * @param folder The run's folder.
 * @param which The checkpoint of the model: the last, the best, or that of a step.
 * @returns Configuration and weights.
 * @throws {Deno.errors.NotFound} If a file is missing; {RangeError} if one is damaged or does not fit the configuration.
 */
export async function openRun(
  folder: string,
  which: WhichCheckpoint = "last",
): Promise<TrainedRun> {
  const config = await readRunConfig(folder);
  const { tokenizer, model } = config;
  return {
    config,
    tokenizer: await loadWeights(
      folder,
      "tokenizer",
      parametersOf(tokenizer),
    ) as TrainedRun["tokenizer"],
    model: await loadWeights(folder, "model", parametersOf(model), which) as TrainedRun["model"],
  };
}

/** Reads the configuration of a run's folder. */
export async function readRunConfig(folder: string): Promise<RunConfig> {
  const path = `${folder}/config.json`;
  const text = await Deno.readTextFile(path);
  try {
    return readConfig(JSON.parse(text));
  } catch (error) {
    throw new RangeError(`${path}: ${(error as Error).message}`, { cause: error });
  }
}
