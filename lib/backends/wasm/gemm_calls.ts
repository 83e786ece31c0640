/** Matrix products as calls of a program, for the rules of ops. */
import { i32 } from "./assembler.ts";
import type { WasmEpilogue } from "./epilogue.ts";
import {
  emitGemm,
  emitGemmParts,
  type GemmKernel,
  type GemmShape,
  gemmWord,
  gemmWords,
  planGemm,
} from "./gemm.ts";
import { at } from "./gemm_kernels.ts";
import type { WasmArgument, WasmCall, WasmProgram } from "./program.ts";

/** An epilogue, and which of its rows the product has. */
export interface GemmEpilogue {
  readonly epilogue: WasmEpilogue;
  /** The number of the first row, and how far the batches' rows are apart. */
  readonly firstRow: number;
  readonly batchRows: readonly [number, number];
}

/**
 * The calls that compute C = A · B (or C += A · B).
 *
 * @param name Shown in profiles.
 * @param shape Sizes and strides.
 * @param operands The addresses of the first elements.
 * @param end What follows on every finished block of C.
 */
export function gemmCalls(
  program: WasmProgram,
  name: string,
  shape: GemmShape,
  operands: Readonly<Record<"a" | "b" | "c", WasmArgument>>,
  end?: GemmEpilogue,
): WasmCall[] {
  const { m, n, batch: [outer, inner] } = shape;
  if (m * n * outer * inner === 0) return [];
  const suffix = end ? emitWithEpilogue(program, end.epilogue) : "";
  emitPlain(program);
  const { words, workspaceBytes, jobs } = planGemm(shape, program, end?.epilogue);
  const args: WasmArgument[] = [...words];
  args[gemmWord.a] = operands.a;
  args[gemmWord.b] = operands.b;
  args[gemmWord.c] = operands.c;
  args[gemmWord.workspace] = workspaceBytes > 0 ? program.borrow(workspaceBytes) : 0;
  if (end) args.push(end.firstRow, ...end.batchRows, ...end.epilogue.args);
  const kernelOf = (kernel: GemmKernel) => kernel === "gemmPack" ? kernel : `${kernel}${suffix}`;
  return jobs.map(({ kernel, chunks }) => ({ name, kernel: kernelOf(kernel), args, chunks }));
}

const partsOf = (program: WasmProgram) =>
  program.once("gemm parts", (m) => emitGemmParts(m, program.tile));

function emitPlain(program: WasmProgram): void {
  const parts = partsOf(program);
  program.once("gemm", (m) => emitGemm(m, { tile: program.tile, parts }));
}

/** Emits the kernels that end with an epilogue; its words come behind those of the product. */
function emitWithEpilogue(program: WasmProgram, { key, call }: WasmEpilogue): string {
  const parts = partsOf(program);
  return program.once(`gemm ${key}`, (m) => {
    const suffix = `Then${m.exports.length}`;
    emitGemm(m, {
      tile: program.tile,
      parts,
      suffix,
      epilogue(args, batch, rows, [column, columnEnd]) {
        const word = (index: number) => i32.load(args, 4 * (gemmWords + index));
        const start = at(at(word(0), batch[0], word(1)), batch[1], word(2));
        const [row, rowEnd] = rows.map((row) => i32.add(start, row)) as [
          typeof start,
          typeof start,
        ];
        const words = i32.add(args, 4 * (gemmWords + 3));
        return call({ words, row, rowEnd, column, columnEnd });
      },
    });
    return suffix;
  });
}
