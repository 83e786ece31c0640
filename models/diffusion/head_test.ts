import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { treeEntries, treeMap } from "../../lib/tree.ts";
import { jit } from "../../lib/transforms/jit.ts";
import { grad, valueAndGrad } from "../../lib/transforms/vjp.ts";
import { add, mul } from "../../ops/arithmetic.ts";
import { normal } from "../../ops/distributions.ts";
import { oneHot } from "../../ops/gather.ts";
import { matmul } from "../../ops/matmul/matmul.ts";
import { adamw } from "../../ops/optimizers/adamw.ts";
import { foldIn, key } from "../../ops/random.ts";
import { mean, sum } from "../../ops/reduce.ts";
import { testOnDevices } from "../../tests/devices.ts";
import { countParameters, createParameters } from "../layers/parameter.ts";
import {
  type DiffusionHeadInput,
  type DiffusionHeadParameters,
  diffusionHeadParameters,
  diffusionHeadPresets,
  diffusionHeadSchema,
  diffusionLoss,
} from "./head.ts";
import { cosineNoise, spacedSteps } from "./noise_schedule.ts";
import { type DenoiseOptions, sampleTokens } from "./sample_tokens.ts";

function makeHead(config: DiffusionHeadInput, dim: number) {
  const head = diffusionHeadSchema.parse(config);
  return { head, params: createParameters(diffusionHeadParameters(head, dim), key(0)) };
}

/** Class 0: two bumps at x = ±1, y = 1/2, of deviation 0.15; class 1: one at (0, -1), of deviation 0.3. */
function drawTargets(labels: Tensor, key: Tensor): Tensor {
  const classes = oneHot(labels, 2);
  const count = labels.shape[0]!;
  const side = tensor(Float32Array.from({ length: count }, (_, i) => i % 4 < 2 ? 1 : -1), {
    shape: [count, 1],
  });
  const column = (values: number[]) => tensor(values.map((x) => [x]));
  const center = add(
    mul(matmul(classes, tensor([[1, 0], [0, 0]])), side),
    matmul(classes, tensor([[0, 0.5], [0, -1]])),
  );
  return add(center, mul(normal(key, [count, 2]), matmul(classes, column([0.15, 0.3]))));
}

testOnDevices(
  "a head learns a mixture of Gaussians given the class, and draws from it",
  async () => {
    const { head, params: first } = makeHead(
      { channels: 2, width: 48, layers: 2, steps: 200, repeats: 4, range: 2 },
      2,
    );
    let params = first;
    let state = adamw.init(params);
    const labels = tensor(Int32Array.from({ length: 64 }, (_, i) => i % 2));
    const step = jit((p: DiffusionHeadParameters, s: typeof state, key: Tensor) => {
      const target = drawTargets(labels, foldIn(key, 0));
      const [loss, gradients] = valueAndGrad((p: DiffusionHeadParameters) =>
        mean(diffusionLoss(head, p, oneHot(labels, 2), target, foldIn(key, 1)))
      )(p);
      return [loss, ...adamw.update(p, gradients, s, { learningRate: 4e-3 })] as const;
    }, { donate: [0, 1] });
    const losses: number[] = [];
    for (let i = 0; i < 400; i++) {
      const [loss, p, s] = step(params, state, key(i));
      [params, state] = [p, s];
      if (i % 399 === 0) losses.push(await loss.item());
    }
    assertAlmostEquals(losses[0]!, 1, 0.15); // the output starts at zero, the noise has variance 1

    const draw = async (label: number, options: DenoiseOptions) => {
      const z = oneHot(tensor(new Int32Array(512).fill(label)), 2);
      const tokens = await sampleTokens(head, params, z, key(7), options).toArray() as number[][];
      const statistics = (values: number[]) => {
        const middle = values.reduce((sum, x) => sum + x, 0) / values.length;
        return [
          middle,
          values.reduce((sum, x) => sum + (x - middle) ** 2, 0) / values.length,
        ] as const;
      };
      return {
        left: tokens.filter(([x]) => x! < 0).length / 512,
        x: statistics(tokens.map(([x]) => x!)),
        distance: statistics(tokens.map(([x]) => Math.abs(x!))),
        y: statistics(tokens.map(([, y]) => y!)),
      };
    };
    for (const options of [{ steps: 100 }, { steps: 50, eta: 0 }]) {
      const two = await draw(0, options), one = await draw(1, options);
      const near = (found: readonly number[], wanted: number, variance: number, name: string) => {
        assertAlmostEquals(found[0]!, wanted, 0.08, `mean of ${name}`);
        assertAlmostEquals(found[1]!, variance, 0.3 * variance, `variance of ${name}`);
      };
      assertAlmostEquals(two.left, 0.5, 0.1);
      near(two.distance, 1, 0.15 ** 2, "the distance of two bumps from the middle");
      near(two.y, 0.5, 0.15 ** 2, "y of two bumps");
      near(one.x, 0, 0.3 ** 2, "x of one bump");
      near(one.y, -1, 0.3 ** 2, "y of one bump");
    }
    const cool = await draw(1, { steps: 25, temperature: 0.5 });
    assert(cool.y[1] < 0.3 ** 2 / 2, `variance ${cool.y[1]}`);
  },
  ["wasm"],
);

