/** Patches of images as matrices (im2col), in WebAssembly. */
import {
  type Expr,
  f32,
  type FunctionBuilder,
  i32,
  i32x4,
  type Local,
  type ModuleBuilder,
  shuffle,
  v128,
} from "../../lib/backends/wasm/assembler.ts";
import { at } from "../../lib/backends/wasm/gemm_kernels.ts";

type I = Expr<"i32">;

/** How a convolution meets its images; all that a kernel is specialized to. */
export interface Patches {
  /** Channels, height and width of an image. */
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly kernel: readonly [number, number];
  readonly stride: readonly [number, number];
  /** Zeros above and on the left; may be negative. */
  readonly padding: readonly [number, number];
  /** Height and width of the result. */
  readonly output: readonly [number, number];
}

/** How many rows of the result, and channels of the image, a matrix of patches has. */
export interface PatchBlocks {
  readonly rows: number;
  readonly channels: number;
  /** Points of the result, and entries of a patch. */
  readonly points: number;
  readonly entries: number;
}

/** The most elements of a matrix of patches. */
const mostElements = 2 ** 16;

/** Blocks whose matrix of patches is neither large nor, where the image allows it, small. */
export function patchBlocks(
  { channels, kernel: [high, wide], output: [height, width] }: Patches,
): PatchBlocks {
  const perChannel = high * wide;
  const fitting = Math.floor(Math.min(256, mostElements / perChannel) / width);
  const rows = Math.max(1, Math.min(height, fitting));
  const taken = Math.floor(mostElements / (8 * Math.ceil(rows * width / 8) * perChannel));
  if (8 * Math.ceil(width / 8) * perChannel > 1.5 * mostElements) {
    throw new RangeError(
      `conv2d: expected rows and kernels of at most ${1.5 * mostElements} products in wasm but ` +
        `found ${width} points of ${high} × ${wide}`,
    );
  }
  const block = Math.max(1, Math.min(channels, taken));
  return { rows, channels: block, points: rows * width, entries: block * perChannel };
}

/** Writes a patch matrix: arguments are its address, the image's, channels, first row, and rows. */
export type EmitPatches = (args: readonly [I, I, I, I, I]) => Expr<"void">;

/**
 * Emits the function that writes patches: the matrix has one line per entry of a patch (channel,
 * kernel row, kernel column), `points` long, with one element per point of the result.
 */
export function emitPatches(m: ModuleBuilder, patches: Patches, points: number): EmitPatches {
  const { height, width, kernel: [high, wide], stride, padding, output } = patches;
  const fn = m.func(
    { params: ["i32", "i32", "i32", "i32", "i32"] },
    (f, matrix, image, channels, firstRow, rows) => {
      const line = f.let(matrix);
      f.for(0, channels, 1, (channel) => {
        const plane = f.let(at(image, channel, 4 * height * width));
        f.for(0, high, 1, (ky) => {
          const top = f.let(i32.sub(at(ky, firstRow, stride[0]), padding[0]));
          for (let kx = 0; kx < wide; kx++) {
            const to = f.let(line);
            f.for(0, rows, 1, (r) => {
              const row = f.let(at(top, r, stride[0]));
              f.if(
                i32.ltU(row, height), // negative rows are large
                () => copyRow(f, to, f.let(at(plane, row, 4 * width)), kx - padding[1], patches),
                () => writeZeros(f, to, 0, output[1]),
              );
              f.set(to, i32.add(to, 4 * output[1]));
            });
            f.set(line, i32.add(line, 4 * points));
          }
        });
      });
    },
  );
  return (args) => fn(...args);
}

/** The most vectors for which there is no loop. */
const mostUnrolled = 16;

/** Writes four elements of a row at a time, from `first` to `end`; three behind may change as well. */
function writeFours(
  f: FunctionBuilder,
  to: Local<"i32">,
  first: number,
  end: number,
  four: (index: I) => Expr<"v128">,
) {
  const write = (index: I) => f.store.v128(at(to, index, 16), four(index), 4 * first);
  const count = Math.ceil((end - first) / 4);
  if (count > mostUnrolled) f.for(0, count, 1, write);
  else for (let i = 0; i < count; i++) write(i32.const(i));
}

function writeZeros(f: FunctionBuilder, to: Local<"i32">, first: number, end: number) {
  writeFours(f, to, first, end, () => i32x4.const(0, 0, 0, 0));
}

/** Copies elements `start`, `start + stride` … of a row, with zeros where the row has none. */
function copyRow(
  f: FunctionBuilder,
  to: Local<"i32">,
  row: Local<"i32">,
  start: number,
  { width, stride: [, stride], output: [, count] }: Patches,
) {
  const within = (x: number) => Math.min(count, Math.max(0, Math.ceil(x)));
  const first = within(-start / stride), end = Math.max(first, within((width - start) / stride));
  writeZeros(f, to, 0, first);
  const from = f.let(i32.add(row, 4 * (first * stride + start)));
  if (stride === 1) writeFours(f, to, first, end, (i) => v128.load(at(from, i, 16)));
  else if (stride === 2) {
    writeFours(f, to, first, end, (i) => {
      const eight = f.let(at(from, i, 32));
      return shuffle(v128.load(eight), v128.load(eight, 16), [0, 2, 4, 6]);
    });
  } else {
    f.for(0, end - first, 1, (i) => {
      f.store.f32(at(to, i, 4), f32.load(at(from, i, 4 * stride)), 4 * first);
    });
  }
  writeZeros(f, to, end, count);
}
