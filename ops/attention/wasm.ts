/**
 * Attention in WebAssembly: blocks of rows meet blocks of columns on a thread's scratch, with the
 * softmax of each row brought up to date from block to block.
 *
 * Source: Dao, "FlashAttention-2" (2023), algorithm 1.
 */
import type { KernelSpec, View } from "../../lib/op.ts";
import {
  type Expr,
  f32,
  f32x4,
  type FunctionBuilder,
  i32,
  type Local,
  memoryClear,
  type ModuleBuilder,
  select,
  v128,
} from "../../lib/backends/wasm/assembler.ts";
import {
  type BlockProducts,
  blockProducts,
  directScratchBytes,
  packedBytes,
  panelBytes,
} from "../../lib/backends/wasm/block_products.ts";
import { type WasmEpilogue, wasmEpilogue } from "../../lib/backends/wasm/epilogue.ts";
import { at } from "../../lib/backends/wasm/gemm_kernels.ts";
import { log } from "../../lib/backends/wasm/math.ts";
import type { WasmArgument, WasmCall, WasmProgram } from "../../lib/backends/wasm/program.ts";
import { emitOnlineSoftmax, scaleRow } from "../../lib/backends/wasm/row_kernels.ts";

type I = Expr<"i32">;

/** Inputs and outputs of attention, whose addresses are its first arguments. */
const operandCount = 6;

/** With more rows than these, keys and values are packed. */
const mostDotRows = 4, mostInPlaceRows = 10;

/** Sizes of an attention, and strides (in bytes) of its operands. */
export interface AttentionShape {
  readonly batch: number;
  readonly heads: number;
  readonly rows: number;
  readonly columns: number;
  readonly width: number;
  readonly scale: number;
  /** `[batch, head, row, element]` of every operand; `visible` has `[batch, row]`. */
  readonly strides: readonly (readonly number[])[];
}

/** The shape of the attention of a kernel whose first inputs are q, k, v and visible. */
export function shapeOf({ inputs, attributes }: KernelSpec): AttentionShape {
  const [q, k, , visible] = inputs as readonly View[];
  const [batch, heads, rows, width] = q!.shape as [number, number, number, number];
  return {
    ...{ batch, heads, rows, width, scale: attributes.scale, columns: k!.shape[2]! },
    strides: inputs.map((view) =>
      view.strides.map((stride, axis) =>
        view === visible && view.shape[axis] === 1 ? 0 : 4 * stride
      )
    ),
  };
}

/** The addresses of inputs and outputs, as arguments. */
export function operandArguments({ inputs, outputs }: KernelSpec): WasmArgument[] {
  return [
    ...inputs.map(({ offset }, index) => ({
      operand: "input" as const,
      index,
      offset: 4 * offset,
    })),
    ...outputs.map((_, index) => ({ operand: "output" as const, index })),
  ];
}

/** The largest blocks of rows and columns for which `bytes` fits the scratch. */
export function chooseBlocks(
  { rows, columns }: AttentionShape,
  scratchBytes: number,
  bytes: (rows: number, columns: number) => number,
): { blockRows: number; blockColumns: number } {
  let blockRows = Math.min(rows, 128), blockColumns = Math.min(Math.ceil(columns / 8) * 8, 256);
  while (bytes(blockRows, blockColumns) > scratchBytes && blockRows * blockColumns > 8) {
    if (blockColumns > 8 && blockColumns >= blockRows) {
      blockColumns = Math.ceil(blockColumns / 16) * 8;
    } else blockRows = Math.ceil(blockRows / 2);
  }
  return { blockRows, blockColumns };
}

/** Parts of the scratch, one after another. */
export function scratchParts<N extends string>(sizes: Record<N, number>): Record<N, number> {
  let used = 0;
  const parts = Object.entries<number>(sizes).map(([name, bytes]) => {
    const start = used;
    used += Math.ceil(bytes / 64) * 64;
    return [name, start];
  });
  return Object.fromEntries(parts);
}

