/** Compiles a plan into one WebAssembly module, and runs its steps on the thread pool. */
import type { KernelOperand, TensorType } from "../../op.ts";
import type { KernelStep, LoopKernel, LoopStep, Plan, Step } from "../../compiler/plan.ts";
import { sizeOf } from "../../shape.ts";
import type { DeviceBuffer, DeviceCounters, Executable } from "../backend.ts";
import { timeSteps } from "../time_steps.ts";
import { wasmModule } from "./assembler.ts";
import type { GemmTile } from "./gemm_tile.ts";
import { emitLoop } from "./loop.ts";
import { kernelKey } from "./loop_key.ts";
import { type LoopSchedule, scheduleLoop } from "./loop_schedule.ts";
import { splitLoop } from "./loop_split.ts";
import type { WasmMemory } from "./memory.ts";
import { type Blas, blasImports } from "./blas.ts";
import type { WasmCall, WasmProgram } from "./program.ts";
import type { Kernel, ThreadPool } from "./threads.ts";

/** A piece of the shared memory. */
export interface WasmBuffer extends DeviceBuffer {
  readonly address: number;
}

/** Memory that all executables use in turn; it moves when it grows. */
export interface Workspace {
  /** Makes it at least this large. */
  ensure(bytes: number): void;
  address(): number;
}

/** What executables of one device share. */
export interface WasmHost {
  readonly memory: WasmMemory;
  readonly pool: ThreadPool;
  readonly workspace: Workspace;
  readonly counters: DeviceCounters;
  readonly blas: Blas | undefined;
  readonly tile: GemmTile;
}

/** A bound buffer, or a part of the workspace: what is planned, and behind it what is borrowed. */
type Base = number | "workspace" | "borrowed";

/** One word of arguments: a number, or an address. */
type Word = number | { readonly base: Base; readonly offset: number };

interface Job {
  readonly name: string;
  readonly kernel: WasmCall["kernel"];
  readonly words: readonly Word[];
  readonly chunks: number;
}

/** A step: jobs for the pool, or a function of the addresses of buffers. */
type Prepared = readonly Job[] | ((addressOf: (id: number) => number) => void);

const aligned = (bytes: number) => Math.ceil(bytes / 64) * 64;

/** Compiles a plan. */
export function prepare(plan: Plan, host: WasmHost): Executable {
  const { memory, pool, workspace, counters } = host;
  for (const { type, label } of plan.buffers) {
    if (type.dtype === "f16") {
      throw new TypeError(`wasm: expected f32 but found f16, which it does not have, in ${label}`);
    }
  }
  const compiler = planCompiler(plan, host);
  const steps = plan.steps.map(compiler.step);
  const { plannedBytes, borrowedBytes } = compiler.workspaceBytes();
  workspace.ensure(plannedBytes + borrowedBytes);
  const module = compiler.module.exports.length > 0 ? pool.load(compiler.module) : undefined;

  // Arguments of all jobs lie in one block; addresses are written when they change.
  const jobs = steps.flatMap((step) => typeof step === "function" ? [] : step);
  const block = memory.malloc(4 * jobs.reduce((sum, { words }) => sum + words.length, 0));
  const patches = new Map<Base, { word: number; offset: number }[]>();
  const calls = new Map<Job, { kernel: Kernel; args: number }>();
  let at = block / 4;
  for (const job of jobs) {
    calls.set(job, { kernel: module!.kernels[job.kernel]!, args: 4 * at });
    for (const word of job.words) {
      if (typeof word === "number") memory.views().i32[at] = word;
      else {
        const list = patches.get(word.base);
        if (list) list.push({ word: at, offset: word.offset });
        else patches.set(word.base, [{ word: at, offset: word.offset }]);
      }
      at++;
    }
  }
  const known = new Map<Base, number>();
  const place = (base: Base, address: number) => {
    if (known.get(base) === address) return;
    known.set(base, address);
    const { i32 } = memory.views();
    for (const { word, offset } of patches.get(base) ?? []) i32[word] = address + offset;
  };
  const addressOf = (id: number) => {
    const temporary = plan.temporaries.get(id);
    return temporary ? workspace.address() + temporary.offset : known.get(id)!;
  };

  const run = (
    buffers: readonly DeviceBuffer[],
    finished: (step: number) => void = () => {},
  ) => {
    place("workspace", workspace.address());
    place("borrowed", workspace.address() + plannedBytes);
    plan.bound.forEach((id, i) => place(id, (buffers[i] as WasmBuffer).address));
    for (const [step, run] of steps.entries()) {
      if (typeof run === "function") run(addressOf);
      else {
        for (const job of run) {
          const { kernel, args } = calls.get(job)!;
          pool.run(kernel, args, job.chunks);
        }
      }
      finished(step);
    }
    counters.dispatches += steps.length;
    counters.submissions++;
  };
  return {
    run: (buffers, listener) => run(buffers, listener?.reached),
    profile: (buffers) => timeSteps((finished) => run(buffers, finished)),
    dispose() {
      memory.free(block);
      if (module) memory.free(module.address);
    },
  };
}

