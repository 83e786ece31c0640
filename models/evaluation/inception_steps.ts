/** The layers of the Inception network of FID, as a table; see `inception.ts`. */

/** Rows and columns. */
type Pair = readonly [number, number];

/** A convolution without bias, batch normalization and ReLU. */
export interface Convolution {
  readonly name: string;
  readonly channels: number;
  readonly kernel: Pair;
  readonly stride: number;
  /** Zeros above and below, left and right. */
  readonly padding: Pair;
}

/** A step of the network; branches all get the same input, and their results are concatenated. */
export type Step =
  | Convolution
  | { readonly pool: "max" | "average"; readonly stride: number }
  | { readonly branches: readonly (readonly Step[])[] };

/** A convolution that keeps the size of its input. */
function conv(name: string, channels: number, kernel: number | Pair = 1): Convolution {
  const sides: Pair = typeof kernel === "number" ? [kernel, kernel] : kernel;
  const padding: Pair = [(sides[0] - 1) / 2, (sides[1] - 1) / 2];
  return { name, channels, kernel: sides, stride: 1, padding };
}

/** A 3×3 convolution without padding. */
function valid(name: string, channels: number, stride: number): Convolution {
  return { name, channels, kernel: [3, 3], stride, padding: [0, 0] };
}

const shrink: Step = { pool: "max", stride: 2 };

function blockA(name: string, pooled: number): Step {
  return {
    branches: [
      [conv(`${name}.branch1x1`, 64)],
      [conv(`${name}.branch5x5_1`, 48), conv(`${name}.branch5x5_2`, 64, 5)],
      [
        conv(`${name}.branch3x3dbl_1`, 64),
        conv(`${name}.branch3x3dbl_2`, 96, 3),
        conv(`${name}.branch3x3dbl_3`, 96, 3),
      ],
      [{ pool: "average", stride: 1 }, conv(`${name}.branch_pool`, pooled)],
    ],
  };
}

function blockB(name: string): Step {
  return {
    branches: [
      [valid(`${name}.branch3x3`, 384, 2)],
      [
        conv(`${name}.branch3x3dbl_1`, 64),
        conv(`${name}.branch3x3dbl_2`, 96, 3),
        valid(`${name}.branch3x3dbl_3`, 96, 2),
      ],
      [shrink],
    ],
  };
}

function blockC(name: string, inner: number): Step {
  return {
    branches: [
      [conv(`${name}.branch1x1`, 192)],
      [
        conv(`${name}.branch7x7_1`, inner),
        conv(`${name}.branch7x7_2`, inner, [1, 7]),
        conv(`${name}.branch7x7_3`, 192, [7, 1]),
      ],
      [
        conv(`${name}.branch7x7dbl_1`, inner),
        conv(`${name}.branch7x7dbl_2`, inner, [7, 1]),
        conv(`${name}.branch7x7dbl_3`, inner, [1, 7]),
        conv(`${name}.branch7x7dbl_4`, inner, [7, 1]),
        conv(`${name}.branch7x7dbl_5`, 192, [1, 7]),
      ],
      [{ pool: "average", stride: 1 }, conv(`${name}.branch_pool`, 192)],
    ],
  };
}

function blockD(name: string): Step {
  return {
    branches: [
      [conv(`${name}.branch3x3_1`, 192), valid(`${name}.branch3x3_2`, 320, 2)],
      [
        conv(`${name}.branch7x7x3_1`, 192),
        conv(`${name}.branch7x7x3_2`, 192, [1, 7]),
        conv(`${name}.branch7x7x3_3`, 192, [7, 1]),
        valid(`${name}.branch7x7x3_4`, 192, 2),
      ],
      [shrink],
    ],
  };
}

function blockE(name: string, pool: "max" | "average"): Step {
  const wideAndTall = (wide: string, tall: string): Step => ({
    branches: [[conv(`${name}.${wide}`, 384, [1, 3])], [conv(`${name}.${tall}`, 384, [3, 1])]],
  });
  return {
    branches: [
      [conv(`${name}.branch1x1`, 320)],
      [conv(`${name}.branch3x3_1`, 384), wideAndTall("branch3x3_2a", "branch3x3_2b")],
      [
        conv(`${name}.branch3x3dbl_1`, 448),
        conv(`${name}.branch3x3dbl_2`, 384, 3),
        wideAndTall("branch3x3dbl_3a", "branch3x3dbl_3b"),
      ],
      [{ pool, stride: 1 }, conv(`${name}.branch_pool`, 192)],
    ],
  };
}

/** The network before the last average, from top to bottom. */
export const steps: readonly Step[] = [
  valid("Conv2d_1a_3x3", 32, 2),
  valid("Conv2d_2a_3x3", 32, 1),
  conv("Conv2d_2b_3x3", 64, 3),
  shrink,
  conv("Conv2d_3b_1x1", 80),
  valid("Conv2d_4a_3x3", 192, 1),
  shrink,
  blockA("Mixed_5b", 32),
  blockA("Mixed_5c", 64),
  blockA("Mixed_5d", 64),
  blockB("Mixed_6a"),
  blockC("Mixed_6b", 128),
  blockC("Mixed_6c", 160),
  blockC("Mixed_6d", 160),
  blockC("Mixed_6e", 192),
  blockD("Mixed_7a"),
  blockE("Mixed_7b", "average"),
  blockE("Mixed_7c", "max"),
];
