/** Trainings that are killed at any moment, or run into a full disk: they go on to the bit as if nothing had been. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { closeDevices, type DeviceChoice, openDevice } from "../lib/device.ts";
import {
  checkpointNames,
  findCheckpoint,
  listCheckpoints,
  RunWriteError,
} from "../models/training/checkpoints.ts";
import { train } from "../models/training/loop.ts";
import { lastState } from "../models/training/testing.ts";
import { inFolder } from "./command_line.ts";
import { smallTraining } from "./training_process.ts";

const script = new URL("training_process.ts", import.meta.url).href;
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Starts a training in another process; `started` resolves once it trains, `ended` with its exit code. */
function start(kind: string, folder: string, steps: number, device: DeviceChoice) {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", script, kind, folder, String(steps), device],
    env: { NO_COLOR: "1", TESSERA_THREADS: "1" },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const errors = new Response(child.stderr).text();
  const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let said = "";
  const hear = async (word: string) => {
    while (!said.includes(word)) {
      const { done, value } = await lines.read();
      if (done) return;
      said += value;
    }
  };
  let isOver = false;
  child.status.then(() => isOver = true);
  return {
    started: hear("start "),
    isOver: () => isOver,
    async ended(): Promise<void> {
      await hear("no such word");
      const { code } = await child.status;
      assert(code === 0 || code === 137, `exit code ${code}: ${await errors}`);
      await errors;
    },
    kill() {
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended by itself.
      }
    },
  };
}

type Training = ReturnType<typeof start>;

/** Waits until something is so; a training that ends before fails. */
async function until(training: Training, holds: () => Promise<boolean>): Promise<void> {
  while (!await holds()) {
    assert(!training.isOver(), "the training ended too early");
    await sleep(2);
  }
}

const hasReached = async (folder: string, step: number) =>
  (await listCheckpoints(folder, "model")).some((found) => found.step >= step);

for (const device of ["wasm", "webgpu"] as const) {
  Deno.test(`200 steps are 100, a kill, and 100 more, to the bit, on ${device}`, () =>
    inFolder(async (folder) => {
      const whole = join(folder, "whole"), killed = join(folder, "killed");
      const undisturbed = start("model", whole, 200, device);
      await undisturbed.ended();
      const first = start("model", killed, 200, device);
      await until(first, () => hasReached(killed, 100));
      first.kill();
      await first.ended();
      const { step } = await lastState(killed, "model");
      assert(step >= 100 && step < 200, `killed at step ${step}`);
      await start("model", killed, 200, device).ended();
      const state = await lastState(whole, "model");
      assertEquals(state.step, 200);
      assertEquals(await lastState(killed, "model"), state);
    }));
}

/** Kills a training again and again, and looks each time whether it can go on from where it was. */
async function killAgainAndAgain(folder: string, kills: number): Promise<void> {
  const isWriting = async () =>
    (await checkpointNames(folder, { temporary: true })).some((name) => name.endsWith(".tmp"));
  let step = 0;
  for (let kill = 0; kill < kills; kill++) {
    const training = start("small", folder, 1e9, "wasm");
    const wanted = step + Math.floor(3 * Math.random());
    // While it starts; while it makes steps; amid the writing of a checkpoint, where most moments are.
    const moment = kill % 5;
    if (moment === 0) await sleep(300 * Math.random());
    else {
      await training.started;
      await until(
        training,
        () => wanted === 0 ? Promise.resolve(true) : hasReached(folder, wanted),
      );
      if (moment === 1) await sleep(100 * Math.random());
      else await until(training, isWriting);
      if (moment === 3) await sleep(4 * Math.random());
    }
    training.kill();
    await training.ended();
    const damages: string[] = [];
    const found = await findCheckpoint(folder, "model", { warn: (text) => damages.push(text) });
    assertEquals(damages, []);
    assert((found?.info.step ?? 0) >= step, `went back from step ${step}`);
    step = found?.info.step ?? 0;
  }
}