/** How many of `count` columns from `start` on the row sees, given the address of its number. */
export function seenFrom(f: FunctionBuilder, visible: I, start: I, count: I): Local<"i32"> {
  const seen = f.let(i32.sub(i32.load(visible), start));
  f.set(seen, select(i32.ltS(seen, 0), i32.const(0), seen));
  f.set(seen, i32.minU(seen, count));
  return seen;
}

/** The most columns that one of some rows sees, between 0 and `columns`. */
export function mostSeen(
  f: FunctionBuilder,
  visible: I,
  rowStride: number,
  count: I,
  columns: number,
): Local<"i32"> {
  const most = f.local("i32");
  f.set(most, 0);
  f.for(0, count, 1, (row) => {
    const seen = f.let(i32.load(at(visible, row, rowStride)));
    f.set(most, select(i32.gtS(seen, most), seen, most));
  });
  f.set(most, i32.minU(most, columns));
  return most;
}

/** q [B,H,N,D], k and v [B,H,M,D], visible → out [B,H,N,D], logsumexp [B,H,N]. */
export function attentionWasm(spec: KernelSpec, program: WasmProgram): WasmCall[] {
  const shape = shapeOf(spec);
  const { batch, heads, rows, width } = shape;
  if (batch * heads * rows * width === 0) return [];
  const bytes = (blockRows: number, blockColumns: number) =>
    directScratchBytes + 4 * blockRows * (blockColumns + 2) + 1024 +
    packedBytes(blockColumns, width) + packedBytes(width, blockColumns);
  const blocks = chooseBlocks(shape, program.scratchBytes, bytes);
  const products = blockProducts(program);
  const epilogue = wasmEpilogue(spec, program);
  const key = `attention ${JSON.stringify(shape)} ${epilogue?.key ?? ""}`;
  const kernel = program.once(key, (m) => {
    const name = `attention${m.exports.length}`;
    emitAttention(m, name, shape, blocks, products, epilogue);
    return name;
  });
  const args = [...operandArguments(spec), ...epilogue?.args ?? []];
  const chunks = batch * heads * Math.ceil(rows / blocks.blockRows);
  return [{ name: "attention", kernel, args, chunks }];
}

