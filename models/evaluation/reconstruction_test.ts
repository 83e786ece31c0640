/** Tests of the measures of reconstructions. */
import { assertAlmostEquals, assertThrows } from "@std/assert";
import { ssim } from "./ssim.ts";

Deno.test("structural similarity has its formula's value in every window", () => {
  const height = 12, width = 13, channels = 2;
  const pixel = (seed: number) =>
    Uint8Array.from(
      { length: height * width * channels },
      (_, i) => 128 + 100 * Math.sin(seed * i) + 20 * Math.cos(i * i),
    );
  const a = pixel(1), b = pixel(1.02);
  let total = 0, windows = 0;
  for (let channel = 0; channel < channels; channel++) {
    for (let top = 0; top <= height - 11; top++) {
      for (let left = 0; left <= width - 11; left++) {
        const samples: [weight: number, x: number, y: number][] = [];
        for (let i = 0; i < 11; i++) {
          for (let j = 0; j < 11; j++) {
            const weight = Math.exp(-((i - 5) ** 2 + (j - 5) ** 2) / 4.5);
            const at = ((top + i) * width + left + j) * channels + channel;
            samples.push([weight, a[at]!, b[at]!]);
          }
        }
        const sum = samples.reduce((sum, [weight]) => sum + weight, 0);
        const mean = (f: (x: number, y: number) => number) =>
          samples.reduce((total, [weight, x, y]) => total + weight * f(x, y) / sum, 0);
        const [x, y] = [mean((x) => x), mean((_, y) => y)];
        const [c1, c2] = [2.55 ** 2, 7.65 ** 2];
        const variances = mean((p) => (p - x) ** 2) + mean((_, q) => (q - y) ** 2);
        const covariance = mean((p, q) => (p - x) * (q - y));
        total += (2 * x * y + c1) * (2 * covariance + c2) /
          ((x * x + y * y + c1) * (variances + c2));
        windows++;
      }
    }
  }
  assertAlmostEquals(ssim(a, b, { height, width, channels }), total / windows, 1e-10);
  assertThrows(
    () => ssim(a, b, { height, width, channels: 3 }),
    TypeError,
    "12×13×3 values but found 312 and 312",
  );
});
