/** Trainings that are stopped or killed, and continued: they end with the weights of undisturbed ones. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "@std/path";
import { listCheckpoints } from "../models/training/checkpoints.ts";
import { lastState } from "../models/training/testing.ts";
import { exists } from "../cli/usage.ts";
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
  return [await lastState(folder, "tokenizer"), await lastState(folder, "model")];
}

Deno.test("a signal stops a run with a checkpoint of its last step, from which it continues exactly", () =>
  inFolder(async (folder) => {
    const whole = join(folder, "whole");
    assertEquals((await run(train(whole))).code, 0);
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      const stopped = join(folder, signal);
      const hasCheckpoint = async () => (await listCheckpoints(stopped, "model")).length > 0;
      const { code, out, err } = await run(train(stopped), hasCheckpoint, signal);
      assertEquals(code, 0, err);
      assertMatch(out, new RegExp(`^Stopped by ${signal}: .* --resume continues\n$`));
      const log = await Deno.readTextFile(join(stopped, "metrics.jsonl"));
      const { step } = JSON.parse(log.trim().split("\n").at(-1)!);
      assert(step >= 10 && step < steps, `stopped at step ${step}`);
      assertEquals((await lastState(stopped, "model")).step, step);
      assertEquals((await run(["train", "--out", stopped, "--resume"])).code, 0);
      assertEquals(await weights(stopped), await weights(whole));
    }
  }));

Deno.test("a run killed at random moments can always be continued, and ends as one that was not", () =>
  inFolder(async (folder) => {
    const whole = join(folder, "whole"), killed = join(folder, "killed");
    assertEquals((await run(train(whole))).code, 0);
    const log = join(killed, "metrics.jsonl");
    const logged = () => Deno.stat(log).then(({ size }) => size, () => 0);
    let kills = 0;
    for (let tries = 0; tries < 4; tries++) {
      // A while after it has begun to train, or already before that.
      const before = tries % 3 === 2 ? -1 : await logged();
      const delay = 250 * Math.random();
      let begun = Infinity;
      const isRun = await exists(join(killed, "config.json"));
      const { code, err } = await run(
        [...train(killed), ...(isRun ? ["--resume"] : [])],
        async () => {
          if (begun === Infinity && await logged() > before) begun = performance.now();
          return performance.now() - begun > delay;
        },
      );
      // 137 is 128 + 9: it was killed, and had not failed before.
      assert(code === 137 || code === 0, `${code} after ${kills} kills: ${err}`);
      if (code === 0) break;
      kills++;
    }
    assert(kills > 0);
    const { code, err } = await run([...train(killed), "--resume"]);
    assertEquals(code, 0, err);
    assertEquals(await weights(killed), await weights(whole));
    const files = async (run: string) =>
      (await Array.fromAsync(
        Deno.readDir(run),
        ({ name }) => name.replace(/tfevents\.\d+/, "tfevents"),
      )).sort();
    assertEquals(await files(killed), await files(whole));
  }));