/** A head whose gates and output do not start at zero. */
function makeLively() {
  const { head, params } = makeHead({ channels: 3, width: 8, layers: 2, steps: 50, range: 3 }, 4);
  let next = 0;
  const stir = (x: Tensor) => add(x, mul(normal(key(100 + next++), x.shape), 0.2));
  return { head, params: treeMap(stir, params) };
}

testOnDevices("gradients of the loss are those of finite differences", async () => {
  const { head, params } = makeLively();
  const target = normal(key(1), [2, 3, 3]);
  const at = (all: { params: DiffusionHeadParameters; z: Tensor }) =>
    mean(diffusionLoss(head, all.params, all.z, target, key(3)));
  const point = { params, z: normal(key(2), [2, 3, 4]) };
  const gradient = grad(at)(point);
  for (const [i, [path, leaf]] of treeEntries<Tensor>(point).entries()) {
    const direction = mul(normal(key(200 + i), leaf.shape), leaf.size ** -0.5);
    const moved = (by: number) =>
      at(treeMap((x: Tensor) => x === leaf ? add(x, mul(direction, by)) : x, point)).item();
    const wanted = (await moved(5e-3) - await moved(-5e-3)) / 1e-2;
    const [, slope] = treeEntries<Tensor>(gradient)[i]!;
    const found = await sum(mul(slope, direction)).item();
    assertAlmostEquals(found, wanted, 1e-4, path); // the loss is rounded to 6e-8
    assert(found !== 0, path);
  }
}, ["reference"]);

testOnDevices("guidance with the same condition on both sides changes nothing", async () => {
  const { head, params } = makeLively();
  const z = normal(key(2), [4, 4]);
  const draw = async (options: DenoiseOptions) =>
    await sampleTokens(head, params, z, key(5), { steps: 6, ...options }).data();
  const plain = await draw({});
  const guided = await draw({ unconditional: z, guidance: 3 });
  for (const [i, x] of plain.entries()) assertAlmostEquals(guided[i]!, x, 1e-4);
  const other = await draw({ unconditional: mul(z, -1), guidance: 1 });
  for (const [i, x] of plain.entries()) assertAlmostEquals(other[i]!, x, 1e-4);
  const strong = await draw({ unconditional: mul(z, -1), guidance: 3 });
  assert(strong.some((x, i) => Math.abs(x - plain[i]!) > 0.01));
  assert(plain.every((x) => Math.abs(x) <= 3));
});

Deno.test("noise grows step by step, and sampling keeps first and last", () => {
  const left = cosineNoise(100);
  assert(left.every((x, i) => i === 0 || x < left[i - 1]!));
  assertEquals(spacedSteps(1000, 100).length, 100);
  assertEquals(spacedSteps(1000, 100).slice(-2), [10, 0]);
  assertEquals(spacedSteps(7, 7), [6, 5, 4, 3, 2, 1, 0]);
  assertEquals(spacedSteps(7, 1), [6]);
  assertThrows(() => spacedSteps(7, 8), RangeError, "1..7");
});

Deno.test("tokens that do not fit are refused", () => {
  const { head, params } = makeHead({ channels: 2, width: 8, layers: 1 }, 4);
  const z = normal(key(0), [3, 4]);
  assertThrows(
    () => diffusionLoss(head, params, z, normal(key(1), [3, 4]), key(2)),
    TypeError,
    "target to have shape [3, 2]",
  );
});

Deno.test("a head has the parameters of its layers", () => {
  const head = diffusionHeadSchema.parse(diffusionHeadPresets["MAR-L"]);
  const { width: w, layers, channels } = head;
  const affine = (inputs: number, outputs: number) => inputs * outputs + outputs;
  const wanted = affine(256, w) + affine(w, w) + affine(1024, w) + affine(channels, w) +
    layers * (2 * affine(w, w) + affine(w, 3 * w)) + affine(w, 2 * w) + affine(w, channels);
  assertEquals(countParameters(diffusionHeadParameters(head, 1024)), wanted);
});
