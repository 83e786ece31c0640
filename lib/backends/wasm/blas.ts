/**
 * Large matrix products by the system's OpenBLAS through FFI, where that is allowed and found.
 *
 * `TESSERA_BLAS=off` keeps to WebAssembly; `auto`, the default, uses the library if permission for
 * FFI is granted already (it is never asked for). Results differ by rounding only.
 */
import type { GemmShape } from "./gemm.ts";
import type { HostKernel } from "./program.ts";

/** Gives the kernel of a product whose arguments are the addresses of A, B and C, if it has one. */
export type Blas = (shape: GemmShape) => HostKernel | undefined;

const rowMajor = 101, plain = 111, transposed = 112;
/** Products of fewer multiplications than this are as fast in WebAssembly. */
const fewest = 64 ** 3;

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

/**
 * Looks for OpenBLAS.
 *
 * @param memory The memory that operands lie in.
 * @param threads The threads that it may use.
 * @param choice Overrides `TESSERA_BLAS`.
 * @returns Its products, or undefined where it is switched off, not allowed or not installed.
 */
export function openBlas(
  memory: WebAssembly.Memory,
  threads: number,
  choice?: "auto" | "off",
): Blas | undefined {
  const library = load(choice);
  if (!library) return undefined;
  library.openblas_set_num_threads(threads);
  // The memory is reserved at its largest size: it grows in place.
  const base = Deno.UnsafePointer.of(new Uint8Array(memory.buffer as ArrayBuffer))!;
  const pointer = (address: number) => Deno.UnsafePointer.offset(base, address);
  const wordsAt = (args: number) => new Uint32Array(memory.buffer, args, 3);

  return ({ m, n, k, batch: [outer, inner], a, b, c, accumulate }) => {
    const [aOrder, bOrder] = [orderOf(a, m, k), orderOf(b, k, n)];
    if (!aOrder || !bOrder || m * n * k < fewest) return undefined;
    return (args) => {
      const [fromA, fromB, to] = wordsAt(args) as unknown as [number, number, number];
      for (let i = 0; i < outer; i++) {
        for (let j = 0; j < inner; j++) {
          const at = (start: number, [x, y]: readonly [number, number]) =>
            pointer(start + 4 * (i * x + j * y));
          library.cblas_sgemm(
            ...[rowMajor, aOrder.transpose, bOrder.transpose, m, n, k] as const,
            ...[1, at(fromA, a.batch), aOrder.leading, at(fromB, b.batch)] as const,
            ...[bOrder.leading, accumulate ? 1 : 0, at(to, c.batch), c.row] as const,
          );
        }
      }
    };
  };
}

/** How BLAS sees a strided matrix; undefined if neither its rows nor its columns are contiguous. */
function orderOf(
  { row, column }: { row: number; column: number },
  rows: number,
  columns: number,
): { transpose: number; leading: number } | undefined {
  if (column === 1 && row >= columns) return { transpose: plain, leading: row };
  if (row === 1 && column >= rows) return { transpose: transposed, leading: column };
  return undefined;
}

function load(wanted?: string) {
  if (typeof Deno === "undefined" || !Deno.dlopen) return undefined;
  try {
    if (Deno.permissions.querySync({ name: "ffi" }).state !== "granted") return undefined;
    const choice = wanted ?? environment("TESSERA_BLAS") ?? "auto";
    if (choice !== "auto" && choice !== "off") {
      throw new RangeError(`wasm: expected TESSERA_BLAS to be auto or off but found ${choice}`);
    }
    if (choice === "off") return undefined;
    // Its threads would otherwise keep the cores busy for a while after each product.
    if (environment("OPENBLAS_THREAD_TIMEOUT") === undefined) {
      Deno.env.set("OPENBLAS_THREAD_TIMEOUT", "4");
    }
  } catch (error) {
    if (error instanceof RangeError) throw error;
    return undefined;
  }
  for (const name of ["libopenblas.so.0", "libopenblas.so", "libopenblas.dylib"]) {
    try {
      return Deno.dlopen(name, symbols).symbols;
    } catch {
      // not under this name
    }
  }
  return undefined;
}

function environment(name: string): string | undefined {
  return Deno.permissions.querySync({ name: "env", variable: name }).state === "granted"
    ? Deno.env.get(name)
    : undefined;
}
