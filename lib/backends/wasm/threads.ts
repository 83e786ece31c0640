/**
 * The thread pool: kernels run in chunks on this thread and on workers over the shared memory.
 *
 * @module
 */
import { availableCores } from "../../cores.ts";
import { environment } from "../../environment.ts";
import {
  controlBytes,
  instantiate,
  jobPrimitives,
  type KernelFunction,
  spinTurns,
  Word,
} from "./jobs.ts";
import type { ModuleBuilder } from "./assembler.ts";
import type { Blas } from "./blas.ts";
import type { WasmMemory } from "./memory.ts";
import type { WorkerStart } from "./worker.ts";

/** An exported function of a loaded module, with the signature `(args, chunk, scratch)`. */
export interface Kernel {
  readonly name: string;
  readonly module: LoadedModule;
  /** Its number among the exports of the module. */
  readonly index: number;
  readonly call: KernelFunction;
}

/** A module whose bytes lie in the shared memory, so that every thread can compile it. */
export interface LoadedModule {
  readonly id: number;
  readonly address: number;
  readonly bytes: number;
  /** The exported functions by name. */
  readonly kernels: Readonly<Record<string, Kernel>>;
}

/** A pool of threads. */
export interface ThreadPool {
  /** The threads that this pool will have when all workers have started, this one included. */
  readonly threads: number;
  /** The size of the scratch space that every thread gives to its kernels. */
  readonly scratchBytes: number;
  /** Resolves when every worker has started or failed to; until then jobs run on fewer threads. */
  readonly ready: Promise<void>;
  /** The threads that have started, this one included. */
  running(): number;
  /** Compiles a module for this thread and makes it known to the others. */
  load(module: ModuleBuilder): LoadedModule;
  /**
   * Runs a kernel once for every chunk in [0, chunks), in any order, and returns when all is done.
   *
   * @param args what each call gets as its first argument: an address, if the kernel reads memory
   * @throws {Error} if a kernel trapped
   */
  run(kernel: Kernel, args: number, chunks: number): void;
  /** Ends the workers. The pool still works, on this thread alone. */
  close(): void;
}

/** The number of threads that the machine or, before it, `TESSERA_THREADS` suggests. */
export function defaultThreads(): number {
  const text = environment("TESSERA_THREADS");
  if (text === undefined || text === "") return availableCores();
  const threads = Number(text);
  if (!Number.isInteger(threads) || threads < 1) {
    throw new RangeError(`TESSERA_THREADS: expected a positive integer but found "${text}"`);
  }
  return threads;
}

/**
 * Starts a pool. Workers come up by themselves; where they cannot, the pool is this thread alone.
 *
 * @param memory the memory that the kernels share
 * @param options `threads` with this one, by default `defaultThreads()`; `scratchBytes` for each;
 *   `blas`: a library whose functions modules may import
 * @returns the pool
 * @example
 * ```ts
 * import { i32, wasmModule } from "./assembler.ts";
 * import { createMemory } from "./memory.ts";
 * import { createPool } from "./threads.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const m = wasmModule();
 * m.func({ params: ["i32", "i32", "i32"], export: "squares" }, (f, out, chunk, _scratch) => {
 *   f.store.i32(i32.add(out, i32.mul(chunk, 4)), i32.mul(chunk, chunk));
 * });
 * const memory = createMemory();
 * const pool = createPool(memory);
 * const out = memory.malloc(16);
 * pool.run(pool.load(m).kernels.squares, out, 4);
 * assertEquals([...memory.views().i32.slice(out / 4, out / 4 + 4)], [0, 1, 4, 9]);
 * pool.close();
 * ```
 */
