/** Training on the processes of a job: what they do together, and which part of the work is whose. */
import { currentDevice } from "../../lib/device.ts";
import type { Mpi } from "../../lib/distributed/mpi.ts";
import { overlappedSums } from "../../lib/distributed/overlap.ts";
import { broadcastParameters } from "../../lib/distributed/parallel.ts";
import { hostArray } from "../../lib/dtype.ts";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { flatten, treeLeaves } from "../../lib/tree.ts";
import type { RunConfig } from "../config/schema.ts";
import type { Rest, SharedStep } from "./accumulate.ts";
import type { TrainingState } from "./step.ts";

/**
 * How a process takes part in the steps of all: its sums of gradients are added to those of the others while the device
 * computes the rest.
 *
 * @param mpi The processes.
 * @returns What a step is made with; undefined for a process alone.
 * @throws {Error} If the processes do not all compute on the same kind of device: their gradients would be ready in
 * another order.
 */
export function sharedStep<P>(mpi: Mpi): SharedStep<P> | undefined {
  const { rank, size } = mpi;
  if (size === 1) return undefined;
  const devices = mpi.gather(currentDevice().name);
  const other = devices.findIndex((name) => name !== devices[0]);
  if (other > 0) {
    throw new Error(
      `train: expected all ranks on the same device but found rank 0 on ${devices[0]} and ` +
        `rank ${other} on ${devices[other]}`,
    );
  }
  const { early, begin, finish } = overlappedSums(mpi);
  const gather = (own: readonly Rest[]) => gatherTrees(mpi, own);
  return { rank, size, early, begin, reduce: finish, gather };
}

/** Trees of tensors of all processes, by rank; those of each have the same structure, shapes and types. */
async function gatherTrees<T>(mpi: Mpi, own: readonly T[]): Promise<T[]> {
  const { leaves, structure } = flatten(own);
  const tensors = leaves as Tensor[];
  const values = await Promise.all(tensors.map((x) => x.data()));
  const gathered = values.map((value, i) => {
    const { shape, dtype } = tensors[i]!;
    return mpi.gatherBytes(bytesOf(value)).map((bytes) => {
      const data = hostArray(dtype, value.length);
      bytesOf(data).set(bytes);
      return tensor(data, { shape, dtype });
    });
  });
  return Array.from(
    { length: mpi.size },
    (_, rank) => structure.build(gathered.map((ofAll) => ofAll[rank])) as T[],
  ).flat();
}

function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/**
 * Checks that the batches of a run can be cut into equal parts for a number of processes.
 *
 * @param config The configuration.
 * @param size Number of processes.
 * @throws {RangeError} If they cannot.
 */
export function checkRanks(
  config: Pick<RunConfig, "tokenizerTraining" | "training">,
  size: number,
): void {
  for (const name of ["tokenizerTraining", "training"] as const) {
    const { batchSize, accumulate } = config[name];
    if (batchSize % (size * accumulate) === 0) continue;
    throw new RangeError(
      `${name}.batchSize: expected a multiple of ${size} ranks × accumulate ${accumulate} but found ${batchSize}`,
    );
  }
}

/** Where a training begins. */
export interface Start<P, Buffers> {
  readonly state: TrainingState<P, Buffers>;
  /** Steps made. */
  readonly step: number;
}

/**
 * The state that rank 0 begins with, in all processes.
 *
 * @param mpi The processes.
 * @param own Rank 0: its state and step; others: any state of the same structure.
 * @returns The same state in every process, bit by bit.
 */
export async function sharedStart<P, Buffers>(
  mpi: Mpi,
  own: Start<P, Buffers>,
): Promise<Start<P, Buffers>> {
  return { step: mpi.share(own.step), state: await broadcastParameters(mpi, own.state) };
}

/**
 * Checks that all processes have the same parameters, bit by bit, as they do if nothing is wrong.
 *
 * @param mpi The processes.
 * @param params A tree of tensors.
 * @throws {Error} If one has others; the message names it.
 */
export async function checkSameBits(mpi: Mpi, params: unknown): Promise<void> {
  if (mpi.size === 1) return;
  const digests: string[] = [];
  for (const x of treeLeaves<Tensor>(params)) {
    const bytes = bytesOf(await x.data()).slice();
    digests.push(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex());
  }
  const all = mpi.gather(digests.join(" "));
  const other = all.findIndex((own) => own !== all[0]);
  if (other < 0) return;
  throw new Error(
    `train: expected all ranks to have the same weights but found others on rank ${other}`,
  );
}

/** Whether it is so in any of the processes. */
export function inAny(mpi: Mpi, isSo: boolean): boolean {
  if (mpi.size === 1) return isSo;
  const count = Float32Array.of(Number(isSo));
  mpi.allreduce(count, "sum");
  return count[0]! > 0;
}

/**
 * Lets rank 0 do what is done once for all, while the others wait.
 *
 * @param mpi The processes.
 * @param work What is to be done.
 */
export async function once(mpi: Mpi, work: () => Promise<void>): Promise<void> {
  if (mpi.rank === 0) await work();
  mpi.barrier();
}

/**
 * Lets rank 0 do something before the others do, which then find what it has made.
 *
 * @param mpi The processes.
 * @param work What is to be done in each.
 * @returns The result of each.
 */
export async function firstAlone<T>(mpi: Mpi, work: () => Promise<T>): Promise<T> {
  if (mpi.rank > 0) mpi.barrier();
  const result = await work();
  if (mpi.rank === 0) mpi.barrier();
  return result;
}

/** Bytes one after another. */
export function joinBytes(parts: readonly Uint8Array[]): ArrayBuffer {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all.buffer;
}

/** Why a process ends its training that was not asked to: another one was. */
export class StoppedElsewhere extends Error {
  override name = "StoppedElsewhere";
}

/**
 * The part of a list that is a process's own: one after another, of lengths that differ by one at most.
 *
 * @param mpi The process among the others.
 * @param count The length of the list.
 * @returns The part's first index and that behind its last.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { ownRange } from "./ranks.ts";
 *
 * assertEquals(ownRange({ rank: 1, size: 3 }, 10), [3, 6]);
 * ```
 */
export function ownRange(
  { rank, size }: Pick<Mpi, "rank" | "size">,
  count: number,
): [first: number, end: number] {
  return [Math.floor(count * rank / size), Math.floor(count * (rank + 1) / size)];
}
