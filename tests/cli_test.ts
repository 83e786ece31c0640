/** The command line as a person uses it: exit codes, messages, and a run from training to pictures. */
import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertStringIncludes,
} from "@std/assert";
import { join } from "@std/path";
import { decodePng } from "../lib/formats/png.ts";
import { listCheckpoints } from "../models/training/checkpoints.ts";
import { lastState } from "../models/training/testing.ts";
import { assertMisuse, inFolder, run } from "./command_line.ts";

Deno.test("wrong use is one clear line and exit code 2", async () => {
  const misuses: [string[], RegExp][] = [
    [["train", "--sprint"], /unknown option '--sprint'/],
    [["train", "--config", "smoke"], /--out <run>' not specified/],
    [["train", "--out", "nowhere"], /--config <file\|name>' not specified/],
    [["train", "--config", "no.json", "--print"], /no file no\.json .*mnist, smoke/],
    [["train", "--config", "smoke", "--print", "--steps", "0"], /--steps .*at least 1/],
    [["train", "--config", "smoke", "--print", "--set", "model.width=3"], /model\.width: unknown/],
    [["train", "--config", "smoke", "--print", "--set", "model.dim=x"], /model\.dim: .*number/],
    [["train", "--config", "smoke", "--out", "nowhere", "--resume"], /no run in nowhere/],
    [["train", "--config", "smoke", "--print", "--device", "cuda"], /'cuda' is invalid.*wasm/],
    [["sample", "nowhere", "--out", "x.png"], /nowhere/],
    [["sample", "nowhere"], /--out <file>' not specified/],
    [["info", "nowhere"], /nowhere/],
    [["verify", "nowhere"], /nowhere/],
    [["verify", "lib"], /lib .*fixture/],
    [["paint"], /unknown command 'paint'/],
  ];
  for (const [args, message] of misuses) await assertMisuse(args, message);
});

Deno.test("every command has help", async () => {
  const ofRuns = [
    "train",
    "plan",
    "profile",
    "demo",
    "sample",
    "edit",
    "evaluate",
    "info",
    "verify",
  ];
  for (const command of [...ofRuns, "recipes", "convert", "extract"]) {
    const { code, out } = await run([command, "--help"]);
    assertEquals(code, 0);
    assertStringIncludes(out, `Usage: tessera ${command}`);
    assertStringIncludes(out, "--device <name>");
  }
});

Deno.test("train --print prints the whole configuration, which can be read back", () =>
  inFolder(async (folder) => {
    const print = ["train", "--print", "--config"];
    const { code, out } = await run([...print, "smoke", "--set", "recipe=ar", "--seed", "7"]);
    assertEquals(code, 0);
    const config = JSON.parse(out);
    assertEquals([config.seed, config.recipe.order, config.training.clip], [7, "raster", 1]);
    const path = join(folder, "config.json");
    await Deno.writeTextFile(path, out);
    assertEquals((await run([...print, path])).out, out);
  }));

Deno.test("plan prints parameters, arithmetic and memory of a step", async () => {
  const { code, out, err } = await run(["plan", "smoke", "--set", "training.average=0"]);
  assertEquals(code, 0, err);
  for (const line of [/^parameters +1,773 +8,384$/m, /^GFLOP/m, /^ +moving average +0 B +0 B$/m]) {
    assert(line.test(out), out);
  }
  await assertMisuse(["plan", "smoke", "--set", "model.width=3"], /model\.width: unknown/);
  for (const field of ["training.precision", "tokenizerTraining.precision"]) {
    const half = ["--device", "wasm", "--set", `${field}=f16`];
    const message = new RegExp(`${field}: expected f32 but found f16`);
    await assertMisuse(["plan", "smoke", ...half], message);
  }
});

Deno.test("profile prints the kernels of a training step", async () => {
  const { code, out, err } = await run([
    "profile",
    "smoke",
    "--stage",
    "tokenizer",
    "--steps",
    "1",
  ]);
  assertEquals(code, 0, err);
  for (const text of [/ms a step of the tokenizer/, /^program +kernel .* share$/m, /conv2d/]) {
    assert(text.test(out), out);
  }
  await assertMisuse(["profile", "smoke", "--stage", "both"], /--stage .*tokenizer, model/);
});

const smoke = (out: string) => ["train", "--config", "smoke", "--out", out];

async function weights(folder: string) {
  return [await lastState(folder, "tokenizer"), await lastState(folder, "model")];
}

async function lines(path: string): Promise<{ stage: string; step: number; loss: number }[]> {
  return (await Deno.readTextFile(path)).trim().split("\n").map((line) => JSON.parse(line));
}

Deno.test("a run trains, is killed, resumes exactly, is looked into and sampled from", () =>
  inFolder(async (folder) => {
    const whole = join(folder, "whole"), killed = join(folder, "killed");
    assertEquals((await run(smoke(whole))).code, 0);
    const losses = await lines(join(whole, "metrics.jsonl"));
    assertEquals(losses.map(({ stage, step }) => `${stage} ${step}`), [
      "tokenizer 10",
      "tokenizer 20",
      "model 10",
      "model 20",
      "model 30",
      "model 40",
    ]);
    assert(losses[5]!.loss < losses[2]!.loss);

    const hasCheckpoint = async () => (await listCheckpoints(killed, "model")).length > 0;
    await run(smoke(killed), hasCheckpoint);
    await assertMisuse(smoke(killed), /--resume continues it/);
    await assertMisuse([...smoke(killed), "--resume", "--seed", "3"], /its seed is 0, not 3/);
    const resumed = await run([...smoke(killed), "--resume"]);
    assertEquals(resumed.code, 0, resumed.err);
    assertEquals(await weights(killed), await weights(whole));
    assertEquals(
      (await lines(join(killed, "metrics.jsonl"))).map(({ step, loss }) => [step, loss]),
      losses.map(({ step, loss }) => [step, loss]),
    );
    const picture = (run: string) => Deno.readFile(join(run, "samples.png"));
    assertEquals(await picture(killed), await picture(whole));

    const info = await run(["info", whole]);
    assertStringIncludes(info.out, "40 of 40 steps");
    assertStringIncludes(info.out, "tok_embeddings.weight");
    for (const step of ["tokenizer-00000020", "model-00000030", "model-00000040"]) {
      assertMatch(info.out, new RegExp(`^checkpoints/${step} +[\\d,]+ +[.\\d]+ *$`, "m"));
    }
    const file = await run(["info", join(whole, "model.safetensors")]);
    assertStringIncludes(file.out, "tok_embeddings.weight");

    const sample = async (name: string, ...options: string[]) => {
      const out = join(folder, name);
      const { code, err } = await run(["sample", whole, "--out", out, ...options]);
      assertEquals(code, 0, err);
      return await Deno.readFile(out);
    };
    const options = ["--class", "3", "--count", "4", "--steps", "16", "--order", "raster"];
    const first = await sample("first.png", ...options);
    const { width, height } = decodePng(first);
    assertEquals([width, height], [2 + 2 * 10, 2 + 2 * 10]);
    assertEquals(await sample("again.png", ...options), first);
    assertNotEquals(await sample("other.png", ...options, "--seed", "1"), first);
    await assertMisuse(["sample", whole, "--out", "x.png", "--class", "4"], /0\.\.3 but found 4/);
    await assertMisuse(["sample", whole, "--out", "x.png", "--steps", "17"], /at most 16/);
    assertNotEquals(await sample("before.png", ...options, "--checkpoint", "30"), first);
    const wrong = ["sample", whole, "--out", "x.png", "--checkpoint"];
    await assertMisuse([...wrong, "12"], /at step .*30, 40 but found 12/);
    await assertMisuse([...wrong, "worst"], /Expected last, best or the step/);
  }));

Deno.test("a run that goes on for more steps equals one that made them at once", () =>
  inFolder(async (folder) => {
    const whole = join(folder, "whole"), parts = join(folder, "parts");
    assertEquals((await run([...smoke(whole), "--steps", "25"])).code, 0);
    assertEquals((await run([...smoke(parts), "--steps", "10"])).code, 0);
    assertEquals((await run([...smoke(parts), "--steps", "25", "--resume"])).code, 0);
    assertEquals(await weights(parts), await weights(whole));
  }));

Deno.test("verify prints errors and tolerances, and fails on a miss", () =>
  inFolder(async (folder) => {
    const fixtures = new URL("fixtures/fmt/", import.meta.url);
    const masks = await Deno.readTextFile(new URL("masks.json", fixtures));
    const path = join(folder, "masks.json");
    await Deno.writeTextFile(path, masks);
    const good = await run(["verify", folder]);
    assertEquals(good.code, 0, good.err);
    assertStringIncludes(good.out, "0 out of tolerance");
    await Deno.writeTextFile(path, masks.replace(/"1/, '"0'));
    const bad = await run(["verify", folder]);
    assertEquals(bad.code, 1);
    assertStringIncludes(bad.out, "MISS");
  }));
