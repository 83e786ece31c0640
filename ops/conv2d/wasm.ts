/**
 * Convolutions in WebAssembly: matrix products with patches of the images, which each thread lays
 * out on its scratch, some rows of the result and some channels at a time.
 */
import type { KernelSpec, View } from "../../lib/op.ts";
import {
  f32,
  f32x4,
  i32,
  memoryClear,
  type ModuleBuilder,
  v128,
} from "../../lib/backends/wasm/assembler.ts";
import {
  type BlockProducts,
  blockProducts,
  directScratchBytes,
  packedBytes,
  panelBytes,
} from "../../lib/backends/wasm/block_products.ts";
import { gemmCalls } from "../../lib/backends/wasm/gemm_calls.ts";
import { at } from "../../lib/backends/wasm/gemm_kernels.ts";
import type { WasmArgument, WasmCall, WasmProgram } from "../../lib/backends/wasm/program.ts";
import { sizeOf } from "../../lib/shape.ts";
import { emitPatches, type PatchBlocks, patchBlocks, type Patches } from "./wasm_patches.ts";

type Pair = readonly [number, number];

const input = (index: number): WasmArgument => ({ operand: "input", index });
const output: WasmArgument = { operand: "output", index: 0 };

/** Where results go in an image: to every `step`-th row and column. */
interface Places {
  readonly step: Pair;
  /** Height and width of the image. */
  readonly size: Pair;
}

const isDense = ({ step }: Places) => step[0] === 1 && step[1] === 1;

/** Where the parts of a thread's scratch start. */
function scratchOffsets({ entries, points }: PatchBlocks) {
  const matrix = directScratchBytes;
  const packed = matrix + 4 * entries * points + 64;
  return { matrix, packed, result: packed + packedBytes(points, entries) };
}

/** The most results that wait in a thread's scratch for their places. */
const mostResults = 2 ** 15;

/** x [B,C,H,W], w [O,C,kh,kw] → y [B,O,H',W']. */
export function conv2dWasm(spec: KernelSpec, program: WasmProgram): WasmCall[] {
  const { inputs: [x, w], outputs: [y], attributes: { stride, padding } } = spec;
  const size = y!.shape.slice(2) as unknown as Pair;
  return convolve(program, x!, y!, input(0), input(1), {
    channels: x!.shape[1]!,
    height: x!.shape[2]!,
    width: x!.shape[3]!,
    kernel: w!.shape.slice(2) as unknown as Pair,
    stride,
    padding: [padding[0], padding[2]],
    output: size,
  }, { step: [1, 1], size });
}

/**
 * dy [B,O,H',W'], w → dx. Rows and columns of dx that are as far apart as the stride see the same
 * taps of the kernel: dy convolved with these taps, turned around.
 */
export function conv2dInputGradientWasm(spec: KernelSpec, program: WasmProgram): WasmCall[] {
  const { inputs: [dy, w], outputs: [dx], attributes: { stride, padding } } = spec;
  const [outputs, channels, high, wide] = w!.shape as [number, number, number, number];
  if (sizeOf(w!.shape) === 0) return [];
  const size = dx!.shape.slice(2) as unknown as Pair;
  const kernel = program.once("turnKernels", emitTurnKernels);
  const rows = phases(stride[0], padding[0], high, size[0]);
  const columns = phases(stride[1], padding[2], wide, size[1]);
  return rows.flatMap((row) =>
    columns.flatMap((column) => {
      const turned = program.reserve(4 * outputs * channels * row.taps * column.taps);
      const turn: WasmCall = {
        name: "conv2d kernels",
        kernel,
        args: [
          ...[input(1), turned, outputs, channels, high, wide],
          ...[row.first, column.first, stride[0], stride[1], row.taps, column.taps],
        ],
        chunks: channels,
      };
      return [
        turn,
        ...convolve(
          program,
          dy!,
          dx!,
          input(0),
          turned,
          {
            channels: outputs,
            height: dy!.shape[2]!,
            width: dy!.shape[3]!,
            kernel: [row.taps, column.taps],
            stride: [1, 1],
            padding: [row.padding, column.padding],
            output: [row.length, column.length],
          },
          { step: stride, size },
          row.start * size[1] + column.start,
        ),
      ];
    })
  );
}

/**
 * The parts of an image's rows (or columns) that a strided convolution treats alike: of each, where
 * it starts and how long it is, its taps from `first` on, and the zeros before the other image.
 */
