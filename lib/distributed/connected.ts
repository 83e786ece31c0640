/** A job of several processes on the calls of MPI: sums in the background, and values of any size and kind. */
import type { Mpi } from "./mpi.ts";
import type { OpenMpi } from "./open_mpi.ts";

/** MPI counts in i32. */
const mostBytes = 2 ** 31 - 1;

/** Elements are summed so many at once, which bounds the memory that MPI takes meanwhile. */
const largestCall = 2 ** 22;

/** A sum of all processes that has been started. */
interface Pending {
  /** Of its parts; the elements must not be collected before. */
  open: { readonly elements: Float32Array; readonly isDone: () => boolean }[];
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** The job of the processes that MPI has connected. */
export function connected(mpi: OpenMpi): Mpi {
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
    const { setImmediate } = await import("node:timers/promises");
    for (; pending.size > 0; await setImmediate()) progress();
    drives = false;
  };
  const divide = (elements: Float32Array) => {
    for (let i = 0; i < elements.length; i++) elements[i]! /= size;
  };

  const gatherBytes = (own: Uint8Array) => {
    const lengths = new Int32Array(size);
    mpi.gatherIntegers(Int32Array.of(own.length), lengths);
    const total = lengths.reduce((sum, length) => sum + length, 0);
    if (total > mostBytes) {
      throw new RangeError(
        `gatherBytes: expected at most ${mostBytes} bytes from all processes but found ${total}`,
      );
    }
    const all = new Uint8Array(total);
    mpi.gatherBytes(own, all, lengths);
    let at = 0;
    return Array.from(lengths, (length) => all.subarray(at, at += length));
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
    gather: <T>(value: T) => gatherBytes(encode(value)).map((bytes) => decode(bytes) as T),
    gatherBytes,
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
