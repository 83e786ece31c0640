/**
 * The thread of the pool: it gets the memory in its first and only message, then takes its jobs
 * from the memory until it is told to stop.
 *
 * @module
 */
import { openBlas } from "./blas.ts";
import { instantiate, jobPrimitives, type KernelFunction, spinTurns, Word } from "./jobs.ts";

/** The message that starts a worker. */
export interface WorkerStart {
  readonly memory: WebAssembly.Memory;
  /** Address of the control block. */
  readonly control: number;
  /** Address of this thread's scratch space. */
  readonly scratch: number;
  /** Whether modules may import the functions of a library. */
  readonly blas: boolean;
}

/** What this file uses of a worker's global scope. */
const scope = globalThis as unknown as {
  postMessage(message: string): void;
  close(): void;
};

function work({ memory, control, scratch, blas }: WorkerStart) {
  const library = blas ? openBlas(memory, "auto") : {};
  if (!library) {
    throw new Error("worker: expected OpenBLAS, as the main thread has, but found none");
  }
  const words = new Int32Array(memory.buffer, control);
  const primitives = jobPrimitives(memory);
  const modules = new Map<number, KernelFunction[]>();

  /** The kernel of the job, or undefined if the job was over before all of it was read. */
  const kernelOf = (epoch: number): KernelFunction | undefined => {
    const id = words[Word.moduleId];
    const index = words[Word.function];
    let kernels = modules.get(id);
    if (kernels === undefined) {
      const start = words[Word.moduleAddress] >>> 0;
      const length = words[Word.moduleBytes];
      const isOpen = Atomics.load(words, Word.left) > 0 &&
        Atomics.load(words, Word.epoch) === epoch;
      if (!isOpen) return undefined;
      // The news that another thread has grown the memory may not have come here yet.
      if (start + length > memory.buffer.byteLength) memory.grow(0);
      const bytes = new Uint8Array(new Uint8Array(memory.buffer, start, length));
      kernels = Object.values(instantiate(bytes, memory, { ...library })) as KernelFunction[];
      modules.set(id, kernels);
    }
    return kernels[index];
  };

  let epoch = 0;
  Atomics.add(words, Word.ready, 1);
  scope.postMessage("ready");
  while (Atomics.load(words, Word.stop) === 0) {
    primitives.spin(control + 4 * Word.epoch, epoch, spinTurns);
    if (Atomics.load(words, Word.epoch) === epoch) {
      Atomics.add(words, Word.sleepers, 1);
      Atomics.wait(words, Word.epoch, epoch);
      Atomics.sub(words, Word.sleepers, 1);
      continue;
    }
    epoch = Atomics.load(words, Word.epoch);
    if (Atomics.load(words, Word.left) === 0) continue;
    const kernel = kernelOf(epoch);
    const args = words[Word.args];
    for (let chunk; kernel && (chunk = primitives.take(control, epoch)) >= 0;) {
      try {
        kernel(args, chunk, scratch);
      } catch {
        Atomics.store(words, Word.failed, 1);
      }
      Atomics.add(words, Word.done, 1);
      if (Atomics.load(words, Word.mainWaits)) Atomics.notify(words, Word.done);
    }
  }
}

addEventListener("message", (event) => {
  work((event as MessageEvent<WorkerStart>).data);
  scope.close();
});
