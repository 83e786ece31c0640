/** Trainings that are stopped or killed, and continued: they end with the weights of undisturbed ones. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "@std/path";
import { readSafetensors } from "../lib/formats/safetensors.ts";
import { inFolder, run } from "./command_line.ts";

const steps = 150;

const train = (out: string) => [
  "train",
  "--config",
  "smoke",
  "--out",
  out,
  "--steps",
  String(steps),
];

async function weights(folder: string) {
  const files = ["tokenizer", "model", "optimizer"].map((name) => `${name}.safetensors`);
  return await Promise.all(files.map((file) => readSafetensors(join(folder, file))));
}

Deno.test("a signal stops a run with a checkpoint of its last step, from which it continues exactly", () =>
  inFolder(async (folder) => {
    const whole = join(folder, "whole");
    assertEquals((await run(train(whole))).code, 0);
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      const stopped = join(folder, signal);
      const state = join(stopped, "optimizer.safetensors");
      const hasCheckpoint = () => Deno.stat(state).then(() => true, () => false);
      const { code, out, err } = await run(train(stopped), hasCheckpoint, signal);
      assertEquals(code, 0, err);
      assertMatch(out, new RegExp(`^Stopped by ${signal}: .* --resume continues\n$`));
      const log = await Deno.readTextFile(join(stopped, "metrics.jsonl"));
      const { step } = JSON.parse(log.trim().split("\n").at(-1)!);
      assert(step >= 10 && step < steps, `stopped at step ${step}`);
      assertEquals((await readSafetensors(state)).metadata.step, String(step));
      assertEquals((await run(["train", "--out", stopped, "--resume"])).code, 0);
      assertEquals(await weights(stopped), await weights(whole));
    }
  }));
