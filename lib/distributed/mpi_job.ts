/**
 * A job for the tests of MPI, run by `mpirun`: what its first argument says, on the device that its
 * second one names. Rank 0 prints the result as JSON.
 */
import {
  adamw,
  jit,
  matmul,
  mean,
  normal,
  randomKey,
  square,
  sub,
  tanh,
  valueAndGrad,
} from "../../mod.ts";
import { type DeviceChoice, openDevice } from "../device.ts";
import { type Tensor, tensor } from "../tensor.ts";
import { treeEntries } from "../tree.ts";
import { inTurn } from "./in_turn.ts";
import { type Mpi, openMpi } from "./mpi.ts";
import { startOpenMpi } from "./open_mpi.ts";
import { overlappedSums } from "./overlap.ts";
import { averageGradients, broadcastParameters } from "./parallel.ts";

interface Params {
  readonly hidden: Tensor;
  readonly output: Tensor;
}

const batch = 8, width = 5;

const loss = (p: Params, x: Tensor, y: Tensor) =>
  mean(square(sub(matmul(tanh(matmul(x, p.hidden)), p.output), y)));

/** Trains on this process's part of every batch; the parameters at the end, and how much overlapped. */
async function train(mpi: Mpi, overlaps = false) {
  const own = batch / mpi.size;
  const numbers = (size: number, salt: number) =>
    Float32Array.from({ length: size }, (_, i) => Math.sin(salt + 7 * i));
  const part = (step: number, salt: number, columns: number) => {
    const all = numbers(batch * columns, 100 * step + salt);
    const first = mpi.rank * own * columns;
    return tensor(all.slice(first, first + own * columns), { shape: [own, columns] });
  };
  // Every process begins with other parameters: broadcasting makes them the same.
  let params = await broadcastParameters<Params>(mpi, {
    hidden: normal(randomKey(mpi.rank), [width, 16]),
    output: normal(randomKey(10 + mpi.rank), [16, 2]),
  });
  let state = adamw.init(params);
  const means = overlappedSums(mpi, { operation: "mean", bytes: 0 });
  const gradientsOf = jit(valueAndGrad(loss), overlaps ? { early: means.early } : {});
  const update = jit(
    (p: Params, g: Params, s: typeof state) => adamw.update(p, g, s, { learningRate: 0.01 }),
    { donate: [0, 1, 2] },
  );
  let sums = 0, overlapped = 0;
  for (let step = 0; step < 30; step++) {
    if (overlaps) means.begin();
    const found = gradientsOf(params, part(step, 1, width), part(step, 2, 2));
    const [, gradients] = overlaps
      ? await means.finish(found)
      : [0, await averageGradients(mpi, found[1])];
    sums += means.trace.sums;
    overlapped += means.trace.overlapped;
    [params, state] = update(params, gradients, state);
  }
  const entries = treeEntries(params).map(async ([path, x]) => [path, [...await x.data()]]);
  return { params: Object.fromEntries(await Promise.all(entries)), sums, overlapped };
}

/** Every call once. */
async function calls(mpi: Mpi): Promise<unknown> {
  const { rank } = mpi;
  const shared = new Float32Array(new SharedArrayBuffer(64), 16, 3).fill(rank + 1);
  mpi.allreduce(shared, "sum");
  const large = new Float32Array(5_000_000).fill(rank);
  mpi.allreduce(large, "mean");
  const words = Int32Array.of(rank, 2 * rank);
  mpi.broadcast(words, mpi.size - 1);
  mpi.barrier();
  const gathered = mpi.gather({ rank, text: "é".repeat(rank) });
  const started = [0, 1, 5_000_000].map((length) => new Float32Array(length).fill(rank));
  await Promise.all(started.map((elements) => mpi.startAllreduce(elements, "mean")));
  const named = (item: number) => Promise.resolve({ rank, values: Float64Array.of(item, 1 / 0) });
  const turns = await Array.fromAsync(inTurn([3, 4, 5], named, mpi));
  return {
    sum: [...shared],
    mean: [large[0], large.at(-1)],
    words: [...words],
    gathered,
    shared: mpi.share({ rank }, 1),
    started: [started[1]![0], started[2]![0], started[2]!.at(-1)],
    turns: turns.map((turn) => [turn.rank, ...Array.from(turn.values, String)]),
  };
}

const [job, device] = Deno.args;
if (job === "error") startOpenMpi().broadcast(new Uint8Array(1), 7);
const mpi = openMpi();
await openDevice(device as DeviceChoice);
switch (job) {
  case "train":
  case "overlap":
  case "calls": {
    const results = mpi.gather(
      await (job === "calls" ? calls(mpi) : train(mpi, job === "overlap")),
    );
    if (mpi.rank === 0) console.log(JSON.stringify(results));
    break;
  }
  case "abort":
    if (mpi.rank === 1) mpi.abort("the data is gone", 3);
    mpi.barrier();
    break;
  case "die":
    if (mpi.rank === 1) throw new Error("rank 1 has died");
    mpi.barrier();
    break;
}
mpi.finalize();
Deno.exit(0);