function phases(stride: number, padding: number, kernel: number, size: number) {
  return Array.from({ length: Math.min(stride, size) }, (_, start) => {
    const first = (start + padding) % stride;
    const taps = Math.max(1, Math.ceil((kernel - first) / stride)); // one of zeros, where there is none
    const before = taps - 1 - (start + padding - first) / stride;
    return { start, length: Math.ceil((size - start) / stride), first, taps, padding: before };
  });
}

/**
 * Emits w [O,C,kh,kw] → [C,O,ty,tx]: of both kernel axes, every so many taps from the first on, in
 * reverse; zeros beyond the kernel. One chunk per channel.
 */
function emitTurnKernels(m: ModuleBuilder): string {
  m.func({ params: ["i32", "i32", "i32"], export: "turnKernels" }, (f, args, channel) => {
    const arg = (word: number) => f.let(i32.load(args, 4 * word));
    const [w, to, outputs, channels, high, wide] = [0, 1, 2, 3, 4, 5].map(arg);
    const [firstRow, firstColumn, rowStep, columnStep, rows, columns] = [6, 7, 8, 9, 10, 11].map(
      arg,
    );
    const lastRow = f.let(at(firstRow, i32.sub(rows, 1), rowStep));
    const lastColumn = f.let(at(firstColumn, i32.sub(columns, 1), columnStep));
    f.set(to, at(to, channel, i32.shl(i32.mul(i32.mul(outputs, rows), columns), 2)));
    f.for(0, outputs, 1, (o) => {
      const from = f.let(i32.mul(i32.add(i32.mul(o, channels), channel), i32.mul(high, wide)));
      f.for(0, rows, 1, (r) => {
        const row = f.let(i32.sub(lastRow, i32.mul(r, rowStep)));
        f.for(0, columns, 1, (c) => {
          const column = f.let(i32.sub(lastColumn, i32.mul(c, columnStep)));
          const value = f.let(f32.const(0));
          f.if(i32.and(i32.ltU(row, high), i32.ltU(column, wide)), () => {
            const index = i32.add(i32.add(from, i32.mul(row, wide)), column);
            f.set(value, f32.load(at(w, index, 4)));
          });
          f.store.f32(to, value);
          f.set(to, i32.add(to, 4));
        });
      });
    });
  });
  return "turnKernels";
}

/**
 * The convolution of images [B, channels, H, W] with kernels [O, channels, kh, kw]. Phases that
 * differ in nothing but the first place share a kernel.
 */
function convolve(
  program: WasmProgram,
  x: View,
  y: View,
  from: WasmArgument,
  kernels: WasmArgument,
  patches: Patches,
  places: Places,
  firstPlace = 0,
): WasmCall[] {
  const [images, outputs] = y.shape as [number, number];
  const [height, width] = patches.output;
  if (sizeOf(y.shape) === 0) return [];
  const { channels } = patches;
  const isPointwise = [...patches.kernel, ...patches.stride, ...places.step].every((n) => n === 1);
  if (isPointwise && sizeOf(x.shape) === images * channels * height * width) {
    const size = height * width;
    return gemmCalls(program, "conv2d", {
      ...{ m: outputs, n: size, k: channels, batch: [1, images], accumulate: false },
      a: { row: channels, column: 1, batch: [0, 0] },
      b: { row: size, column: 1, batch: [0, channels * size] },
      c: { row: size, batch: [0, outputs * size] },
    }, { a: kernels, b: from, c: output });
  }
  const blocks = patchBlocks(patches);
  const rowBlocks = Math.ceil(height / blocks.rows);
  const parts = Math.max(
    Math.min(Math.ceil(outputs / 40), Math.ceil(4 * program.threads / images / rowBlocks)),
    isDense(places) ? 1 : Math.ceil(outputs * blocks.points / mostResults),
  );
  const partOutputs = Math.ceil(outputs / parts);
  const products = blockProducts(program);
  const key = `conv2d ${JSON.stringify([outputs, partOutputs, patches, places])}`;
  const kernel = program.once(key, (m) => {
    const name = `conv2d${m.exports.length}`;
    emitConvolution(m, name, outputs, partOutputs, patches, places, blocks, products);
    return name;
  });
  return [{
    name: "conv2d",
    kernel,
    args: [from, kernels, output, 4 * firstPlace],
    chunks: images * rowBlocks * Math.ceil(outputs / partOutputs),
  }];
}

