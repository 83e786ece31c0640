/** Matrix products as calls of a program, for the rules of ops. */
import { emitGemm, type GemmShape, gemmWord, planGemm } from "./gemm.ts";
import type { WasmArgument, WasmCall, WasmProgram } from "./program.ts";

/**
 * The calls that compute C = A · B (or C += A · B).
 *
 * @param name Shown in profiles.
 * @param shape Sizes and strides.
 * @param operands The addresses of the first elements.
 */
export function gemmCalls(
  program: WasmProgram,
  name: string,
  shape: GemmShape,
  operands: Readonly<Record<"a" | "b" | "c", WasmArgument>>,
): WasmCall[] {
  const { m, n, batch: [outer, inner] } = shape;
  if (m * n * outer * inner === 0) return [];
  const library = program.blas?.(shape);
  if (library) {
    return [{ name, kernel: library, args: [operands.a, operands.b, operands.c], chunks: 1 }];
  }
  program.once("gemm", (module) => emitGemm(module));
  const { words, workspaceBytes, jobs } = planGemm(shape, program);
  const args: WasmArgument[] = [...words];
  args[gemmWord.a] = operands.a;
  args[gemmWord.b] = operands.b;
  args[gemmWord.c] = operands.c;
  args[gemmWord.workspace] = workspaceBytes > 0 ? program.borrow(workspaceBytes) : 0;
  return jobs.map(({ kernel, chunks }) => ({ name, kernel, args, chunks }));
}
