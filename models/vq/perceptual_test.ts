/** Tests of the perceptual distance: against its formula in plain loops, its gradient, and files of weights. */
import { assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { writeSafetensors } from "../../lib/formats/safetensors.ts";
import type { Tensor } from "../../lib/tensor.ts";
import { uniform } from "../../ops/distributions.ts";
import { key } from "../../ops/random.ts";
import { zeros } from "../../ops/create.ts";
import { testOnDevices } from "../../tests/devices.ts";
import { checkGradients } from "../../tests/gradients.ts";
import { createParameters } from "../layers/parameter.ts";
import { loadPerceptual, perceptualDistance, perceptualParameters } from "./perceptual.ts";

const levels = [[4, 3], [5]];
const make = () => createParameters(perceptualParameters(levels), key(1));
const images = (seed: number, channels = 3) =>
  uniform(key(seed), [2, channels, 4, 6], { low: -1, high: 1 });

/** Maps [C][H][W]. */
type Maps = number[][][];

function convolve(x: Maps, weight: number[][][][], bias: number[]): Maps {
  return weight.map((kernels, o) =>
    x[0]!.map((row, i) =>
      row.map((_, j) => {
        let sum = bias[o]!;
        kernels.forEach((kernel, c) =>
          kernel.forEach((line, di) =>
            line.forEach((w, dj) => sum += w * (x[c]![i + di - 1]?.[j + dj - 1] ?? 0))
          )
        );
        return Math.max(0, sum);
      })
    )
  );
}

function pool(x: Maps): Maps {
  return x.map((map) =>
    Array.from(
      { length: map.length / 2 },
      (_, i) =>
        Array.from({ length: map[0]!.length / 2 }, (_, j) =>
          Math.max(
            map[2 * i]![2 * j]!,
            map[2 * i + 1]![2 * j]!,
            map[2 * i]![2 * j + 1]!,
            map[2 * i + 1]![2 * j + 1]!,
          )),
    )
  );
}

/** The distance of one image from another, as the paper's equation 1 has it. */
async function byHand(params: Record<string, Tensor>, a: Maps, b: Maps): Promise<number> {
  const colors = [[-0.030, 0.458], [-0.088, 0.448], [-0.188, 0.450]] as const;
  const input = (x: Maps) =>
    colors.map(([shift, scale], c) =>
      x[c % x.length]!.map((row) => row.map((v) => (v - shift) / scale))
    );
  let maps = [input(a), input(b)] as [Maps, Maps];
  let total = 0;
  for (const [level, names] of [["features.0", "features.2"], ["features.5"]].entries()) {
    if (level > 0) maps = [pool(maps[0]), pool(maps[1])];
    for (const name of names) {
      const weight = await params[`${name}.weight`]!.toArray() as number[][][][];
      const bias = await params[`${name}.bias`]!.toArray() as number[];
      maps = [convolve(maps[0], weight, bias), convolve(maps[1], weight, bias)];
    }
    const weights = await params[`lin${level}.model.1.weight`]!.data();
    const [height, width] = [maps[0][0]!.length, maps[0][0]![0]!.length];
    for (let i = 0; i < height; i++) {
      for (let j = 0; j < width; j++) {
        const [p, q] = maps.map((x) => {
          const column = x.map((map) => map[i]![j]!);
          const norm = Math.hypot(...column) + 1e-10;
          return column.map((value) => value / norm);
        }) as [number[], number[]];
        p.forEach((x, c) => total += weights[c]! * (x - q[c]!) ** 2 / (height * width));
      }
    }
  }
  return total;
}

testOnDevices("the distance of color and gray images is that of its formula", async () => {
  const params = make();
  for (const channels of [3, 1]) {
    const [a, b] = [images(2, channels), images(3, channels)];
    const found = await perceptualDistance(params, a, b, levels).item();
    const [x, y] = [await a.toArray(), await b.toArray()] as unknown as [Maps[], Maps[]];
    const each = await Promise.all(x.map((image, i) => byHand(params, image, y[i]!)));
    assertAlmostEquals(found, (each[0]! + each[1]!) / 2, 1e-5);
    assertEquals(await perceptualDistance(params, a, a, levels).item(), 0);
  }
});

testOnDevices("the distance has a gradient by the first images", (device) =>
  checkGradients(
    device,
    () => images(2),
    (x: Tensor) => perceptualDistance(make(), x, images(3), levels),
  ));

Deno.test("files that do not hold both networks' weights, and other images, are refused", async () => {
  const path = await Deno.makeTempFile({ suffix: ".safetensors" });
  const one = { dtype: "F32" as const, shape: [1], data: new Float32Array(1) };
  await writeSafetensors(path, { "features.0.bias": one, "classifier.0.bias": one });
  await assertRejects(
    () => loadPerceptual(path),
    TypeError,
    "features.0.weight [64, 3, 3, 3]",
  );
  await Deno.remove(path);
  const params = make();
  assertThrows(
    () => perceptualDistance(params, zeros([1, 2, 8, 8]), zeros([1, 2, 8, 8]), levels),
    TypeError,
    "[B, 1 or 3, H, W] of at least 2 pixels a side but found shape [1, 2, 8, 8]",
  );
});
