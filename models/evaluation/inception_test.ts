// Tests of the Inception network against one written out in plain loops, layer by layer.
import { assert, assertEquals } from "@std/assert";
import { sizeOf } from "../../lib/shape.ts";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { jit } from "../../lib/transforms/jit.ts";
import { foldIn, keyFromSeed, uniform } from "../../lib/random/threefry.ts";
import { testOnDevices } from "../../tests/devices.ts";
import { countParameters } from "../layers/parameter.ts";
import {
  applyInception,
  foldBatchNorm,
  inception,
  inceptionParameters,
  resizeBilinear,
} from "./inception.ts";

/** Feature maps of one image: channels, rows, columns. */
interface Maps {
  c: number;
  h: number;
  w: number;
  at: Float64Array;
}

type Weights = Record<string, { shape: readonly number[]; data: Float32Array }>;

/** Draws a state dict in which every number matters. */
function drawWeights(shapes: Record<string, { shape: readonly number[] }>): Weights {
  return Object.fromEntries(
    Object.entries(shapes).map(([name, { shape }], i) => {
      const random = uniform(foldIn(keyFromSeed(3), i), sizeOf(shape));
      const bound = Math.sqrt(6 / sizeOf(shape.slice(1)));
      const draw = name.endsWith("running_var") || name.endsWith("bn.weight")
        ? (u: number) => 0.5 + u
        : (u: number) => (2 * u - 1) * (shape.length > 1 ? bound : 0.3);
      return [name, { shape, data: random.map(draw) }];
    }),
  );
}

/** A convolution, batch normalization and ReLU in plain loops. */
function basic(
  weights: Weights,
  x: Maps,
  name: string,
  { stride = 1, pad = [0, 0] }: { stride?: number; pad?: number[] } = {},
): Maps {
  const { shape: [c, inputs, kh, kw], data } = weights[`${name}.conv.weight`]!;
  assertEquals(inputs, x.c, name);
  const norm = (field: string, o: number) => weights[`${name}.bn.${field}`]!.data[o]!;
  const h = Math.floor((x.h + 2 * pad[0]! - kh!) / stride) + 1;
  const w = Math.floor((x.w + 2 * pad[1]! - kw!) / stride) + 1;
  const y: Maps = { c: c!, h, w, at: new Float64Array(c! * h * w) };
  for (let o = 0; o < c!; o++) {
    const scale = norm("weight", o) / Math.sqrt(norm("running_var", o) + 0.001);
    for (let i = 0; i < h; i++) {
      for (let j = 0; j < w; j++) {
        let sum = 0;
        for (let k = 0; k < x.c; k++) {
          for (let a = 0; a < kh!; a++) {
            for (let b = 0; b < kw!; b++) {
              const row = i * stride + a - pad[0]!, column = j * stride + b - pad[1]!;
              if (row < 0 || row >= x.h || column < 0 || column >= x.w) continue;
              sum += x.at[(k * x.h + row) * x.w + column]! *
                data[((o * x.c + k) * kh! + a) * kw! + b]!;
            }
          }
        }
        const normalized = (sum - norm("running_mean", o)) * scale + norm("bias", o);
        y.at[(o * h + i) * w + j] = Math.max(0, normalized);
      }
    }
  }
  return y;
}

/** Pooling by 3×3 windows; those that reach over the border see only what is inside. */
function pool(x: Maps, kind: "max" | "average", stride: number, pad: number): Maps {
  const h = Math.floor((x.h + 2 * pad - 3) / stride) + 1;
  const w = Math.floor((x.w + 2 * pad - 3) / stride) + 1;
  const y: Maps = { c: x.c, h, w, at: new Float64Array(x.c * h * w) };
  for (let i = 0; i < y.at.length; i++) {
    const column = i % w, row = Math.floor(i / w) % h, k = Math.floor(i / (w * h));
    const seen: number[] = [];
    for (let a = row * stride - pad; a < row * stride - pad + 3; a++) {
      for (let b = column * stride - pad; b < column * stride - pad + 3; b++) {
        if (a >= 0 && a < x.h && b >= 0 && b < x.w) seen.push(x.at[(k * x.h + a) * x.w + b]!);
      }
    }
    y.at[i] = kind === "max" ? Math.max(...seen) : seen.reduce((s, v) => s + v) / seen.length;
  }
  return y;
}