/** Emits a convolution; a chunk is some rows of some channels of one result. */
function emitConvolution(
  m: ModuleBuilder,
  name: string,
  outputs: number,
  partOutputs: number,
  patches: Patches,
  places: Places,
  blocks: PatchBlocks,
  { packB, direct }: BlockProducts,
): void {
  const { channels, height, width, kernel: [high, wide], output: [rows, columns] } = patches;
  const rowBlocks = Math.ceil(rows / blocks.rows), parts = Math.ceil(outputs / partOutputs);
  const perChannel = high * wide, line = 4 * channels * perChannel;
  const size = 4 * places.size[0] * places.size[1];
  const fill = emitPatches(m, patches, blocks.points);
  const offsets = scratchOffsets(blocks);
  m.func({ params: ["i32", "i32", "i32"], export: name }, (f, args, chunk, scratch) => {
    const matrix = f.let(i32.add(scratch, offsets.matrix));
    const packed = f.let(i32.add(scratch, offsets.packed));
    const first = f.let(i32.mul(i32.remU(chunk, rowBlocks), blocks.rows));
    f.set(chunk, i32.divU(chunk, rowBlocks));
    const firstOutput = f.let(i32.mul(i32.remU(chunk, parts), partOutputs));
    const image = f.let(i32.divU(chunk, parts));
    const count = f.let(i32.minU(i32.sub(outputs, firstOutput), partOutputs));
    const x = f.let(at(i32.load(args), image, 4 * channels * height * width));
    const w = f.let(at(i32.load(args, 4), firstOutput, line));
    const firstPlace = i32.add(i32.load(args, 8), i32.load(args, 12));
    const target = f.let(at(at(firstPlace, image, outputs * size), firstOutput, size));
    const [y, resultLine] = isDense(places)
      ? [f.let(at(target, first, 4 * columns)), size]
      : [f.let(i32.add(scratch, offsets.result)), 4 * blocks.points];
    const taken = f.let(i32.minU(i32.sub(rows, first), blocks.rows));
    const n = f.let(i32.mul(taken, columns));
    f.for(0, channels, blocks.channels, (channel) => {
      const some = f.let(i32.minU(i32.sub(channels, channel), blocks.channels));
      const k = f.let(i32.mul(some, perChannel));
      f.do(fill([matrix, at(x, channel, 4 * height * width), some, first, taken]));
      f.do(packB({
        ...{ to: packed, from: matrix, count: n, k, lane: 4, step: 4 * blocks.points },
      }));
      f.do(direct({
        ...{ a: at(w, channel, 4 * perChannel), aRow: line, aStep: 4, b: packed },
        ...{ bPanel: panelBytes(k), c: y, cRow: resultLine, m: count, n, k, scratch },
        accumulate: i32.ne(channel, 0),
      }));
    });
    if (!isDense(places)) {
      const { step, size: [, imageWidth] } = places;
      f.for(0, count, 1, (o) => {
        const from = f.let(at(y, o, resultLine));
        f.for(first, i32.add(first, taken), 1, (row) => {
          const to = f.let(at(at(target, o, size), row, 4 * step[0] * imageWidth));
          f.for(0, columns, 1, () => {
            f.store.f32(to, f32.load(from));
            f.set(from, i32.add(from, 4));
            f.set(to, i32.add(to, 4 * step[1]));
          });
        });
      });
    }
  });
}

/** The parts into which channels and images are cut for a weight gradient; fixed, so that sums are. */
const weightParts = 8;

/** x, dy → dw [O,C,kh,kw]. */
export function conv2dWeightGradientWasm(spec: KernelSpec, program: WasmProgram): WasmCall[] {
  const { inputs: [x, dy], outputs: [dw], attributes: { stride, padding } } = spec;
  const [images, channels, height, width] = x!.shape as [number, number, number, number];
  const [outputs, , high, wide] = dw!.shape as [number, number, number, number];
  if (sizeOf(dw!.shape) === 0) return [];
  const patches: Patches = {
    ...{ channels, height, width, kernel: [high, wide], stride },
    padding: [padding[0], padding[2]],
    output: dy!.shape.slice(2) as unknown as Pair,
  };
  const blocks = patchBlocks(patches);
  const channelBlocks = Math.ceil(channels / blocks.channels);
  const parts = Math.max(1, Math.min(images, Math.ceil(weightParts / channelBlocks)));
  const products = blockProducts(program);
  const key = `conv2dWeightGradient ${JSON.stringify([images, outputs, patches])}`;
  const kernel = program.once(key, (m) => {
    const name = `conv2dWeightGradient${m.exports.length}`;
    emitWeightGradient(m, name, { images, outputs, parts }, patches, blocks, products);
    return name;
  });
  const size = sizeOf(dw!.shape);
  const partial = parts > 1 ? program.reserve(4 * parts * size) : output;
  const calls: WasmCall[] = [{
    name: "conv2dWeightGradient",
    kernel,
    args: [input(0), input(1), partial],
    chunks: channelBlocks * parts,
  }];
  if (parts > 1) {
    const perChunk = Math.max(1024, 4 * Math.ceil(size / 4 / 16));
    calls.push({
      name: "conv2dWeightGradient",
      kernel: program.once("sumParts", emitSumParts),
      args: [partial, output, size, parts, perChunk],
      chunks: Math.ceil(size / perChunk),
    });
  }
  return calls;
}

