/** What a study keeps in its folder: settings and the results so far. */
import { z } from "npm:zod@4.6.7";
import { writeFileAtomically } from "../../lib/formats/atomic_write.ts";

const measure = z.strictObject({
  /** Fréchet distance to the images of the data, by the features of a classifier; lower is better. */
  fid: z.number(),
  /** Share of samples in which the classifier sees the class that was asked for. */
  accuracy: z.number(),
});

const result = z.strictObject({
  /** Name of the recipe. */
  recipe: z.string(),
  /** Mean cross entropy over the last tenth of the training, nats per token. */
  loss: z.number(),
  /** By the name of the sampling. */
  measures: z.record(z.string(), measure),
});

const settings = z.strictObject({
  /** The configuration that gives data, tokenizer, model and training: a name. */
  config: z.string(),
  /** Fields of it that are set, as `path=value`. */
  set: z.array(z.string()),
  /** Steps of each training; without it, as many as `minutes` allow. */
  steps: z.int().positive().optional(),
  /** Minutes for the whole study. */
  minutes: z.number().positive(),
  /** The recipes that are trained; without it, all. */
  recipes: z.array(z.string()).min(1).optional(),
  /** Samples of each measurement. */
  samples: z.int().min(2),
});

const study = z.strictObject({
  settings,
  /** Steps of each training. */
  steps: z.int().positive(),
  /** Minutes that the results took. */
  minutes: z.number(),
  /** Number of tokens N of an image. */
  tokens: z.int().positive(),
  /** Images of the data against others of it: what no sample is better than. */
  data: measure,
  results: z.array(result),
});

/** What a study is made with; equal for all of its recipes. */
export type StudySettings = z.output<typeof settings>;

/** The quality of samples. */
export type Measure = z.output<typeof measure>;

/** What a training was measured to be. */
export type StudyResult = z.output<typeof result>;

/** A study with its results so far. */
export type Study = z.output<typeof study>;

/**
 * Reads the study of a folder.
 *
 * @param folder The folder.
 * @param wanted The settings that it must have.
 * @returns The study, or nothing where there is none.
 * @throws {RangeError} If it has other settings, or the file is no study.
 */
export async function readStudy(
  folder: string,
  wanted?: StudySettings,
): Promise<Study | undefined> {
  const path = `${folder}/study.json`;
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  let found: Study;
  try {
    found = study.parse(JSON.parse(text));
  } catch (cause) {
    throw new RangeError(`${path}: expected a study but found ${(cause as Error).message}`, {
      cause,
    });
  }
  const [own, asked] = [found.settings, settings.parse(wanted ?? found.settings)].map((each) =>
    JSON.stringify(each)
  );
  if (own === asked) return found;
  throw new RangeError(`${path}: expected a study with the settings ${asked} but found ${own}`);
}

/** Writes the study of a folder. */
export async function writeStudy(folder: string, study: Study): Promise<void> {
  await writeFileAtomically(`${folder}/study.json`, `${JSON.stringify(study, null, 2)}\n`);
}