function cat(...parts: Maps[]): Maps {
  const { h, w } = parts[0]!;
  const at = Float64Array.from(parts.flatMap((part) => [...part.at]));
  return { c: parts.reduce((sum, { c }) => sum + c, 0), h, w, at };
}

/** One RGB image, resized and scaled as TensorFlow's graph does, through the network. */
function network(weights: Weights, image: Maps, size: number) {
  const bn = (x: Maps, name: string, options?: { stride?: number; pad?: number[] }) =>
    basic(weights, x, name, options);
  const resized: Maps = { c: 3, h: size, w: size, at: new Float64Array(3 * size * size) };
  for (let i = 0; i < resized.at.length; i++) {
    const column = i % size * image.w / size, row = Math.floor(i / size) % size * image.h / size;
    const plane = Math.floor(i / (size * size)) * image.h * image.w;
    const pixel = (a: number, b: number) =>
      image.at[plane + Math.min(a, image.h - 1) * image.w + Math.min(b, image.w - 1)]!;
    const [a, b] = [Math.floor(row), Math.floor(column)];
    const top = pixel(a, b) * (1 - column + b) + pixel(a, b + 1) * (column - b);
    const bottom = pixel(a + 1, b) * (1 - column + b) + pixel(a + 1, b + 1) * (column - b);
    resized.at[i] = (top * (1 - row + a) + bottom * (row - a) - 128) / 128;
  }
  let x = bn(resized, "Conv2d_1a_3x3", { stride: 2 });
  x = bn(x, "Conv2d_2a_3x3");
  x = bn(x, "Conv2d_2b_3x3", { pad: [1, 1] });
  x = pool(x, "max", 2, 0);
  x = bn(x, "Conv2d_3b_1x1");
  x = bn(x, "Conv2d_4a_3x3");
  x = pool(x, "max", 2, 0);
  for (const name of ["Mixed_5b", "Mixed_5c", "Mixed_5d"]) {
    const five = bn(bn(x, `${name}.branch5x5_1`), `${name}.branch5x5_2`, { pad: [2, 2] });
    let three = bn(x, `${name}.branch3x3dbl_1`);
    three = bn(three, `${name}.branch3x3dbl_2`, { pad: [1, 1] });
    three = bn(three, `${name}.branch3x3dbl_3`, { pad: [1, 1] });
    const pooled = bn(pool(x, "average", 1, 1), `${name}.branch_pool`);
    x = cat(bn(x, `${name}.branch1x1`), five, three, pooled);
  }
  let double = bn(x, "Mixed_6a.branch3x3dbl_1");
  double = bn(double, "Mixed_6a.branch3x3dbl_2", { pad: [1, 1] });
  double = bn(double, "Mixed_6a.branch3x3dbl_3", { stride: 2 });
  x = cat(bn(x, "Mixed_6a.branch3x3", { stride: 2 }), double, pool(x, "max", 2, 0));
  let spatial: Maps | undefined;
  for (const name of ["Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"]) {
    const one = bn(x, `${name}.branch1x1`);
    if (name === "Mixed_6d") spatial = one;
    let seven = bn(x, `${name}.branch7x7_1`);
    seven = bn(seven, `${name}.branch7x7_2`, { pad: [0, 3] });
    seven = bn(seven, `${name}.branch7x7_3`, { pad: [3, 0] });
    let twice = bn(x, `${name}.branch7x7dbl_1`);
    for (const [i, pad] of [[3, 0], [0, 3], [3, 0], [0, 3]].entries()) {
      twice = bn(twice, `${name}.branch7x7dbl_${i + 2}`, { pad });
    }
    x = cat(one, seven, twice, bn(pool(x, "average", 1, 1), `${name}.branch_pool`));
  }
  const three = bn(bn(x, "Mixed_7a.branch3x3_1"), "Mixed_7a.branch3x3_2", { stride: 2 });
  let seven = bn(x, "Mixed_7a.branch7x7x3_1");
  seven = bn(seven, "Mixed_7a.branch7x7x3_2", { pad: [0, 3] });
  seven = bn(seven, "Mixed_7a.branch7x7x3_3", { pad: [3, 0] });
  seven = bn(seven, "Mixed_7a.branch7x7x3_4", { stride: 2 });
  x = cat(three, seven, pool(x, "max", 2, 0));
  for (const [name, kind] of [["Mixed_7b", "average"], ["Mixed_7c", "max"]] as const) {
    const split = (y: Maps, prefix: string) =>
      cat(
        bn(y, `${name}.${prefix}a`, { pad: [0, 1] }),
        bn(y, `${name}.${prefix}b`, { pad: [1, 0] }),
      );
    const single = split(bn(x, `${name}.branch3x3_1`), "branch3x3_2");
    const double = bn(bn(x, `${name}.branch3x3dbl_1`), `${name}.branch3x3dbl_2`, { pad: [1, 1] });
    const pooled = bn(pool(x, kind, 1, 1), `${name}.branch_pool`);
    x = cat(bn(x, `${name}.branch1x1`), single, split(double, "branch3x3dbl_3"), pooled);
  }
  const pooled = Array.from({ length: x.c }, (_, k) => {
    const plane = x.at.subarray(k * x.h * x.w, (k + 1) * x.h * x.w);
    return plane.reduce((sum, value) => sum + value) / plane.length;
  });
  const { shape: [classes], data } = weights["fc.weight"]!;
  const scores = Array.from(
    { length: classes! },
    (_, o) => Math.exp(pooled.reduce((sum, value, k) => sum + value * data[o * x.c + k]!, 0)),
  );
  const total = scores.reduce((sum, score) => sum + score);
  return {
    pooled,
    spatial: [...spatial!.at.subarray(0, 7 * spatial!.h * spatial!.w)],
    probabilities: scores.map((score) => score / total),
  };
}

