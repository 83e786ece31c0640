/** Several processes that work on one thing, connected by MPI. */
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
  /** The values of all processes, by rank, on each of them; they must be JSON. */
  gather<T>(value: T): T[];
  /** Ends MPI; to be called by every process before it exits. */
  finalize(): void;
  /** Ends all processes of the job at once, with a message. For a process that cannot go on. */
  abort(message: string, code?: number): never;
}

/** Elements are summed so many at once, which bounds the memory that MPI takes meanwhile. */
const largestCall = 2 ** 22;

/**
 * Connects this process to the others of its job: those that `mpirun -n 4 deno run -A …` or Slurm's
 * `srun --mpi=pmix -n 4 deno run -A …` started. A process that was started alone is a job of one and
 * needs no library.
 *
 * All communication is Open MPI's (`libmpi.so.40`, loaded with the permission `--allow-ffi`). To be
 * called once.
 *
 * @returns The job.
 * @throws {Error} If this process is one of several but the library is missing, or if the processes
 * do not find each other.
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
  const launcher = detectLauncher();
  if (!launcher) return alone;
  const mpi = startOpenMpi();
  if (mpi.size !== launcher.size) {
    const hint = launcher.name === "srun" ? ": run srun with --mpi=pmix (see srun --mpi=list)" : "";
    throw new Error(
      `openMpi: expected the ${launcher.size} processes that ${launcher.name} started but found ${mpi.size}${hint}`,
    );
  }
  return connected(mpi);
}

/** A job of one process. */
const alone: Mpi = {
  rank: 0,
  size: 1,
  barrier() {},
  broadcast() {},
  allreduce() {},
  gather: (value) => [value],
  finalize() {},
  abort(message, code = 1) {
    console.error(message);
    Deno.exit(code);
  },
};

function connected(mpi: OpenMpi): Mpi {
  const { rank, size } = mpi;
  return {
    rank,
    size,
    barrier: mpi.barrier,
    broadcast({ buffer, byteOffset, byteLength }, root = 0) {
      if (!Number.isInteger(root) || root < 0 || root >= size) {
        throw new RangeError(`broadcast: expected root to be in 0..${size - 1} but found ${root}`);
      }
      for (let at = 0; at < byteLength; at += 4 * largestCall) {
        const length = Math.min(4 * largestCall, byteLength - at);
        mpi.broadcast(new Uint8Array(buffer, byteOffset + at, length), root);
      }
    },
    allreduce(elements, operation) {
      for (let at = 0; at < elements.length; at += largestCall) {
        mpi.sum(elements.subarray(at, at + largestCall));
      }
      if (operation === "mean") {
        for (let i = 0; i < elements.length; i++) elements[i]! /= size;
      }
    },
    gather<T>(value: T): T[] {
      const own = new TextEncoder().encode(JSON.stringify(value) ?? "null");
      const lengths = new Int32Array(size);
      mpi.gatherIntegers(Int32Array.of(own.length), lengths);
      const all = new Uint8Array(lengths.reduce((sum, length) => sum + length, 0));
      mpi.gatherBytes(own, all, lengths);
      let at = 0;
      return Array.from(lengths, (length) => {
        const text = new TextDecoder().decode(all.subarray(at, at += length));
        return JSON.parse(text) as T;
      });
    },
    finalize: mpi.finalize,
    abort(message, code = 1) {
      console.error(`rank ${rank} of ${size}: ${message}`);
      mpi.abort(code);
      Deno.exit(code);
    },
  };
}
