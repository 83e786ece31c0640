// Tests of pooling against plain loops and of its gradient against differences.
import { assert, assertEquals, assertThrows } from "@std/assert";
import { uniform } from "../lib/random/threefry.ts";
import { type Tensor, tensor } from "../lib/tensor.ts";
import { grad } from "../lib/transforms/vjp.ts";
import { testOnDevices } from "../tests/devices.ts";
import { mul } from "./arithmetic.ts";
import { averagePool2d, maxPool2d, type Pool2dOptions } from "./pool2d.ts";
import { sum } from "./reduce.ts";

const shape = [2, 3, 5, 7];
const values = uniform([0, 5], 2 * 3 * 5 * 7).map((u) => 4 * u - 6); // below 0, so zeros would win

/** The elements inside of each window, and the number of places of a window. */
function* windows(data: ArrayLike<number>, { size, stride, padding }: Required<Pool2dOptions>) {
  const [[kh, kw], [sh, sw], [ph, pw]] = [size, stride, padding] as [number, number][];
  const rows = Math.floor((5 + 2 * ph! - kh!) / sh!) + 1;
  const columns = Math.floor((7 + 2 * pw! - kw!) / sw!) + 1;
  for (let plane = 0; plane < 6; plane++) {
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) {
        const inside: number[] = [];
        for (let a = i * sh! - ph!; a < i * sh! - ph! + kh!; a++) {
          for (let b = j * sw! - pw!; b < j * sw! - pw! + kw!; b++) {
            if (a >= 0 && a < 5 && b >= 0 && b < 7) inside.push(data[(plane * 5 + a) * 7 + b]!);
          }
        }
        yield { inside, places: kh! * kw! };
      }
    }
  }
}

const settings: Required<Pool2dOptions>[] = [
  { size: [3, 3], stride: [2, 2], padding: [0, 0] },
  { size: [3, 3], stride: [1, 1], padding: [1, 1] },
  { size: [2, 3], stride: [2, 1], padding: [1, 0] },
];

const average = (numbers: number[], count: number) => numbers.reduce((s, v) => s + v) / count;

const kinds = {
  max: {
    pool: maxPool2d,
    element: (inside: number[]) => Math.max(...inside),
  },
  average: {
    pool: averagePool2d,
    element: average,
  },
  "average of the inside": {
    pool: (x: Tensor, options: Pool2dOptions) =>
      averagePool2d(x, { ...options, countPadding: false }),
    element: (inside: number[]) => average(inside, inside.length),
  },
};

for (const [kind, { pool, element }] of Object.entries(kinds)) {
  testOnDevices(`${kind} pooling and its gradient follow their definition`, async () => {
    for (const options of settings) {
      const pooled = (data: ArrayLike<number>) =>
        Array.from(windows(data, options), ({ inside, places }) => element(inside, places));
      const wanted = pooled(values);
      const found = await pool(tensor(values, { shape }), options).data();
      assertEquals(found.length, wanted.length);
      wanted.forEach((value, i) => assert(Math.abs(value - found[i]!) < 1e-5, `element ${i}`));

      const weights = uniform([1, 2], wanted.length);
      const weighted = (x: Tensor) => {
        const y = pool(x, options);
        return sum(mul(y, tensor(weights, { shape: y.shape })));
      };
      const gradient = await grad(weighted)(tensor(values, { shape })).data();
      for (let i = 0; i < values.length; i += 11) {
        const objective = (move: number) =>
          pooled(Float64Array.from(values, (v, j) => i === j ? v + move : v))
            .reduce((total, value, j) => total + value * weights[j]!, 0);
        const difference = (objective(1e-6) - objective(-1e-6)) / 2e-6;
        assert(Math.abs(difference - gradient[i]!) < 1e-4, `gradient ${i}`);
      }
    }
  });
}

Deno.test("pooling refuses windows that do not fit", () => {
  const x = tensor(values, { shape });
  assertThrows(() => maxPool2d(x, { size: 6 }), RangeError, "maxPool2d: expected windows of 6×6");
  assertThrows(() => averagePool2d(x, { size: 2, padding: 2 }), RangeError, "padding 2×2");
  assertThrows(() => maxPool2d(tensor([1]), { size: 1 }), TypeError, "4 axes");
});
