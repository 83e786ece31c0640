/**
 * Trains a run for a while and does to it what happens to runs: kills it at random moments, also amid the writing of a
 * checkpoint, stops it, damages its newest checkpoint, takes its device away. Beside it, the same run is left in peace.
 * At the end both have the same losses of every step and the same state, to the bit, or the exit code is 1.
 *
 *     deno task soak [--minutes 60] [--device wasm] [--seed 0] [--set key=value]
 */
import { parseArgs } from "node:util";
import { showTable } from "../lib/debug/table.ts";
import { readConfig } from "../models/config/read.ts";
import { readMetrics } from "../models/training/metrics.ts";
import { lastState } from "../models/training/testing.ts";
import { damageNewest, isWriting } from "./soak/disturb.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "60" },
    device: { type: "string", default: "wasm" },
    seed: { type: "string", default: "0" },
    set: { type: "string", multiple: true, default: [] },
  },
});
const minutes = Number(values.minutes), seed = Number(values.seed);
if (!(minutes > 0) || !Number.isInteger(seed)) {
  console.error(
    `soak: expected numbers but found --minutes ${values.minutes} --seed ${values.seed}`,
  );
  Deno.exit(2);
}

/** Uniform in 0..1, the same for the same seed (mulberry32). */
let randomState = seed;
function random(): number {
  randomState = (randomState + 0x6d2b79f5) | 0;
  let t = Math.imul(randomState ^ (randomState >>> 15), 1 | randomState);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Every step has a line in the log, so that no stop changes what a line is a mean of. */
const settings = (steps: number) => [
  "tokenizerTraining.steps=200", // or all images have the same codes, and nothing is left to learn
  "model.dim=32",
  "training.batchSize=16",
  "training.logEvery=1",
  "training.sampleEvery=0",
  `training.checkpointEvery=${Math.round(Math.min(60, Math.max(10, minutes)))}`,
  ...values.set,
  `training.steps=${steps}`,
];

/** A process that trains the run in a folder. */
function start(folder: string, steps: number) {
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      new URL("soak/worker.ts", import.meta.url).href,
      folder,
      JSON.stringify(readConfig("smoke", settings(steps))),
      values.device,
    ],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const said: string[] = [];
  const reading = (async () => {
    const text = child.stdout.pipeThrough(new TextDecoderStream());
    let rest = "";
    for await (const piece of text) {
      const lines = (rest + piece).split("\n");
      rest = lines.pop()!;
      said.push(...lines);
    }
  })();
  const errors = new Response(child.stderr).text();
  let isOver = false;
  const status = child.status.then((status) => {
    isOver = true;
    return status;
  });
  const stdin = child.stdin.getWriter();
  return {
    said,
    isOver: () => isOver,
    /** Takes the device away. */
    fault: () => stdin.write(new TextEncoder().encode("fault\n")).catch(() => {}),
    kill(signal: Deno.Signal) {
      try {
        child.kill(signal);
      } catch {
        // It has ended by itself.
      }
    },
    async end() {
      const { code } = await status;
      await reading;
      await stdin.abort().catch(() => {});
      // 137 and 143 are 128 and the signal that ended it at once.
      if (![0, 137, 143].includes(code)) {
        throw new Error(`soak: the training ended with code ${code}:\n${await errors}`);
      }
      await errors;
    },
  };
}
type Training = ReturnType<typeof start>;

/** Waits until something is so, the training is over, or the time is up. */
async function until(training: Training, holds: () => boolean | Promise<boolean>, end = Infinity) {
  while (!training.isOver() && performance.now() < end && !await holds()) await sleep(5);
}

const lastStep = async (folder: string) =>
  (await readMetrics(`${folder}/metrics.jsonl`)).findLast(({ stage }) => stage === "model")?.step ??
    0;

const events = ["kill -9", "kill -9 amid a write", "SIGTERM", "damaged newest", "device fault"];
const counts = new Map(events.map((event) => [event, 0]));
const count = (event: string) => counts.set(event, counts.get(event)! + 1);
const longestMs = Math.min(60_000, Math.max(2000, minutes * 60_000 / 40));
const manySteps = 10_000_000;

