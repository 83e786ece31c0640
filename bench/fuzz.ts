/**
 * Reads damaged files: every reader must refuse a file with a clean error, or return what a file can
 * hold. It must not crash, hang, or take memory because a number in the file says so.
 *
 *     deno run -A bench/fuzz.ts [--files 100000] [--first 0] [FORMAT…]
 *
 * File number i of a format is always the same; `--first i --files 1` reads one again.
 */
import { parseArgs } from "node:util";
import { showTable } from "../lib/debug/table.ts";
import { formats } from "./fuzz/formats.ts";
import type { FuzzCounts, FuzzJob } from "./fuzz/worker.ts";

/** A reader that takes longer for one small file hangs. */
const longestMs = 10_000;

const { values, positionals } = parseArgs({
  args: Deno.args,
  allowPositionals: true,
  options: {
    files: { type: "string", default: "100000" },
    first: { type: "string", default: "0" },
  },
});
const unknown = positionals.find((name) => !Object.hasOwn(formats, name));
if (unknown !== undefined) {
  console.error(`fuzz: expected one of ${Object.keys(formats).join(", ")} but found ${unknown}`);
  Deno.exit(2);
}
const files = Number(values.files), first = Number(values.first);
if (!Number.isInteger(files) || !Number.isInteger(first) || files < 1 || first < 0) {
  console.error(
    `fuzz: expected whole numbers but found --files ${values.files} --first ${values.first}`,
  );
  Deno.exit(2);
}

/** Runs one format in a worker; a hang ends the worker and counts as a failure. */
async function fuzz(format: string): Promise<FuzzCounts & { seconds: number; megabytes: number }> {
  const start = performance.now();
  const fast = await Deno.stat("/dev/shm").then(() => "/dev/shm", () => undefined);
  const folder = await Deno.makeTempDir(fast ? { dir: fast } : {});
  const progress = new Int32Array(new SharedArrayBuffer(8));
  const worker = new Worker(new URL("./fuzz/worker.ts", import.meta.url), { type: "module" });
  const { promise, resolve } = Promise.withResolvers<FuzzCounts>();
  const failed = (problem: string) =>
    resolve({
      read: 0,
      refused: 0,
      messages: 0,
      failures: [{ file: progress[0]!, problem, count: 1 }],
    });
  worker.onmessage = ({ data }) => resolve(data);
  worker.onerror = (event) => {
    event.preventDefault();
    failed(`crash: ${event.message}`);
  };
  worker.postMessage({ format, files, first, folder, progress } satisfies FuzzJob);
  let before = -1, since = performance.now();
  const watch = setInterval(() => {
    const now = Atomics.load(progress, 0);
    if (now !== before) [before, since] = [now, performance.now()];
    else if (performance.now() - since > longestMs) failed(`no end after ${longestMs} ms`);
  }, 500);
  const counts = await promise;
  clearInterval(watch);
  worker.terminate();
  await Deno.remove(folder, { recursive: true });
  const seconds = (performance.now() - start) / 1e3;
  return { ...counts, seconds, megabytes: Atomics.load(progress, 1) };
}

const rows: (string | number)[][] = [];
let failures = 0;
for (const format of positionals.length > 0 ? positionals : Object.keys(formats)) {
  const found = await fuzz(format);
  let failed = 0;
  for (const { file, problem, count } of found.failures) {
    console.error(`${format}, ${count} times, first file ${file}: ${problem}`);
    failed += count;
  }
  failures += failed;
  const { read, refused, messages, seconds, megabytes } = found;
  rows.push([format, files, refused, read, messages, failed, megabytes, seconds]);
}
const head = ["format", "files", "refused", "read", "messages", "failures", "MB", "seconds"];
console.log(showTable(head, rows));
Deno.exit(failures > 0 ? 1 : 0);
