/** Several processes that work on one thing, connected by MPI. */
import { setImmediate } from "node:timers/promises";
import { allowedCores, coreShare, type Placement, shareCores } from "../cores.ts";
import { detectLauncher } from "./launcher.ts";
import { type OpenMpi, startOpenMpi } from "./open_mpi.ts";

/** The processes of one job, and what they do together: every process must make the same calls. */
export interface Mpi {
  /** The number of this process, from 0. */
  readonly rank: number;
  /** The number of processes. */
  readonly size: number;
  /** Waits until every process is here. */
  barrier(): void;
  /** Overwrites the bytes of every process with those of `root` (default 0). */
  broadcast(view: ArrayBufferView, root?: number): void;
  /**
   * Replaces the elements of every process by their sum, or mean, over all of them; in place, also
   * in shared memory. Every process gets the same bits.
   */
  allreduce(elements: Float32Array, operation: "sum" | "mean"): void;
  /**
   * Begins what `allreduce` does, without waiting for the other processes. Until the promise
   * resolves the elements are not to be touched. The sums go on in `progress`, and in turns of the
   * event loop while anything is awaited.
   */
  startAllreduce(elements: Float32Array, operation: "sum" | "mean"): Promise<void>;
  /** Lets what has been started go on, for long stretches without an `await`; how many have not ended. */
  progress(): number;
  /** The values of all processes, by rank, on each of them; they must be JSON. */
  gather<T>(value: T): T[];
  /** The value that `root` (default 0) has, on each of them; it must be JSON. */
  share<T>(value: T, root?: number): T;
  /** Ends MPI; to be called by every process before it exits. */
  finalize(): void;
  /** Ends all processes of the job at once, with a message. For a process that cannot go on. */
  abort(message: string, code?: number): never;
}

/** Elements are summed so many at once, which bounds the memory that MPI takes meanwhile. */
const largestCall = 2 ** 22;

let job: Mpi | undefined;

/**
 * Connects this process to the others of its job: those that `mpirun -n 4 deno run -A …` or Slurm's
 * `srun --mpi=pmix -n 4 deno run -A …` started. A process that was started alone is a job of one and
 * needs no library.
 *
 * All communication is Open MPI's (`libmpi.so.40`, loaded with the permission `--allow-ffi`).
 * Processes on one machine share its cores: to be called before a device is opened.
 *
 * @returns The job; the same at every call.
 * @throws {Error} If this process is one of several but the library is missing or another than the
 * launcher's, or if the processes do not find each other.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openMpi } from "./mpi.ts";
 * const mpi = openMpi();
 * const losses = Float32Array.of(mpi.rank + 1);
 * mpi.allreduce(losses, "mean");
 * if (mpi.rank === 0) console.log(losses[0], mpi.gather({ rank: mpi.rank }));
 * mpi.finalize();
 * assertEquals(mpi.size, 1); // in this test
 * ```
 */
export function openMpi(): Mpi {
  return job ??= connect();
}

function connect(): Mpi {
  const launcher = detectLauncher();
  if (!launcher || launcher.size === 1) return alone;
  const mpi = startOpenMpi();
  if (mpi.size !== launcher.size) {
    const hint = launcher.name === "srun" ? ": run srun with --mpi=pmix (see srun --mpi=list)" : "";
    throw new Error(
      `openMpi: expected the ${launcher.size} processes that ${launcher.name} started but found ${mpi.size}${hint}`,
    );
  }
  const job = connected(mpi);
  const placement: Placement = { host: mpi.host, cores: allowedCores() };
  shareCores(coreShare(mpi.rank, job.gather(placement)));
  return job;
}

/** A job of one process. */
export const alone: Mpi = {
  rank: 0,
  size: 1,
  barrier() {},
  broadcast() {},
  allreduce() {},
  startAllreduce: () => Promise.resolve(),
  progress: () => 0,
  gather: (value) => [value],
  share: (value) => value,
  finalize() {},
  abort(message, code = 1) {
    console.error(message);
    Deno.exit(code);
  },
};

/** A sum of all processes that has been started. */
interface Pending {
  /** Of its parts; the elements must not be collected before. */
  open: { readonly elements: Float32Array; readonly isDone: () => boolean }[];
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

function connected(mpi: OpenMpi): Mpi {
  const { rank, size } = mpi;
  const pending = new Set<Pending>();
  let drives = false;

  const progress = () => {
    for (const started of pending) {
      try {
        started.open = started.open.filter(({ isDone }) => !isDone());
        if (started.open.length > 0) continue;
        started.resolve();
      } catch (error) {
        started.reject(error);
      }
      pending.delete(started);
    }
    return pending.size;
  };
  const drive = async () => {
    if (drives) return;
    drives = true;
    for (; pending.size > 0; await setImmediate()) progress();
    drives = false;
  };
  const divide = (elements: Float32Array) => {
    for (let i = 0; i < elements.length; i++) elements[i]! /= size;
  };

  return {
    rank,
    size,
    barrier: mpi.barrier,
    broadcast({ buffer, byteOffset, byteLength }, root = 0) {
      checkRoot("broadcast", root, size);
      for (let at = 0; at < byteLength; at += 4 * largestCall) {
        const length = Math.min(4 * largestCall, byteLength - at);
        mpi.broadcast(new Uint8Array(buffer, byteOffset + at, length), root);
      }
    },
    allreduce(elements, operation) {
      for (const part of parts(elements)) mpi.sum(part);
      if (operation === "mean") divide(elements);
    },
    async startAllreduce(elements, operation) {
      const open = parts(elements).map((part) => ({ elements: part, isDone: mpi.startSum(part) }));
      const sum = new Promise<void>((resolve, reject) => pending.add({ open, resolve, reject }));
      void drive();
      await sum;
      if (operation === "mean") divide(elements);
    },
    progress,
    gather<T>(value: T): T[] {
      const own = encode(value);
      const lengths = new Int32Array(size);
      mpi.gatherIntegers(Int32Array.of(own.length), lengths);
      const all = new Uint8Array(lengths.reduce((sum, length) => sum + length, 0));
      mpi.gatherBytes(own, all, lengths);
      let at = 0;
      return Array.from(lengths, (length) => decode(all.subarray(at, at += length)) as T);
    },
    share<T>(value: T, root = 0): T {
      checkRoot("share", root, size);
      const own = rank === root ? encode(value) : new Uint8Array();
      const length = Int32Array.of(own.length);
      mpi.broadcast(new Uint8Array(length.buffer), root);
      const content = rank === root ? own : new Uint8Array(length[0]!);
      mpi.broadcast(content, root);
      return decode(content) as T;
    },
    finalize: mpi.finalize,
    abort(message, code = 1) {
      console.error(`rank ${rank} of ${size}: ${message}`);
      mpi.abort(code);
      Deno.exit(code);
    },
  };
}

/** The elements in pieces that MPI takes at once. */
function parts(elements: Float32Array): Float32Array[] {
  return Array.from(
    { length: Math.ceil(elements.length / largestCall) },
    (_, i) => elements.subarray(i * largestCall, (i + 1) * largestCall),
  );
}

function checkRoot(name: string, root: number, size: number): void {
  if (Number.isInteger(root) && root >= 0 && root < size) return;
  throw new RangeError(`${name}: expected root to be in 0..${size - 1} but found ${root}`);
}

function encode(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value) ?? "null");
}

function decode(bytes: Uint8Array): unknown {
  return JSON.parse(new TextDecoder().decode(bytes));
}