const model = inception({ width: 1 / 16, imageSize: 79, classes: 11 });
const [height, width] = [20, 24];
const images = uniform(keyFromSeed(8), 2 * height * width * 3).map((u) => Math.floor(256 * u));
const weights = drawWeights(inceptionParameters(model));
const expected = [0, 1].map((n) => {
  const at = Float64Array.from({ length: 3 * height * width }, (_, i) => {
    const plane = height * width, place = i % plane;
    return images[(n * plane + place) * 3 + Math.floor(i / plane)]!;
  });
  return network(weights, { c: 3, h: height, w: width, at }, model.imageSize);
});

testOnDevices("the declared network is the one written out in loops", async () => {
  const params = Object.fromEntries(
    Object.entries(weights).map(([name, { shape, data }]) => [name, tensor(data, { shape })]),
  );
  const run = jit((p: Record<string, Tensor>, x: Tensor) => {
    const outputs = applyInception(model, foldBatchNorm(p), x);
    return { ...outputs };
  });
  const outputs = run(params, tensor(images, { shape: [2, height, width, 3] }));
  for (const name of ["pooled", "spatial", "probabilities"] as const) {
    const found = await outputs[name].data();
    const wanted = expected.flatMap((image) => image[name]);
    assertEquals(found.length, wanted.length);
    const scale = Math.max(...wanted.map(Math.abs));
    assert(scale > 0);
    const worst = Math.max(...wanted.map((value, i) => Math.abs(value - found[i]!))) / scale;
    assert(worst < 1e-4, `${name} differ by ${worst} of their greatest`);
  }
});

Deno.test("the network of FID has its published size and outputs", () => {
  const full = inceptionParameters(inception());
  assertEquals(full["fc.weight"]!.shape, [1008, 2048]);
  assertEquals(full["Mixed_7c.branch3x3dbl_3b.conv.weight"]!.shape, [384, 384, 3, 1]);
  assertEquals(Object.keys(full).length, 94 * 5 + 2);
  // torchvision's Inception-v3 without the auxiliary head has 23,834,568 parameters with 1000 logits.
  const trained = Object.fromEntries(
    Object.entries(full).filter(([name]) => !name.includes(".running_")),
  );
  assertEquals(countParameters(trained), 23_834_568 + 8 * 2049);
});

testOnDevices("an image of the network's size is not resized", async () => {
  const image = tensor([[[[1, 2, 3], [4, 5, 6], [7, 8, 9]]]]);
  assertEquals(resizeBilinear(image, 3), image);
  const small = await resizeBilinear(image, 2).toArray() as number[][][][];
  assertEquals(small, [[[[1, 2.5], [5.5, 7]]]]);
});
