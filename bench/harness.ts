/** How benchmarks measure: peers side by side in one run, interleaved, medians and spread. */
import { currentDevice, type Tensor, tuneKernels } from "../mod.ts";

/** One way to do a piece of work. */
export interface Contestant {
  /** `tessera`, or the peer's name and version. */
  readonly name: string;
  /** Does the work once and returns the milliseconds that it took. */
  run(): number | Promise<number>;
  /** A sample of the result, to be compared before timing. */
  result(): Float32Array | Promise<Float32Array>;
  /** Its largest difference from our result, where it has another than the contest's. */
  readonly tolerance?: number;
  close?(): void;
}

/** A piece of work that several do. */
export interface Contest {
  readonly bench: string;
  readonly case: string;
  /** `ms`: less is better. `GFLOP/s`: more is better; `work` is the number of GFLOP. */
  readonly unit: "ms" | "GFLOP/s";
  readonly work?: number;
  readonly ours: Contestant;
  /** Peers; one that is not installed stands as its name. */
  readonly peers: readonly (Contestant | string)[];
  /** Largest difference from our result, relative to the largest element. */
  readonly tolerance: number;
}

/** One line of a table; ratio > 1 means that ours is better. */
export interface Row {
  readonly bench: string;
  readonly case: string;
  readonly device: string;
  readonly peer: string | null;
  readonly unit: string;
  readonly ours: number | null;
  readonly theirs: number | null;
  readonly ratio: number | null;
  /** 10th and 90th percentile of ours and theirs. */
  readonly spread?: readonly [readonly number[], readonly number[]];
}

/** The value below which a share of the samples lies. */
export function quantile(samples: readonly number[], share: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const at = share * (sorted.length - 1);
  const low = sorted[Math.floor(at)]!, high = sorted[Math.ceil(at)]!;
  return low + (high - low) * (at - Math.floor(at));
}

/** The current device as rows name it: `wasm`, `wasm+openblas`, `wasm+256bit`, `webgpu`. */
export function deviceName(): string {
  const { name, description } = currentDevice();
  if (description.includes("OpenBLAS")) return `${name}+openblas`;
  return description.includes("vectors of 256 bits") ? `${name}+256bit` : name;
}

/** Whether the current device is a GPU, and not one that the processor imitates. */
export function onGpu(): boolean {
  const { name, description } = currentDevice();
  return name === "webgpu" && !description.endsWith("(software)");
}

/** Peers in JavaScript, which are measured beside our own kernels and not beside OpenBLAS. */
export async function ownPeers(
  ...peers: (() => Promise<Contestant | string>)[]
): Promise<(Contestant | string)[]> {
  return deviceName().endsWith("+openblas") ? [] : await Promise.all(peers.map((peer) => peer()));
}

/** A row of one number, which is null if it could not be measured here. */
export function measurement(
  bench: string,
  name: string,
  unit: string,
  ours: number | null,
): Row {
  const device = deviceName();
  return { bench, case: name, device, peer: null, unit, ours, theirs: null, ratio: null };
}

/** A row that sets a number of ours beside another, where `moreIsBetter` or less. */
export function comparison(
  row: Row,
  peer: string,
  theirs: number,
  moreIsBetter = false,
): Row {
  const ratio = moreIsBetter ? row.ours! / theirs : theirs / row.ours!;
  return { ...row, peer, theirs, ratio };
}

/** Times a synchronous piece of work. */
export function timed(work: () => void): number {
  const start = performance.now();
  work();
  return performance.now() - start;
}

/** Milliseconds of a call of a jitted function, without reading its result: the mean of `calls`. */
export async function timeJitted(call: () => Tensor, calls = 1): Promise<number> {
  const start = performance.now();
  for (let i = 0; i < calls; i++) call().dispose();
  await finished();
  return (performance.now() - start) / calls;
}

/** Waits for what the current device has to do; on wasm, calls return when they are done. */
export async function finished(): Promise<void> {
  const device = currentDevice();
  if (device.name !== "wasm") await device.synchronize();
}

/**
 * Runs a contest: checks that results agree, warms up, then takes turns.
 *
 * @param contest The contest.
 * @param repetitions Timed turns of each.
 * @param warmUps Turns before that.
 * @returns One row per peer.
 * @throws {Error} If a peer's result differs.
 */
