/** A run whose log, pictures and report cannot be written: it goes on to the same weights, and says what is missing. */
import { assertEquals } from "@std/assert";
import { closeDevices, openDevice } from "../lib/device.ts";
import { readConfig } from "../models/config/read.ts";
import { trainRun } from "../models/training/run.ts";
import { inFolder } from "./command_line.ts";

Deno.test("a run goes on without all that only shows it", () =>
  inFolder(async (folder) => {
    await openDevice("wasm");
    const config = readConfig("smoke", [
      "tokenizerTraining.steps=2",
      "training.steps=2",
      "training.sampleEvery=1",
      "sampling.perClass=1",
    ]);
    const train = async (run: string, warnings: string[]) =>
      await trainRun(config, run, undefined, undefined, (warning) => {
        warnings.push(warning.replace(`${run}/`, ""));
      });
    const whole = `${folder}/whole`, broken = `${folder}/broken`;
    const none: string[] = [], warnings: string[] = [];
    await train(whole, none);
    assertEquals(none, []);

    // A folder cannot be written to as a file, nor a file be made a folder.
    const files = ["metrics.jsonl", "sessions.jsonl", "report.html", "samples.png"];
    for (const name of [...files, "reconstructions.png"]) {
      await Deno.mkdir(`${broken}/${name}/taken`, { recursive: true });
    }
    const folders = ["samples", "reconstructions"];
    for (const name of folders) {
      await Deno.writeTextFile(`${broken}/${name}`, "");
    }
    await train(broken, warnings);
    const said = new Set(warnings.map((warning) => /^Could not write (\S+):/.exec(warning)?.[1]));
    const wanted = [...files, "reconstructions.png", ...folders, "events.out.tfevents"];
    assertEquals([...said].sort(), wanted.sort());
    for (const name of ["tokenizer", "model"]) {
      const [own, other] = [broken, whole].map((run) =>
        Deno.readFile(`${run}/${name}.safetensors`)
      );
      assertEquals(await own, await other, name);
    }
    closeDevices();
  }));
