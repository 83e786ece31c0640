/**
 * Convolutions in WebAssembly: matrix products with patches of the images, which each thread lays
 * out on its scratch, some rows of the result and some channels at a time.
 */
import type { KernelSpec, View } from "../../lib/op.ts";
import { f32, f32x4, i32, type ModuleBuilder, v128 } from "../../lib/backends/wasm/assembler.ts";
import {
  type BlockProducts,
  blockProducts,
  directScratchBytes,
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

/** Where the parts of a thread's scratch start. */
function scratchOffsets({ entries, points }: PatchBlocks) {
  const matrix = directScratchBytes;
  return { matrix, packed: matrix + 4 * entries * points + 64 };
}

/** x [B,C,H,W], w [O,C,kh,kw] → y [B,O,H',W']. */
export function conv2dWasm(spec: KernelSpec, program: WasmProgram): WasmCall[] {
  const { inputs: [x, w], outputs: [y], attributes: { stride, padding } } = spec;
  return convolve(program, x!, y!, input(0), input(1), {
    channels: x!.shape[1]!,
    height: x!.shape[2]!,
    width: x!.shape[3]!,
    kernel: w!.shape.slice(2) as unknown as Pair,
    stride,
    padding: [padding[0], padding[2]],
    spread: [1, 1],
    output: y!.shape.slice(2) as unknown as Pair,
  });
}

/** dy [B,O,H',W'], w → dx: dy with zeros spread between, convolved with the kernels turned around. */
export function conv2dInputGradientWasm(spec: KernelSpec, program: WasmProgram): WasmCall[] {
  const { inputs: [dy, w], outputs: [dx], attributes: { stride, padding } } = spec;
  const [outputs, channels, high, wide] = w!.shape as [number, number, number, number];
  if (sizeOf(w!.shape) === 0) return [];
  const turned = program.reserve(4 * sizeOf(w!.shape));
  const kernel = program.once("turnKernels", emitTurnKernels);
  const turn: WasmCall = {
    name: "conv2d kernels",
    kernel,
    args: [input(1), turned, outputs, channels, high * wide],
    chunks: channels,
  };
  return [
    turn,
    ...convolve(program, dy!, dx!, input(0), turned, {
      channels: outputs,
      height: dy!.shape[2]!,
      width: dy!.shape[3]!,
      kernel: [high, wide],
      stride: [1, 1],
      padding: [high - 1 - padding[0], wide - 1 - padding[2]],
      spread: stride,
      output: dx!.shape.slice(2) as unknown as Pair,
    }),
  ];
}

/** Emits w [O,C,kh,kw] → [C,O,kh,kw] with both kernel axes reversed; one chunk per channel. */
function emitTurnKernels(m: ModuleBuilder): string {
  m.func({ params: ["i32", "i32", "i32"], export: "turnKernels" }, (f, args, channel) => {
    const arg = (word: number) => f.let(i32.load(args, 4 * word));
    const [w, turned, outputs, channels, size] = [arg(0), arg(1), arg(2), arg(3), arg(4)];
    f.for(0, outputs, 1, (o) => {
      const from = f.let(at(w, i32.add(i32.mul(o, channels), channel), i32.shl(size, 2)));
      const to = f.let(at(turned, i32.add(i32.mul(channel, outputs), o), i32.shl(size, 2)));
      const last = f.let(at(from, i32.sub(size, 1), 4));
      f.for(0, i32.shl(size, 2), 4, (offset) => {
        f.store.f32(i32.add(to, offset), f32.load(i32.sub(last, offset)));
      });
    });
  });
  return "turnKernels";
}

/** The convolution of images [B, channels, H, W] with kernels [O, channels, kh, kw]. */
function convolve(
  program: WasmProgram,
  x: View,
  y: View,
  from: WasmArgument,
  kernels: WasmArgument,
  patches: Patches,
): WasmCall[] {
  const [images, outputs] = y.shape as [number, number];
  const [height, width] = patches.output;
  if (sizeOf(y.shape) === 0) return [];
  const { channels } = patches;
  const isPointwise = [...patches.kernel, ...patches.stride, ...patches.spread].every((n) =>
    n === 1
  );
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
  const parts = Math.min(
    Math.ceil(outputs / 40),
    Math.ceil(4 * program.threads / images / rowBlocks),
  );
  const partOutputs = Math.ceil(outputs / parts);
  const products = blockProducts(program);
  const kernel = program.once(`conv2d ${JSON.stringify([outputs, partOutputs, patches])}`, (m) => {
    const name = `conv2d${m.exports.length}`;
    emitConvolution(m, name, outputs, partOutputs, patches, blocks, products);
    return name;
  });
  return [{
    name: "conv2d",
    kernel,
    args: [from, kernels, output],
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
  blocks: PatchBlocks,
  { packB, direct }: BlockProducts,
): void {
  const { channels, height, width, kernel: [high, wide], output: [rows, columns] } = patches;
  const rowBlocks = Math.ceil(rows / blocks.rows), parts = Math.ceil(outputs / partOutputs);
  const perChannel = high * wide, line = 4 * channels * perChannel, size = 4 * rows * columns;
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
    const target = at(at(i32.load(args, 8), image, outputs * size), firstOutput, size);
    const y = f.let(at(target, first, 4 * columns));
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
        ...{ bPanel: panelBytes(k), c: y, cRow: size, m: count, n, k, scratch },
        accumulate: i32.ne(channel, 0),
      }));
    });
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
    ...{ channels, height, width, kernel: [high, wide], stride, spread: [1, 1] },
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
    f.for(0, outputs, 1, (o) => {
      const start = f.let(at(dw, o, line));
      f.for(start, at(start, entries, 4), 4, (address) => f.store.i32(address, 0));
    });
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
