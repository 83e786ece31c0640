/**
 * The gradient of attention in WebAssembly: one head per chunk; the probabilities of a block are
 * computed again from the stored logsumexp.
 *
 * Source: Dao, "FlashAttention-2" (2023), algorithm 2.
 */
import type { KernelSpec } from "../../lib/op.ts";
import {
  type Expr,
  f32,
  f32x4,
  i32,
  type Local,
  memoryClear,
  type ModuleBuilder,
  v128,
} from "../../lib/backends/wasm/assembler.ts";
import {
  type BlockProducts,
  blockProducts,
  packedBytes,
  packedScratchBytes,
  panelBytes,
} from "../../lib/backends/wasm/block_products.ts";
import { at } from "../../lib/backends/wasm/gemm_kernels.ts";
import { exp } from "../../lib/backends/wasm/math.ts";
import type { WasmCall, WasmProgram } from "../../lib/backends/wasm/program.ts";
import { eachVector, emitDot, fillZero } from "../../lib/backends/wasm/row_kernels.ts";
import {
  type AttentionShape,
  chooseBlocks,
  mostSeen,
  operandArguments,
  scratchParts,
  seenFrom,
  shapeOf,
} from "./wasm.ts";

type I = Expr<"i32">;
type Four = readonly [number, number, number, number];

/** The parts of a thread's scratch. */
function scratchSizes(width: number, rows: number, columns: number) {
  return {
    product: Math.max(packedScratchBytes(columns, rows), packedScratchBytes(rows, columns)),
    deltas: 4 * rows,
    probabilities: 4 * rows * columns,
    slopes: 4 * rows * columns,
    keysAcross: packedBytes(columns, width),
    valuesAcross: packedBytes(columns, width),
    keys: packedBytes(width, columns),
    queries: packedBytes(width, rows),
    douts: packedBytes(width, rows),
  };
}

/** q, k, v, visible, out, logsumexp, dout → dq, dk, dv. */
export function attentionGradientWasm(spec: KernelSpec, program: WasmProgram): WasmCall[] {
  const shape = shapeOf(spec);
  const { batch, heads, width } = shape;
  if (batch * heads === 0) return [];
  const blocks = chooseBlocks(
    shape,
    program.scratchBytes,
    (rows, columns) =>
      Object.values(scratchSizes(width, rows, columns)).reduce((a, b) => a + b + 64, 0),
  );
  const products = blockProducts(program);
  const dot = program.once("dot", emitDot);
  const kernel = program.once(`attentionGradient ${JSON.stringify(shape)}`, (m) => {
    const name = `attentionGradient${m.exports.length}`;
    emitGradient(m, name, shape, blocks, products, dot);
    return name;
  });
  const args = operandArguments(spec);
  return [{ name: "attentionGradient", kernel, args, chunks: batch * heads }];
}

/** Emits the slope of the scores: `p · (dp - delta) · scale`, over `dp`; zeros beyond `seen`. */
function emitSlopes(m: ModuleBuilder, scale: number) {
  return m.func(
    { params: ["i32", "i32", "i32", "i32", "f32"] },
    (f, probabilities, dps, columns, seen, delta) => {
      const factor = f32x4.const(scale, scale, scale, scale);
      const deltas = f.let(f32x4.splat(delta));
      const slope = (offset: I) =>
        f32x4.mul(
          f32x4.mul(v128.load(i32.add(probabilities, offset)), factor),
          f32x4.sub(v128.load(i32.add(dps, offset)), deltas),
        );
      eachVector(
        f,
        seen,
        (offset) => f.store.v128(i32.add(dps, offset), slope(offset)),
        (offset, mask) => f.store.v128(i32.add(dps, offset), v128.and(slope(offset), mask)),
      );
      const end = f.let(i32.and(i32.add(seen, 3), -4));
      f.if(i32.ltU(end, columns), () => {
        fillZero(f, at(dps, end, 4), i32.sub(columns, end));
      });
    },
  );
}

/** Emits `exp(scale · score - logsumexp)` over the scores; zeros beyond `seen`. */
function emitProbabilities(m: ModuleBuilder, scale: number) {
  return m.func(
    { params: ["i32", "i32", "i32", "f32"] },
    (f, scores, columns, seen, logsumexp) => {
      const factor = f32x4.const(scale, scale, scale, scale);
      const lse = f.let(f32x4.splat(logsumexp));
      const power = (offset: I) =>
        exp(f, f32x4.sub(f32x4.mul(v128.load(i32.add(scores, offset)), factor), lse));
      eachVector(
        f,
        seen,
        (offset) => f.store.v128(i32.add(scores, offset), power(offset)),
        (offset, mask) => f.store.v128(i32.add(scores, offset), v128.and(power(offset), mask)),
      );
      const end = f.let(i32.and(i32.add(seen, 3), -4));
      f.if(i32.ltU(end, columns), () => {
        fillZero(f, at(scores, end, 4), i32.sub(columns, end));
      });
    },
  );
}