/** Emits the gradients of kernels; a chunk is some channels of some of the images. */
function emitWeightGradient(
  m: ModuleBuilder,
  name: string,
  { images, outputs, parts }: { images: number; outputs: number; parts: number },
  patches: Patches,
  blocks: PatchBlocks,
  { packB, direct }: BlockProducts,
): void {
  const { channels, height, width, kernel: [high, wide], output: [rows, columns] } = patches;
  const perChannel = high * wide, line = 4 * channels * perChannel, size = 4 * rows * columns;
  const fill = emitPatches(m, patches, blocks.points);
  const offsets = scratchOffsets(blocks);
  const perPart = Math.ceil(images / parts);
  m.func({ params: ["i32", "i32", "i32"], export: name }, (f, args, chunk, scratch) => {
    const matrix = f.let(i32.add(scratch, offsets.matrix));
    const packed = f.let(i32.add(scratch, offsets.packed));
    const part = f.let(i32.remU(chunk, parts));
    const channel = f.let(i32.mul(i32.divU(chunk, parts), blocks.channels));
    const some = f.let(i32.minU(i32.sub(channels, channel), blocks.channels));
    const entries = f.let(i32.mul(some, perChannel));
    const dw = f.let(
      at(at(i32.load(args, 8), part, outputs * line), channel, 4 * perChannel),
    );
    f.for(0, outputs, 1, (o) => f.do(memoryClear(at(dw, o, line), i32.shl(entries, 2))));
    const start = f.let(i32.mul(part, perPart));
    f.for(start, i32.minU(i32.add(start, perPart), images), 1, (image) => {
      const x = f.let(
        at(i32.load(args), i32.add(i32.mul(image, channels), channel), 4 * height * width),
      );
      const dy = f.let(at(i32.load(args, 4), image, outputs * size));
      f.for(0, rows, blocks.rows, (first) => {
        const taken = f.let(i32.minU(i32.sub(rows, first), blocks.rows));
        const k = f.let(i32.mul(taken, columns));
        f.do(fill([matrix, x, some, first, taken]));
        f.do(packB({
          ...{ to: packed, from: matrix, count: entries, k, lane: 4 * blocks.points, step: 4 },
        }));
        f.do(direct({
          ...{ a: at(dy, first, 4 * columns), aRow: size, aStep: 4, b: packed },
          ...{ bPanel: panelBytes(k), c: dw, cRow: line, m: outputs, n: entries, k },
          ...{ accumulate: 1, scratch },
        }));
      });
    });
  });
}

/** Emits the sums of parts that lie one after another. */
function emitSumParts(m: ModuleBuilder): string {
  m.func({ params: ["i32", "i32", "i32"], export: "sumParts" }, (f, args, chunk) => {
    const arg = (word: number) => f.let(i32.load(args, 4 * word));
    const [from, to, size, parts, perChunk] = [arg(0), arg(1), arg(2), arg(3), arg(4)];
    const line = f.let(i32.shl(size, 2));
    const start = f.let(i32.mul(chunk, perChunk));
    const end = f.let(i32.minU(i32.add(start, perChunk), size));
    f.for(start, end, 4, (i) => {
      const sum = f.let(f32x4.const(0, 0, 0, 0));
      f.for(0, parts, 1, (part) => {
        f.set(sum, f32x4.add(sum, v128.load(at(at(from, part, line), i, 4))));
      });
      const place = f.let(at(to, i, 4));
      const left = f.let(i32.sub(end, i));
      f.if(i32.geU(left, 4), () => f.store.v128(place, sum), () => {
        for (let lane = 0; lane < 3; lane++) {
          f.if(i32.gtU(left, lane), () => f.storeLane(place, sum, lane, 4 * lane));
        }
      });
    });
  });
  return "sumParts";
}
