/** Tests of the discriminator: its losses by their formulas, and gradients of gradients. */
import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { treeEntries } from "../../lib/tree.ts";
import { normal } from "../../ops/distributions.ts";
import { key } from "../../ops/random.ts";
import { testOnDevices } from "../../tests/devices.ts";
import { checkGradients } from "../../tests/gradients.ts";
import { createParameters } from "../layers/parameter.ts";
import { initAdversary, judgement, updateAdversary } from "./adversary.ts";
import {
  adversarialLoss,
  discriminate,
  discriminatorParameters,
  gradientPenalty,
  hingeLoss,
} from "./discriminator.ts";

const model = { imageChannels: 1, channels: 3, levels: 1 };
const make = () => createParameters(discriminatorParameters(model), key(1));
const images = () => normal(key(2), [2, 1, 8, 8]);
const others = () => normal(key(3), [2, 1, 8, 8]);

testOnDevices("the hinge loss and the tokenizer's are those of the logits", async (device) => {
  const params = make();
  const [real, fake] = await Promise.all(
    [images(), others()].map(async (x) => Array.from(await discriminate(params, x).data())),
  ) as [number[], number[]];
  const mean = (values: number[]) => values.reduce((a, b) => a + b) / values.length;
  const hinge = (values: number[], sign: number) =>
    mean(values.map((value) => Math.max(0, 1 + sign * value)));
  assertAlmostEquals(
    await hingeLoss(params, images(), others()).item(),
    (hinge(real, -1) + hinge(fake, 1)) / 2,
    1e-5,
  );
  assertAlmostEquals(await adversarialLoss(params, others()).item(), -mean(fake), 1e-5);
  await checkGradients(device, make, (p) => hingeLoss(p, images(), others()));
});

testOnDevices(
  "the penalty's gradient is a gradient of a gradient",
  // It jumps where a leaky unit changes sides: small steps meet few of these.
  (device) => checkGradients(device, make, (p) => gradientPenalty(p, images()), 2e-5),
);

testOnDevices(
  "the tokenizer's loss has a gradient through the discriminator",
  (device) => checkGradients(device, others, (x: Tensor) => adversarialLoss(make(), x)),
);

testOnDevices("a discriminator learns to tell, from its first step that counts on", async () => {
  const training = { start: 2, learningRate: 1e-2, beta1: 0.5, gradientPenalty: 0.1 };
  let adversary = initAdversary(model, key(4));
  const before = new Map(treeEntries<Tensor>(adversary.params));
  const losses: number[] = [];
  for (let step = 0; step < 12; step++) {
    const judged = await judgement(training, adversary, others()).item();
    assertEquals(judged === 0, step < 2);
    const next = updateAdversary(training, adversary, images(), others());
    ({ adversary } = next);
    losses.push(await next.metrics.discriminator!.item());
    assert(await next.metrics.gradientPenalty!.item() > 0);
    if (step !== 1) continue;
    for (const [path, x] of treeEntries<Tensor>(adversary.params)) {
      assertEquals(await x.data(), await before.get(path)!.data(), path);
    }
  }
  assert(losses.at(-1)! < losses[2]! - 0.1, String(losses));
  assertEquals([await adversary.steps.item(), await adversary.updates.item()], [12, 10]);
}, ["reference", "wasm"]);

Deno.test("images too small for the discriminator's levels are refused", () => {
  const params = createParameters(discriminatorParameters({ ...model, levels: 3 }), key(0));
  assertThrows(
    () => discriminate(params, tensor(new Float32Array(16), { shape: [1, 1, 4, 4] })),
    TypeError,
    "conv2d",
  );
});