function emitGradient(
  m: ModuleBuilder,
  name: string,
  { heads, rows, columns, width, scale, strides }: AttentionShape,
  { blockRows, blockColumns }: { blockRows: number; blockColumns: number },
  { packB, direct, packed }: BlockProducts,
  dot: ReturnType<typeof emitDot>,
): void {
  const [q, k, v, visible, out, lse, dout] = strides as readonly Four[];
  const probabilities = emitProbabilities(m, scale);
  const slopes = emitSlopes(m, scale);
  const part = scratchParts(scratchSizes(width, blockRows, blockColumns));
  const line = 4 * blockColumns, outLine = 4 * width;

  m.func({ params: ["i32", "i32", "i32"], export: name }, (f, args, chunk, scratch) => {
    const place = Object.fromEntries(
      Object.entries(part).map(([name, offset]) => [name, f.let(i32.add(scratch, offset))]),
    ) as Record<keyof typeof part, Local<"i32">>;
    const head = f.let(i32.remU(chunk, heads)), sample = f.let(i32.divU(chunk, heads));
    const start = (which: number, [perSample, perHead]: readonly number[]) =>
      f.let(at(at(i32.load(args, 4 * which), sample, perSample!), head, perHead!));
    const [qs, ks, vs] = [start(0, q!), start(1, k!), start(2, v!)];
    const seen = f.let(at(i32.load(args, 12), sample, visible![0]));
    const [outs, lses, douts] = [start(4, out!), start(5, lse!), start(6, dout!)];
    const result = (which: number, length: number) =>
      f.let(at(i32.load(args, 4 * which), chunk, length * outLine));
    const [dq, dk, dv] = [result(7, rows), result(8, columns), result(9, columns)];
    for (const [to, length] of [[dq, rows], [dk, columns], [dv, columns]] as const) {
      f.do(memoryClear(to, length * outLine));
    }

    f.for(0, columns, blockColumns, (from) => {
      const all = f.let(i32.minU(i32.sub(columns, from), blockColumns));
      const isPacked = f.local("i32");
      f.set(isPacked, 0);
      const [key, value] = [f.let(at(ks, from, k![2])), f.let(at(vs, from, v![2]))];
      f.for(0, rows, blockRows, (first) => {
        const count = f.let(i32.minU(i32.sub(rows, first), blockRows));
        const seenHere = f.let(at(seen, first, visible![1]));
        const most = mostSeen(f, seenHere, visible![1], count, columns);
        f.if(i32.gtU(most, from), () => {
          f.if(i32.eqz(isPacked), () => {
            f.set(isPacked, 1);
            f.do(packB({
              ...{ to: place.keysAcross, from: key, count: all, k: width },
              ...{ lane: k![2], step: k![3] },
            }));
            f.do(packB({
              ...{ to: place.valuesAcross, from: value, count: all, k: width },
              ...{ lane: v![2], step: v![3] },
            }));
            f.do(packB({
              ...{ to: place.keys, from: key, count: width, k: all },
              ...{ lane: k![3], step: k![2] },
            }));
          });
          const n = f.let(i32.minU(i32.sub(most, from), all));
          const query = f.let(at(qs, first, q![2])), slope = f.let(at(douts, first, dout![2]));
          const common = { scratch: place.product, k: width, m: count, n };
          f.do(direct({
            ...{ ...common, a: query, aRow: q![2], aStep: q![3], b: place.keysAcross },
            ...{ bPanel: panelBytes(width), c: place.probabilities, cRow: line, accumulate: 0 },
          }));
          f.do(direct({
            ...{ ...common, a: slope, aRow: dout![2], aStep: dout![3], b: place.valuesAcross },
            ...{ bPanel: panelBytes(width), c: place.slopes, cRow: line, accumulate: 0 },
          }));
          f.for(0, count, 1, (i) => {
            const row = f.let(i32.add(first, i));
            const sees = seenFrom(f, at(seenHere, i, visible![1]), from, n);
            const p = f.let(at(place.probabilities, i, line));
            const delta = f.let(
              dot(at(outs, row, out![2]), out![3], at(slope, i, dout![2]), dout![3], width),
            );
            f.do(probabilities(p, n, sees, f32.load(at(lses, row, lse![2]))));
            f.do(slopes(p, at(place.slopes, i, line), n, sees, delta));
          });
          f.do(packB({
            ...{ to: place.douts, from: slope, count: width, k: count },
            ...{ lane: dout![3], step: dout![2] },
          }));
          f.do(packB({
            ...{ to: place.queries, from: query, count: width, k: count },
            ...{ lane: q![3], step: q![2] },
          }));
          const down = { ...common, cRow: outLine, accumulate: 1, n: width };
          const acrossRows = { ...down, aRow: 4, aStep: line, m: n, k: count };
          f.do(packed({
            ...{ ...acrossRows, a: place.probabilities, b: place.douts },
            ...{ bPanel: panelBytes(count), c: at(dv, from, outLine) },
          }));
          f.do(packed({
            ...{ ...acrossRows, a: place.slopes, b: place.queries },
            ...{ bPanel: panelBytes(count), c: at(dk, from, outLine) },
          }));
          f.do(direct({
            ...{ ...down, a: place.slopes, aRow: line, aStep: 4, k: n, b: place.keys },
            ...{ bPanel: panelBytes(all), c: at(dq, first, outLine) },
          }));
        });
      });
    });
  });
}
