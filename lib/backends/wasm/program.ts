/** What an op's `wasm` rule works with: the program under construction, and calls of its kernels. */
import type { ModuleBuilder } from "./assembler.ts";
import type { GemmTile } from "./gemm_tile.ts";

/** One 32-bit word of a call's arguments: a number, or an address. */
export type WasmArgument = number | {
  /** `reserved` and `borrowed`: the memory got from `reserve` and `borrow`. */
  readonly operand: "input" | "output" | "scratch" | "reserved" | "borrowed";
  readonly index: number;
  /** Bytes to add to the address. */
  readonly offset?: number;
};

/** One job for the thread pool: an exported kernel, its arguments, and how many chunks it has. */
export interface WasmCall {
  /** Shown in profiles. */
  readonly name: string;
  /** The kernel's export, `(args, chunk, scratch) => void`. */
  readonly kernel: string;
  /** The words at `args`. */
  readonly args: readonly WasmArgument[];
  readonly chunks: number;
}

/** The module that all kernels of one plan are emitted into. */
export interface WasmProgram {
  readonly module: ModuleBuilder;
  /** The threads that share the chunks of a job. */
  readonly threads: number;
  /** The size of the scratch that every thread gives to its kernels. */
  readonly scratchBytes: number;
  /** The register tile of products. */
  readonly tile: GemmTile;
  /** Whether a library of the system does large products: the module imports its `sgemm`. */
  readonly blas?: boolean;
  /** Emits something into the module the first time that `key` is asked for. */
  once<T>(key: string, emit: (module: ModuleBuilder) => T): T;
  /**
   * Memory for what the calls of this step hand to each other. It is aligned to 64 bytes, its
   * content is undefined, and later steps use it again.
   */
  reserve(bytes: number): Exclude<WasmArgument, number>;
  /** As `reserve`, but the content lasts only until the next one borrows: all get the same memory. */
  borrow(bytes: number): Exclude<WasmArgument, number>;
}