export function createPool(
  memory: WasmMemory,
  { threads = defaultThreads(), scratchBytes = 2 ** 20, blas }: {
    threads?: number;
    scratchBytes?: number;
    blas?: Blas | undefined;
  } = {},
): ThreadPool {
  const control = memory.malloc(controlBytes);
  const scratch = memory.malloc(scratchBytes);
  const words = new Int32Array(memory.memory.buffer, control, controlBytes / 4);
  words.fill(0);
  const primitives = jobPrimitives(memory.memory);
  const workers: Worker[] = [];
  const starts: Promise<void>[] = [];
  for (let i = 1; i < threads; i++) {
    const start = {
      ...{ memory: memory.memory, control, scratch: memory.malloc(scratchBytes) },
      blas: blas !== undefined,
    };
    const worker = startWorker(start);
    if (worker === undefined) break;
    workers.push(worker.worker);
    starts.push(worker.ready);
  }
  const canWait = hostAllowsWaiting();
  let epoch = 0;
  let modules = 0;

  const waitForWorkers = (chunks: number) => {
    for (let done; (done = Atomics.load(words, Word.done)) !== chunks;) {
      primitives.spin(control + 4 * Word.done, done, spinTurns);
      if (!canWait || Atomics.load(words, Word.done) !== done) continue;
      Atomics.store(words, Word.mainWaits, 1);
      Atomics.wait(words, Word.done, done, 10);
      Atomics.store(words, Word.mainWaits, 0);
    }
  };

  return {
    threads: workers.length + 1,
    scratchBytes,
    ready: Promise.all(starts).then(() => {}),
    running: () => 1 + Atomics.load(words, Word.ready),
    load(builder) {
      const bytes = builder.bytes();
      const address = memory.malloc(bytes.length);
      memory.views().u8.set(bytes, address);
      const kernels: Record<string, Kernel> = {};
      const module = { id: modules++, address, bytes: bytes.length, kernels };
      Object.entries(instantiate(bytes, memory.memory, { ...blas })).forEach(
        ([name, call], index) => {
          kernels[name] = { name, module, index, call: call as KernelFunction };
        },
      );
      return module;
    },
    run({ name, module, index, call }, args, chunks) {
      if (chunks <= 1 || Atomics.load(words, Word.ready) === 0) {
        for (let chunk = chunks - 1; chunk >= 0; chunk--) call(args, chunk, scratch);
        return;
      }
      words[Word.moduleId] = module.id;
      words[Word.moduleAddress] = module.address;
      words[Word.moduleBytes] = module.bytes;
      words[Word.function] = index;
      words[Word.args] = args;
      Atomics.store(words, Word.failed, 0);
      Atomics.store(words, Word.done, 0);
      epoch = (epoch + 1) | 0;
      primitives.publish(control, epoch, chunks);
      if (Atomics.load(words, Word.sleepers) > 0) Atomics.notify(words, Word.epoch);
      let trap: unknown;
      for (let chunk; (chunk = primitives.take(control, epoch)) >= 0;) {
        try {
          call(args, chunk, scratch);
        } catch (error) {
          trap ??= error;
        }
        Atomics.add(words, Word.done, 1);
      }
      waitForWorkers(chunks);
      if (trap !== undefined || Atomics.load(words, Word.failed)) {
        throw new Error(`${name}: the kernel trapped`, { cause: trap });
      }
    },
    close() {
      Atomics.store(words, Word.stop, 1);
      primitives.publish(control, ++epoch, 0);
      Atomics.notify(words, Word.epoch);
      Atomics.store(words, Word.ready, 0);
      for (const worker of workers.splice(0)) worker.terminate();
    },
  };
}

/** Starts one worker; undefined where the host has none. */
function startWorker(start: WorkerStart): { worker: Worker; ready: Promise<void> } | undefined {
  let worker: Worker;
  try {
    worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
    worker.postMessage(start);
  } catch {
    return undefined;
  }
  const { promise: ready, resolve } = Promise.withResolvers<void>();
  worker.onmessage = () => resolve();
  worker.onerror = (event) => {
    event.preventDefault();
    resolve();
  };
  return { worker, ready: ready.then(() => letProcessEnd(worker)) };
}

/**
 * Lets the process end although the worker lives. Deno's own `Worker` has no public `unref`: the
 * one method under a nameless symbol is what its `node:worker_threads` calls for that.
 */
function letProcessEnd(worker: Worker) {
  const prototype = Object.getPrototypeOf(worker);
  for (const symbol of Object.getOwnPropertySymbols(prototype)) {
    if (symbol.description === undefined) prototype[symbol].call(worker, false);
  }
}

/** Whether this thread may block: the main thread of a browser may not. */
function hostAllowsWaiting(): boolean {
  try {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 1);
    return true;
  } catch {
    return false;
  }
}
