/**
 * Large matrix products by the system's OpenBLAS through FFI, where that is allowed and found.
 *
 * Every thread of the pool calls it on blocks of its own, as it calls the kernels in WebAssembly, so
 * that what follows on a block finds it in the cache. A large product that nothing follows is one call,
 * on threads of the library, while those of the pool sleep. `TESSERA_BLAS=off` keeps to WebAssembly; `auto`,
 * the default, uses the library if permission for FFI is granted already (it is never asked for).
 * Results differ by rounding only.
 *
 * @module
 */
import type { GemmShape } from "./gemm.ts";

/** What modules import of the library, in this thread. */
export interface Blas {
  /**
   * C = A · B, or C += A · B, of matrices in the memory; leading sizes are in elements. With several
   * threads, which are the library's own, no other thread may call it.
   */
  sgemm(
    ...args: [
      ...[orderA: number, orderB: number, m: number, n: number, k: number],
      ...[a: number, leadingA: number, b: number, leadingB: number],
      ...[accumulate: number, c: number, leadingC: number, threads: number],
    ]
  ): void;
}

/** The parameters of the functions of `Blas`, for modules that import them. */
export const blasImports = { sgemm: Array.from({ length: 13 }, () => "i32" as const) };

/** How BLAS calls a matrix whose rows, or whose columns, are contiguous. */
export const blasOrder = { plain: 111, transposed: 112 };

const rowMajor = 101;
/** Products of fewer multiplications, rows or columns than this are as fast in WebAssembly. */
const fewest = 64 ** 3, leastSide = 16;

const symbols = {
  cblas_sgemm: {
    parameters: [
      ...["i32", "i32", "i32", "i32", "i32", "i32"] as const,
      ...["f32", "pointer", "i32", "pointer", "i32", "f32", "pointer", "i32"] as const,
    ],
    result: "void",
  },
  openblas_set_num_threads: { parameters: ["i32"], result: "void" },
} as const;
type Library = Deno.DynamicLibrary<typeof symbols>["symbols"];

/** Whether a product is large enough for the library, and its operands lie as it can read them. */
export function isForBlas({ m, n, k, a, b }: GemmShape): boolean {
  const isContiguous = (
    { row, column }: { row: number; column: number },
    rows: number,
    columns: number,
  ) => (column === 1 && row >= columns) || (row === 1 && column >= rows);
  return Math.min(m, n, k) >= leastSide && m * n * k >= fewest &&
    isContiguous(a, m, k) && isContiguous(b, k, n);
}

/**
 * Looks for OpenBLAS, for the thread that calls this.
 *
 * @param memory The memory that operands lie in.
 * @param choice Overrides `TESSERA_BLAS`.
 * @returns Its functions, or undefined where it is switched off, not allowed or not installed.
 * @throws {RangeError} If `TESSERA_BLAS` is neither auto nor off.
 */
export function openBlas(memory: WebAssembly.Memory, choice?: "auto" | "off"): Blas | undefined {
  if (typeof Deno === "undefined" || !Deno.dlopen) return undefined;
  if (Deno.permissions.querySync({ name: "ffi" }).state !== "granted") return undefined;
  const wanted = choice ?? (mayUse("TESSERA_BLAS") && Deno.env.get("TESSERA_BLAS") || "auto");
  if (wanted !== "auto" && wanted !== "off") {
    throw new RangeError(`wasm: expected TESSERA_BLAS to be auto or off but found ${wanted}`);
  }
  const library = wanted === "auto" ? loaded ??= load() : undefined;
  if (!library) return undefined;
  // The memory is reserved at its largest size: it grows in place.
  const base = Deno.UnsafePointer.of(new Uint8Array(memory.buffer as ArrayBuffer))!;
  const pointer = (address: number) => Deno.UnsafePointer.offset(base, address >>> 0);
  return {
    sgemm(orderA, orderB, m, n, k, a, leadingA, b, leadingB, accumulate, c, leadingC, threads) {
      if (threads > 1) library.openblas_set_num_threads(threads);
      library.cblas_sgemm(
        ...[rowMajor, orderA, orderB, m, n, k, 1, pointer(a), leadingA] as const,
        ...[pointer(b), leadingB, accumulate, pointer(c), leadingC] as const,
      );
      if (threads > 1) library.openblas_set_num_threads(1);
    },
  };
}

/** The library, which stays open: programs may still run on a device that was closed. */
let loaded: Library | undefined;

/** What the library reads when it is loaded: to start no threads, and not to let others wait busily. */
const settings = { OPENBLAS_NUM_THREADS: "1", OPENBLAS_THREAD_TIMEOUT: "4" };

function load(): Library | undefined {
  const changed = Object.entries(settings).filter(([name]) => mayUse(name));
  const before = changed.map(([name]) => Deno.env.get(name));
  for (const [name, value] of changed) Deno.env.set(name, value);
  try {
    for (const name of ["libopenblas.so.0", "libopenblas.so", "libopenblas.dylib"]) {
      try {
        const library = Deno.dlopen(name, symbols).symbols;
        library.openblas_set_num_threads(1);
        return library;
      } catch {
        // not under this name
      }
    }
    return undefined;
  } finally {
    changed.forEach(([name], i) => {
      if (before[i] === undefined) Deno.env.delete(name);
      else Deno.env.set(name, before[i]);
    });
  }
}

function mayUse(variable: string): boolean {
  return Deno.permissions.querySync({ name: "env", variable }).state === "granted";
}