/** Disturbs a run until the time is up. */
async function disturb(folder: string, end: number) {
  let starts = 0, repeated = 0, reported = 0, damaged = 0, recovered = 0;
  let training: Training | undefined;
  while (performance.now() < end) {
    if (!training) {
      const before = await lastStep(folder);
      training = start(folder, manySteps);
      starts++;
      const { said } = training;
      await until(training, () => said.some((line) => line.startsWith("start ")), end);
      const [, from] = /^start (\d+)$/m.exec(said.join("\n")) ?? [];
      if (from !== undefined) repeated += Math.max(0, before - Number(from));
    }
    await until(training, () => false, Math.min(end, performance.now() + longestMs * random()));
    if (training.isOver() || performance.now() >= end) break;
    const event = events[Math.floor(random() * events.length)]!;
    if (event === "device fault") {
      const { said } = training;
      const seen = said.length;
      await training.fault();
      const isBack = () => said.slice(seen).some((line) => line.startsWith("warn "));
      await until(training, isBack, performance.now() + 60_000);
      if (isBack()) recovered++;
      count(event);
      continue;
    }
    if (event === "kill -9 amid a write") await until(training, () => isWriting(folder), end);
    training.kill(event === "SIGTERM" ? "SIGTERM" : "SIGKILL");
    await training.end();
    reported += training.said.filter((line) => line.startsWith("warn Damaged checkpoint")).length;
    training = undefined;
    if (event !== "damaged newest") count(event);
    else if (await damageNewest(folder, random)) {
      damaged++;
      count(event);
    }
  }
  training?.kill("SIGTERM");
  await training?.end();
  reported += training?.said.filter((line) => line.startsWith("warn Damaged")).length ?? 0;
  return { starts, repeated, reported, damaged, recovered };
}

const root = await Deno.makeTempDir({ prefix: "soak-" });
const peaceful = `${root}/peaceful`, disturbed = `${root}/disturbed`;
const begin = performance.now();
const other = start(peaceful, manySteps);
const found = await disturb(disturbed, begin + minutes * 60_000);
other.kill("SIGTERM");
await other.end();

// Whichever is behind makes the steps that it lacks.
const steps = Math.max(await lastStep(peaceful), await lastStep(disturbed));
for (const folder of [disturbed, peaceful]) {
  if (await lastStep(folder) === steps) continue;
  const last = start(folder, steps);
  await last.end();
  found.reported += last.said.filter((line) => line.startsWith("warn Damaged")).length;
}

const curve = async (folder: string) =>
  (await readMetrics(`${folder}/metrics.jsonl`))
    .map(({ stage, step, loss, learningRate, gradientNorm, skipped }) =>
      JSON.stringify([stage, step, loss, learningRate, gradientNorm, skipped])
    );
const [a, b] = [await curve(peaceful), await curve(disturbed)];
const firstOther = a.findIndex((line, i) => line !== b[i]);
const states = await Promise.all(
  [peaceful, disturbed].map((folder) =>
    Promise.all(["tokenizer", "model"].map((stage) => lastState(folder, stage)))
  ),
);
const bits = ([tokenizer, model]: typeof states[number]) =>
  [tokenizer!, model!].flatMap(({ step, tensors }) => [
    `${step}`,
    ...Object.entries(tensors).map(([name, { data }]) => {
      const { buffer, byteOffset, byteLength } = data;
      return `${name} ${new Uint8Array(buffer, byteOffset, byteLength).toHex()}`;
    }),
  ]);
const [x, y] = states.map(bits);
const isSame = firstOther < 0 && a.length === b.length && x!.join() === y!.join();

console.log(showTable(["event", "times"], [
  ...counts,
  ["starts of the training", found.starts],
  ["faults of the device recovered from", found.recovered],
  ["damaged checkpoints passed over", found.reported],
  ["steps made again", found.repeated],
  ["steps", steps],
  ["lines of the log compared", a.length],
  ["tensors compared", x!.length - 2],
]));
const total = ((performance.now() - begin) / 60_000).toFixed(1);
console.log(`\n${values.device}, seed ${seed}, ${minutes} minutes disturbed, ${total} in all`);
if (isSame) {
  console.log("Losses, learning rates and gradient norms of every step, and the state: the same");
  await Deno.remove(root, { recursive: true });
} else {
  const [line, otherLine] = [a[firstOther] ?? "none", b[firstOther] ?? "none"];
  console.error(`Not the same: ${line} in peace, ${otherLine} disturbed; see ${root}`);
  Deno.exit(1);
}