function emitAttention(
  m: ModuleBuilder,
  name: string,
  { heads, rows, columns, width, scale, strides }: AttentionShape,
  { blockRows, blockColumns }: { blockRows: number; blockColumns: number },
  { packB, direct, inPlace, dots }: BlockProducts,
  epilogue: WasmEpilogue | undefined,
): void {
  const [q, k, v, visible] = strides as readonly (readonly [number, number, number, number])[];
  // For few rows it costs more to pack keys and values than to read them where they lie.
  const readsKeys = blockRows <= mostDotRows && q![3] === 4 && k![3] === 4;
  const readsValues = blockRows <= mostInPlaceRows && v![3] === 4;
  const softmax = emitOnlineSoftmax(m, scale);
  const part = scratchParts({
    tile: directScratchBytes,
    states: 8 * blockRows,
    scores: 4 * blockRows * blockColumns,
    keys: packedBytes(blockColumns, width),
    values: packedBytes(width, blockColumns),
  });
  m.func({ params: ["i32", "i32", "i32"], export: name }, (f, args, chunk, scratch) => {
    const inScratch = (where: keyof typeof part) => f.let(i32.add(scratch, part[where]));
    const [states, scores, keys, values] = [
      ...["states", "scores", "keys", "values"] as const,
    ].map(inScratch) as [Local<"i32">, Local<"i32">, Local<"i32">, Local<"i32">];
    const blocks = Math.ceil(rows / blockRows);
    const first = f.let(i32.mul(i32.remU(chunk, blocks), blockRows));
    const matrix = f.let(i32.divU(chunk, blocks));
    const head = f.let(i32.remU(matrix, heads)), sample = f.let(i32.divU(matrix, heads));
    const start = (which: number, [perSample, perHead]: readonly number[]) =>
      at(at(i32.load(args, 4 * which), sample, perSample!), head, perHead!);
    const queries = f.let(at(start(0, q!), first, q![2]));
    const [firstKey, firstValue] = [f.let(start(1, k!)), f.let(start(2, v!))];
    const seen = f.let(at(at(i32.load(args, 12), sample, visible![0]), first, visible![1]));
    const row = f.let(at(first, matrix, rows));
    const out = f.let(at(i32.load(args, 16), row, 4 * width));
    const logsumexp = f.let(at(i32.load(args, 20), row, 4));
    const count = f.let(i32.minU(i32.sub(rows, first), blockRows));
    const most = mostSeen(f, seen, visible![1], count, columns);

    f.for(0, count, 1, (i) => {
      f.store.f32(at(states, i, 8), -Infinity);
      f.store.f32(at(states, i, 8), 0, 4);
    });
    f.for(0, most, blockColumns, (from) => {
      const n = f.let(i32.minU(i32.sub(most, from), blockColumns));
      const key = at(firstKey, from, k![2]);
      const ofScores = {
        ...{ a: queries, aRow: q![2], c: scores, cRow: 4 * blockColumns },
        ...{ m: count, n, k: width, accumulate: 0 },
      };
      if (readsKeys) f.do(dots({ ...ofScores, b: key, bColumn: k![2] }));
      else {
        f.do(packB({ to: keys, from: key, count: n, k: width, lane: k![2], step: k![3] }));
        const bPanel = panelBytes(width);
        f.do(direct({ ...ofScores, aStep: q![3], b: keys, bPanel, scratch }));
      }
      f.for(0, count, 1, (i) => {
        const sees = seenFrom(f, at(seen, i, visible![1]), from, n);
        const keep = f.let(
          softmax(at(scores, i, 4 * blockColumns), n, sees, at(states, i, 8)),
        );
        f.if(i32.and(i32.ne(from, 0), f32.ne(keep, 1)), () => {
          scaleRow(f, f.let(at(out, i, 4 * width)), i32.const(width), f.let(f32x4.splat(keep)));
        });
      });
      const value = at(firstValue, from, v![2]);
      const ofOut = {
        ...{ a: scores, aRow: 4 * blockColumns, aStep: 4, c: out, cRow: 4 * width },
        ...{ m: count, n: width, k: n, accumulate: i32.ne(from, 0), scratch },
      };
      if (readsValues) f.do(inPlace({ ...ofOut, b: value, bStep: v![2] }));
      else {
        f.do(packB({ to: values, from: value, count: width, k: n, lane: v![3], step: v![2] }));
        f.do(direct({ ...ofOut, b: values, bPanel: panelBytes(n) }));
      }
    });
    f.for(0, count, 1, (i) => {
      const state = f.let(at(states, i, 8));
      const to = f.let(at(out, i, 4 * width));
      const sum = f.let(v128.load32Splat(state, 4));
      const isSeen = f32x4.gt(sum, f32x4.const(0, 0, 0, 0));
      // Rows of a block that no row sees were never written: they may hold anything.
      f.if(i32.eqz(most), () => f.do(memoryClear(to, 4 * width)));
      const inverse = f.let(v128.and(f32x4.div(f32x4.const(1, 1, 1, 1), sum), isSeen));
      scaleRow(f, to, i32.const(width), inverse);
      const total = f32x4.add(v128.load32Splat(state), log(f, sum));
      f.store.f32(at(logsumexp, i, 4), f32x4.lane(total, 0));
    });
    if (epilogue) {
      f.do(epilogue.call({
        ...{ words: i32.add(args, 4 * operandCount), row, rowEnd: i32.add(row, count) },
        ...{ column: i32.const(0), columnEnd: i32.const(width) },
      }));
    }
  });
}
