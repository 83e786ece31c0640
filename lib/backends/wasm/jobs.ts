/**
 * How threads share a job through memory: one ticket, from which each takes the next chunk.
 *
 * The ticket is a 64-bit word: the number of chunks that are left (low half) and the job's epoch
 * (high half). A chunk is taken by compare-and-exchange, so a thread that slept through a job can
 * neither take a chunk of a later one by mistake nor keep the others waiting. The fields of a job
 * are written only while no chunk is left and every taken one is done.
 *
 * @module
 */
import { atomic, i32, i64, wasmModule } from "./assembler.ts";

/** Indices of the 32-bit words of the control block; what is written often has its own cache line. */
export const Word = {
  left: 0,
  epoch: 1,
  moduleId: 16,
  moduleAddress: 17,
  moduleBytes: 18,
  function: 19,
  args: 20,
  stop: 21,
  done: 32,
  failed: 33,
  mainWaits: 34,
  sleepers: 48,
  ready: 49,
} as const;

/** The size of the control block. */
export const controlBytes = 256;

/** A kernel: it computes one chunk of a job, given its arguments and the thread's own scratch. */
export type KernelFunction = (args: number, chunk: number, scratch: number) => void;

/** The primitives that need 64-bit atomics or a tight loop. */
export interface JobPrimitives {
  /** Opens a job. */
  publish(control: number, epoch: number, chunks: number): void;
  /** Takes a chunk of the job with this epoch; -1 if none is left. */
  take(control: number, epoch: number): number;
  /** Waits until a word is not `value`, for at most so many turns. */
  spin(address: number, value: number, turns: number): void;
}

/** Turns of waiting (some tens of microseconds) before a thread goes to sleep. */
export const spinTurns = 20_000;

/** Compiles the primitives for a memory. */
export function jobPrimitives(memory: WebAssembly.Memory): JobPrimitives {
  const m = wasmModule();
  m.func({ params: ["i32", "i32", "i32"], export: "publish" }, (f, control, epoch, chunks) => {
    const ticket = i64.or(i64.shl(i64.extendU(epoch), 32), i64.extendU(chunks));
    f.do(atomic.store64(control, ticket));
  });
  m.func({ params: ["i32", "i32"], result: "i32", export: "take" }, (f, control, epoch) => {
    f.loop((again) => {
      const ticket = f.let(atomic.load64(control));
      const left = f.let(i32.wrap(ticket));
      const isOther = i32.ne(i32.wrap(i64.shrU(ticket, 32)), epoch);
      f.if(i32.or(i32.eqz(left), isOther), () => f.return(i32.const(-1)));
      const found = atomic.exchange64(control, ticket, i64.add(ticket, -1));
      f.brIf(i64.ne(found, ticket), again);
      f.return(i32.sub(left, 1));
    });
    return -1;
  });
  m.func({ params: ["i32", "i32", "i32"], export: "spin" }, (f, address, value, turns) => {
    f.block((exit) =>
      f.loop((again) => {
        f.brIf(i32.ne(atomic.load32(address), value), exit);
        f.set(turns, i32.sub(turns, 1));
        f.brIf(i32.gtS(turns, 0), again);
      })
    );
  });
  return instantiate(m.bytes(), memory) as unknown as JobPrimitives;
}

/** Compiles and instantiates a module at once, with functions of the host if it imports any. */
export function instantiate(
  bytes: Uint8Array<ArrayBuffer>,
  memory: WebAssembly.Memory,
  functions: WebAssembly.ModuleImports = {},
): WebAssembly.Exports {
  return new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { ...functions, memory } })
    .exports;
}