Deno.test("a training killed at 50 random moments can always go on, and loses nothing", () =>
  inFolder(async (folder) => {
    const runs = ["a", "b"].map((name) => join(folder, name));
    await Promise.all(runs.map((run) => killAgainAndAgain(run, 25)));
    await openDevice("wasm");
    for (const run of runs) {
      const steps = (await lastState(run, "model")).step + 3;
      await train(smallTraining(steps), run);
      const whole = `${run}-whole`;
      await Deno.mkdir(whole);
      await train(smallTraining(steps, { checkpointEvery: steps }), whole);
      assertEquals(await lastState(run, "model"), await lastState(whole, "model"));
      const names = await checkpointNames(run, { temporary: true });
      assert(names.length <= 3 && names.every((name) => !name.endsWith(".tmp")), names.join());
    }
    closeDevices();
  }));

/** Makes the disk of a folder full; undone by the function that it returns. */
type FillDisk = (folder: string) => Promise<() => void>;

/** Writes of more than a little fail as on a full disk. */
const failingWrites: FillDisk = () => {
  const { write } = Deno.FsFile.prototype;
  Deno.FsFile.prototype.write = function (bytes) {
    if (bytes.length < 1000) return write.call(this, bytes);
    const error = new Error("No space left on device (os error 28)");
    return Promise.reject(Object.assign(error, { code: "ENOSPC" }));
  };
  return Promise.resolve(() => Deno.FsFile.prototype.write = write);
};

/** A file takes all but 20 KB of the space. */
const fillingFile: FillDisk = async (folder) => {
  const path = `${folder}/filler`;
  const piece = new Uint8Array(1024);
  {
    using file = await Deno.open(path, { write: true, create: true });
    try {
      while (true) await file.write(piece);
    } catch (error) {
      assertStringIncludes((error as Error).message, "No space left");
    }
    const { size } = await file.stat();
    await file.truncate(size - 20 * 1024);
  }
  return () => Deno.removeSync(path);
};

/** A training stops, says why, and goes on once there is room. */
async function runsIntoFullDisk(folder: string, fill: FillDisk): Promise<void> {
  await openDevice("wasm");
  const run = `${folder}/run`, whole = `${await Deno.makeTempDir()}/whole`;
  for (const path of [run, whole]) await Deno.mkdir(path);
  await train(smallTraining(2), run);
  const empty = await fill(folder);
  try {
    const error = await assertRejects(() => train(smallTraining(4), run), RunWriteError);
    assertStringIncludes(error.message, "model-00000003: No space left on device");
    assertStringIncludes(error.message, "what is saved is as it was: checkpoints/model-00000001");
  } finally {
    empty();
  }
  assertEquals((await lastState(run, "model")).step, 2);
  assertEquals((await checkpointNames(run, { temporary: true })).length, 2);
  await train(smallTraining(4), run);
  await train(smallTraining(4), whole);
  assertEquals(await lastState(run, "model"), await lastState(whole, "model"));
  closeDevices();
  await Deno.remove(whole, { recursive: true });
}

Deno.test("a disk whose writes fail stops a training with a clear error and all that was saved", () =>
  inFolder((folder) => runsIntoFullDisk(folder, failingWrites)));

Deno.test("a full disk stops a training with a clear error and all that was saved", () =>
  inFolder(async (folder) => {
    const disk = join(folder, "disk");
    await Deno.mkdir(disk);
    const mount = await new Deno.Command("mount", {
      args: ["-t", "tmpfs", "-o", "size=512k", "tmpfs", disk],
      stderr: "null",
    }).output().catch(() => undefined);
    if (!mount?.success) {
      console.log("no disk can be mounted here: writes are made to fail instead");
      return await runsIntoFullDisk(disk, failingWrites);
    }
    try {
      await runsIntoFullDisk(disk, fillingFile);
    } finally {
      await new Deno.Command("umount", { args: [disk] }).output();
    }
  }));