export async function run(contest: Contest, repetitions = 25, warmUps = 5): Promise<Row[]> {
  const { ours, unit, work = 0 } = contest;
  const expected = await ours.result();
  await tuneKernels();
  const peers: (Contestant | string)[] = [];
  for (const peer of contest.peers) peers.push(await checked(contest, peer, expected));
  const present = peers.filter((peer) => typeof peer !== "string");
  const everyone = [ours, ...present];
  const samples = await takeTurns(everyone, repetitions, warmUps);
  for (const one of everyone) one.close?.();
  const figures = (one: Contestant) => {
    const times = samples[everyone.indexOf(one)]!;
    const values = times.map((ms) => unit === "ms" ? ms : work / (ms / 1e3));
    return {
      median: quantile(values, 0.5),
      spread: [quantile(values, 0.1), quantile(values, 0.9)],
    };
  };
  const own = figures(ours);
  const base = { bench: contest.bench, case: contest.case, device: deviceName(), unit };
  if (peers.length === 0) {
    return [{ ...base, peer: null, ours: own.median, theirs: null, ratio: null }];
  }
  return peers.map((peer): Row => {
    if (typeof peer === "string") {
      return { ...base, peer, ours: own.median, theirs: null, ratio: null };
    }
    const other = figures(peer);
    const ratio = unit === "ms" ? other.median / own.median : own.median / other.median;
    return {
      ...base,
      peer: peer.name,
      ours: own.median,
      theirs: other.median,
      ratio,
      spread: [own.spread, other.spread],
    };
  });
}

/** After this many milliseconds, idle threads of the one before no longer spin. */
const pause = 40;
/** Work is done for so many milliseconds before it is timed: caches and threads are awake, on cores of their own. */
const awake = 100;
/** Work that takes more wakes them by itself. */
const long = 1000;

/**
 * Lets contestants take turns, with a pause between them.
 *
 * @param contestants Who.
 * @param repetitions Timed turns of each.
 * @param warmUps Turns before that.
 * @returns The milliseconds of each one's turns.
 */
export async function takeTurns(
  contestants: readonly Pick<Contestant, "run">[],
  repetitions = 25,
  warmUps = 5,
): Promise<number[][]> {
  const samples = contestants.map((): number[] => []);
  for (let turn = -warmUps; turn < repetitions; turn++) {
    for (const [i, one] of contestants.entries()) {
      await new Promise((resolve) => setTimeout(resolve, pause));
      const end = performance.now() + awake;
      let ms = await one.run();
      if (turn < 0) continue;
      if (ms < long) { do ms = await one.run(); while (performance.now() < end); }
      samples[i]!.push(ms);
    }
  }
  return samples;
}

/** A peer whose result agrees; one that fails (for want of memory, say) stands as its name. */
async function checked(
  { bench, case: name, ...contest }: Contest,
  peer: Contestant | string,
  ours: Float32Array,
): Promise<Contestant | string> {
  if (typeof peer === "string") return peer;
  let theirs: Float32Array;
  try {
    theirs = await peer.result();
  } catch (error) {
    console.error(`${bench} ${name}: ${peer.name} failed: ${error}`);
    peer.close?.();
    return `${peer.name}, which failed`;
  }
  const { tolerance = contest.tolerance } = peer;
  let largest = 0, scale = 1e-6;
  for (let i = 0; i < ours.length; i++) {
    largest = Math.max(largest, Math.abs(ours[i]! - theirs[i]!));
    scale = Math.max(scale, Math.abs(ours[i]!));
  }
  if (ours.length === theirs.length && largest / scale <= tolerance) return peer;
  throw new Error(
    `${bench} ${name}: expected ${peer.name} to agree within ${tolerance} but found a difference of ${
      largest / scale
    }`,
  );
}

/** The machine that a benchmark runs on, in one line. */
export function machine(): string {
  let model = "unknown processor";
  try {
    model = /model name\s*:\s*(.*)/.exec(Deno.readTextFileSync("/proc/cpuinfo"))?.[1] ?? model;
  } catch {
    // not Linux
  }
  return `${model}, ${navigator.hardwareConcurrency} cores, Deno ${Deno.version.deno}, V8 ${Deno.version.v8}`;
}

/** Rows as a table. */
export function table(rows: readonly Row[]): string {
  const show = (x: number | null, digits = 3) =>
    x === null ? "–" : x >= 100 ? x.toFixed(1) : x.toPrecision(digits);
  const cells = rows.map((row) => [
    row.bench,
    row.case,
    row.device,
    row.peer ?? "",
    row.unit,
    show(row.ours),
    show(row.theirs),
    show(row.ratio),
  ]);
  const head = ["bench", "case", "device", "peer", "unit", "ours", "theirs", "ratio"];
  const widths = head.map((name, i) =>
    Math.max(name.length, ...cells.map((row) => row[i]!.length))
  );
  return [head, ...cells].map((row) =>
    row.map((cell, i) => cell.padEnd(widths[i]!)).join("  ").trimEnd()
  )
    .join("\n");
}
