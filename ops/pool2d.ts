/** Pooling: the greatest or the mean of every window of an image. */
import { type Tensor, tensor } from "../lib/tensor.ts";
import { add, mul } from "./arithmetic.ts";
import { checkDType, checkRank, checkWhole } from "./arguments.ts";
import { maximum } from "./extremes.ts";
import { pad } from "./pad.ts";
import { slice } from "./slice.ts";

/** How windows lie on an image. */
export interface Pool2dOptions {
  /** Height and width of a window: one number or `[height, width]`. */
  readonly size: number | readonly [number, number];
  /** Steps down and right between windows: one number or `[down, right]` (default the size). */
  readonly stride?: number | readonly [number, number];
  /** Border around the image that windows may reach into: one number or `[top and bottom, left and right]`. */
  readonly padding?: number | readonly [number, number];
}

type Pair = readonly [number, number];

interface Windows {
  /** One tensor [B, C, H', W'] per place in a window: the elements there, of all windows. */
  readonly parts: readonly Tensor[];
  readonly size: Pair;
  readonly stride: Pair;
  readonly padding: Pair;
}

function windowsOf(op: string, x: Tensor, options: Pool2dOptions, border: number): Windows {
  checkDType(op, "x", x, "float");
  checkRank(op, "x", x, 4);
  const pair = (value: number | Pair): Pair => typeof value === "number" ? [value, value] : value;
  const size = pair(options.size), stride = pair(options.stride ?? size);
  const padding = pair(options.padding ?? 0);
  const lengths = [0, 1].map((axis) => {
    checkWhole(op, "size", size[axis]!, 1);
    checkWhole(op, "stride", stride[axis]!, 1);
    checkWhole(op, "padding", padding[axis]!, 0);
    const room = x.shape[2 + axis]! + 2 * padding[axis]! - size[axis]!;
    if (room < 0 || padding[axis]! >= size[axis]!) {
      throw new RangeError(
        `${op}: expected windows of ${
          size.join("×")
        } to fit ${x}, and to be larger than the padding` +
          ` ${padding.join("×")}`,
      );
    }
    return Math.floor(room / stride[axis]!) + 1;
  }) as [number, number];
  const padded = pad(x, [[0, 0], [0, 0], [padding[0], padding[0]], [padding[1], padding[1]]], {
    value: border,
  });
  const along = (axis: 0 | 1, from: number) =>
    [from, from + (lengths[axis] - 1) * stride[axis] + 1, stride[axis]] as const;
  const parts: Tensor[] = [];
  for (let i = 0; i < size[0]; i++) {
    for (let j = 0; j < size[1]; j++) {
      parts.push(slice(padded, [null, null, along(0, i), along(1, j)]));
    }
  }
  return { parts, size, stride, padding };
}

/** Below every number of 32 bits that is worth pooling, and finite. */
const LOWEST: Readonly<Record<string, number>> = { f32: -3.4e38, f16: -65504 };

/**
 * The greatest element of every window. Elements beyond the border never win; where elements are
 * equal they share the gradient.
 *
 * @param x Images [B, C, H, W].
 * @param options `size`, `stride`, `padding`.
 * @returns Images [B, C, H', W'], `H' = ⌊(H + 2 · padding - size) / stride⌋ + 1`.
 * @throws {TypeError} If `x` is no float tensor of four axes.
 * @throws {RangeError} If a window does not fit the padded image.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { maxPool2d } from "./pool2d.ts";
 * const x = tensor([[[[1, 2, 5, 0], [4, 3, 0, 0]]]]);
 * assertEquals(await maxPool2d(x, { size: 2 }).toArray(), [[[[4, 5]]]]);
 * ```
 */
export function maxPool2d(x: Tensor, options: Pool2dOptions): Tensor {
  return windowsOf("maxPool2d", x, options, LOWEST[x.dtype] ?? 0).parts
    .reduce((greatest, part) => maximum(greatest, part));
}

/**
 * The mean of every window.
 *
 * @param x Images [B, C, H, W].
 * @param options `size`, `stride`, `padding`; and `countPadding`: whether the border counts as zeros
 * (the default, as in PyTorch) or is left out of the mean (as in TensorFlow).
 * @returns Images [B, C, H', W'], `H' = ⌊(H + 2 · padding - size) / stride⌋ + 1`.
 * @throws {TypeError} If `x` is no float tensor of four axes.
 * @throws {RangeError} If a window does not fit the padded image.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { averagePool2d } from "./pool2d.ts";
 * const x = tensor([[[[1, 3, 8]]]]);
 * const options = { size: [1, 3], stride: 1, padding: [0, 1], countPadding: false } as const;
 * assertEquals(await averagePool2d(x, options).toArray(), [[[[2, 4, 5.5]]]]);
 * ```
 */
export function averagePool2d(
  x: Tensor,
  options: Pool2dOptions & { readonly countPadding?: boolean },
): Tensor {
  const { parts, size, stride, padding } = windowsOf("averagePool2d", x, options, 0);
  const total = parts.reduce((sum, part) => add(sum, part));
  if (options.countPadding ?? true) return mul(total, 1 / (size[0] * size[1]));
  const [rows, columns] = total.shape.slice(2) as [number, number];
  const inside = (axis: 0 | 1, place: number) => {
    const start = place * stride[axis] - padding[axis];
    return Math.min(x.shape[2 + axis]!, start + size[axis]) - Math.max(0, start);
  };
  const shares = Float32Array.from(
    { length: rows * columns },
    (_, i) => 1 / (inside(0, Math.floor(i / columns)) * inside(1, i % columns)),
  );
  return mul(total, tensor(shares, { shape: [rows, columns], dtype: x.dtype }));
}
