/** `study`: the paper's ablations on small images, and a report of them. */
import process from "node:process";
import { currentDevice } from "../lib/device.ts";
import { writeFileAtomically } from "../lib/formats/atomic_write.ts";
import { studyReport } from "../models/study/report.ts";
import { readStudy, type Study, type StudySettings } from "../models/study/record.ts";
import { runStudy } from "../models/study/study.ts";
import { showProgress } from "./progress.ts";
import { checked, exists } from "./usage.ts";

/** Options of `study`. */
export interface StudyOptions extends StudySettings {
  readonly out: string;
}

/** Runs the study, or goes on with it; its report is there after each recipe. */
export async function study({ out, device: _, ...settings }: StudyOptions & { device?: string }) {
  const stop = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"]) process.once(name, () => stop.abort(name));
  const path = `${out}/report.html`;
  const report = async (study: Study) => {
    const html = await studyReport(study, {
      command: commandOf(settings),
      device: currentDevice().description,
      samples: async (recipe) => {
        const picture = `${out}/${recipe}/samples.png`;
        return await exists(picture) ? await Deno.readFile(picture) : undefined;
      },
    });
    await writeFileAtomically(path, html);
  };
  using progress = showProgress();
  try {
    const done = await checked(() =>
      runStudy(out, settings, {
        signal: stop.signal,
        onProgress: progress.report,
        onResult: async (result, done, total) => {
          const few = Object.entries(result.measures).map(([name, { fid }]) =>
            `${name} ${fid.toPrecision(3)}`
          );
          console.log(
            `${done}/${total} ${result.recipe}: loss ${result.loss.toFixed(3)}, FID ${
              few.join(", ")
            }`,
          );
          await report((await readStudy(out))!);
        },
      })
    );
    await report(done);
    console.log(`Wrote ${path}`);
  } catch (error) {
    if (!stop.signal.aborted || error !== stop.signal.reason) throw error;
    console.log(`Stopped by ${error}: the same command goes on`);
  }
}

/** The command that makes a study like this one. */
function commandOf({ config, set, steps, minutes, recipes, samples }: StudySettings): string {
  return [
    "deno task study",
    `--config ${config}`,
    ...set.map((field) => `--set ${field}`),
    steps === undefined ? `--minutes ${minutes}` : `--steps ${steps}`,
    ...(recipes ? [`--recipes ${recipes}`] : []),
    `--samples ${samples}`,
  ].join(" ");
}
