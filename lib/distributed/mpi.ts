/** Several processes that work on one thing, connected by MPI. */
import { allowedCores, coreShare, type Placement, shareCores } from "../cores.ts";
import { connected } from "./connected.ts";
import { detectLauncher } from "./launcher.ts";
import { startOpenMpi } from "./open_mpi.ts";

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
  /** The bytes of all processes, by rank, on each of them. */
  gatherBytes(bytes: Uint8Array): Uint8Array[];
  /** The value that `root` (default 0) has, on each of them; it must be JSON. */
  share<T>(value: T, root?: number): T;
  /** Ends MPI; to be called by every process before it exits. */
  finalize(): void;
  /** Ends all processes of the job at once, with a message. For a process that cannot go on. */
  abort(message: string, code?: number): never;
}

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
  gatherBytes: (bytes) => [bytes],
  share: (value) => value,
  finalize() {},
  abort(message, code = 1) {
    console.error(message);
    Deno.exit(code);
  },
};
