/** Patches of images as matrices (im2col), in WebAssembly. */
import {
  type Expr,
  f32,
  type FunctionBuilder,
  i32,
  i32x4,
  type Local,
  type ModuleBuilder,
  select,
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
  const outputWidth = output[1];
  const isDense = stride[1] === 1;
  const fn = m.func(
    { params: ["i32", "i32", "i32", "i32", "i32"] },
    (f, matrix, image, channels, firstRow, rows) => {
      const line = f.let(matrix);
      f.for(0, channels, 1, (channel) => {
        const plane = f.let(at(image, channel, 4 * height * width));
        f.for(0, high, 1, (ky) => {
          f.for(0, wide, 1, (kx) => {
            const to = f.let(line);
            f.for(0, rows, 1, (r) => {
              const moved = i32.mul(i32.add(firstRow, r), stride[0]);
              const source = f.let(i32.sub(i32.add(moved, ky), padding[0]));
              const start = f.let(i32.sub(kx, padding[1]));
              f.if(
                i32.geU(source, height), // as negative rows are, too
                () => fill(f, to, f.let(i32.add(to, 4 * outputWidth))),
                () => {
                  const from = f.let(at(plane, source, 4 * width));
                  if (isDense) copyRow(f, to, from, start, width, outputWidth);
                  else {
                    f.for(0, outputWidth, 1, (j) => {
                      const column = f.let(i32.add(i32.mul(j, stride[1]), start));
                      const value = f.let(f32.const(0));
                      f.if(
                        i32.ltU(column, width),
                        () => f.set(value, f32.load(at(from, column, 4))),
                      );
                      f.store.f32(to, value);
                      f.set(to, i32.add(to, 4));
                    });
                  }
                },
              );
            });
            f.set(line, i32.add(line, 4 * points));
          });
        });
      });
    },
  );
  return (args) => fn(...args);
}

/** Fills with zeros from `to`, which moves, up to `end`; up to 12 bytes behind may change as well. */
function fill(f: FunctionBuilder, to: Local<"i32">, end: Local<"i32">) {
  f.while(i32.ltU(to, end), () => {
    f.store.v128(to, i32x4.const(0, 0, 0, 0));
    f.set(to, i32.add(to, 16));
  });
  f.set(to, end);
}

/** Copies `count` elements of a row from `start` on, with zeros where the row has none. */
function copyRow(
  f: FunctionBuilder,
  to: Local<"i32">,
  row: I,
  start: Local<"i32">,
  width: number,
  count: number,
) {
  const clamp = (x: I) => {
    const value = f.let(x);
    f.set(value, select(i32.ltS(value, 0), i32.const(0), value));
    return i32.minU(value, count);
  };
  const first = f.let(to);
  const before = f.let(clamp(i32.sub(0, start)));
  const end = f.let(clamp(i32.sub(width, start)));
  fill(f, to, f.let(at(first, before, 4)));
  const from = f.let(at(at(row, start, 4), before, 4));
  const last = f.let(at(first, end, 4));
  f.if(i32.ltU(to, last), () => {
    f.while(i32.ltU(to, last), () => {
      f.store.v128(to, v128.load(from));
      f.set(to, i32.add(to, 16));
      f.set(from, i32.add(from, 16));
    });
    f.set(to, last);
  });
  fill(f, to, f.let(i32.add(first, 4 * count)));
}