function planCompiler(plan: Plan, { memory, pool, blas, tile }: WasmHost) {
  const module = wasmModule(blas && blasImports);
  const host = { threads: pool.threads, scratchBytes: pool.scratchBytes, tile, blas: !!blas };
  const made = new Map<string, unknown>();
  const once: WasmProgram["once"] = (key, emit) => {
    if (!made.has(key)) made.set(key, emit(module));
    return made.get(key) as ReturnType<typeof emit>;
  };
  const temporaryBytes = aligned(plan.temporaryBytes);
  let reservedBytes = 0, borrowedBytes = 0;

  /** Memory of the workspace for one step. */
  const reserver = () => {
    let used = 0;
    return (bytes: number) => {
      const offset = temporaryBytes + used;
      used += aligned(bytes);
      reservedBytes = Math.max(reservedBytes, used);
      return offset;
    };
  };
  const wordOf = (id: number): Word => {
    const temporary = plan.temporaries.get(id);
    return temporary ? { base: "workspace", offset: temporary.offset } : { base: id, offset: 0 };
  };

  const loopJob = (
    name: string,
    kernel: LoopKernel,
    words: readonly Word[],
    reads: number,
  ): Job => {
    const key = `loop ${kernelKey(kernel)} ${reads}`;
    const found = once<{ name: string; schedule: LoopSchedule }>(key, () => {
      const name = `loop${module.exports.length}`;
      const schedule = scheduleLoop(kernel, host);
      if (schedule.chunks > 0) emitLoop(module, name, kernel, reads, schedule);
      return { name, schedule };
    });
    return { name, kernel: found.name, words, chunks: found.schedule.chunks };
  };

  const loop = ({ name, kernel, reads, writes }: LoopStep): Job[] => {
    const readWords = reads.map(wordOf), writeWords = writes.map(wordOf);
    const split = splitLoop(kernel, reads.length);
    if (!split) return [loopJob(name, kernel, [...readWords, ...writeWords], reads.length)];
    const reserve = reserver();
    const between = split.partials.map((size): Word => ({
      base: "workspace",
      offset: reserve(4 * size),
    }));
    const { partial, combined } = split;
    return [
      loopJob(name, partial, [...readWords, ...between], reads.length),
      loopJob(
        name,
        combined,
        [...readWords, ...between, ...writeWords],
        reads.length + between.length,
      ),
    ];
  };

  const kernel = (step: KernelStep): Prepared => {
    const { op, spec, reads, writes, scratch } = step;
    if (!op.run.wasm) return onHost(step);
    const reserve = reserver();
    const program: WasmProgram = {
      module,
      ...host,
      once,
      reserve: (bytes) => ({ operand: "reserved", index: 0, offset: reserve(bytes) }),
      borrow(bytes) {
        borrowedBytes = Math.max(borrowedBytes, bytes);
        return { operand: "borrowed", index: 0 };
      },
    };
    const ids = { input: reads, output: writes, scratch };
    const word = (arg: WasmCall["args"][number]): Word => {
      if (typeof arg === "number") return arg;
      const { operand, index, offset = 0 } = arg;
      if (operand === "reserved") return { base: "workspace", offset };
      if (operand === "borrowed") return { base: "borrowed", offset };
      const start = wordOf(ids[operand][index]!) as Exclude<Word, number>;
      return { ...start, offset: start.offset + offset };
    };
    return op.run.wasm(spec, program).map(({ name, kernel, args, chunks }) => ({
      ...{ name, kernel, chunks },
      words: args.map(word),
    }));
  };

  /** Runs the plain implementation of an op on views of the memory. */
  const onHost = ({ op, spec, attributes, reads, writes }: KernelStep): Prepared => (addressOf) => {
    const views = memory.views();
    const operand = ({ shape, dtype }: TensorType, id: number): KernelOperand => {
      const from = addressOf(id) / 4;
      const words = dtype === "f32" ? views.f32 : dtype === "i32" ? views.i32 : views.u32;
      const data = words.subarray(from, from + sizeOf(shape)) as KernelOperand["data"];
      return { shape, dtype, data };
    };
    op.run.cpu(
      spec.inputs.map((type, i) => operand(type, reads[i]!)),
      spec.outputs.map((type, i) => operand(type, writes[i]!)),
      attributes,
    );
  };

  return {
    module,
    workspaceBytes: () => ({ plannedBytes: temporaryBytes + reservedBytes, borrowedBytes }),
    step(step: Step): Prepared {
      switch (step.kind) {
        case "loop":
          return loop(step);
        case "kernel":
          return kernel(step);
        case "copy": {
          const [from] = step.reads, [to] = step.writes;
          const { bytes } = plan.buffers[to]!;
          return (addressOf) => {
            const start = addressOf(from);
            memory.views().u8.copyWithin(addressOf(to), start, start + bytes);
          };
        }
      }
    },
  };
}
