import { assert, assertEquals } from "@std/assert";
import { currentDevice } from "../device.ts";
import { type Tensor, tensor } from "../tensor.ts";
import { matmul } from "../../ops/matmul/matmul.ts";
import { tanh } from "../../ops/math.ts";
import { mean } from "../../ops/reduce.ts";
import { testOnDevices } from "../../tests/devices.ts";
import type { EarlyResults } from "./early_results.ts";
import { jit } from "./jit.ts";
import { grad } from "./vjp.ts";

const layers = 4, width = 8;
const weights = Array.from(
  { length: layers },
  (_, layer) =>
    tensor(Float32Array.from({ length: width * width }, (_, i) => Math.sin(i + 3 * layer)), {
      shape: [width, width],
    }),
);
const x = tensor(new Float32Array(width * width).fill(0.5), { shape: [width, width] });
const loss = (weights: readonly Tensor[], x: Tensor) =>
  mean(weights.reduce((x, weight) => tanh(matmul(x, weight)), x));

testOnDevices(
  "results come early, in the order in which they are made, and are right",
  async () => {
    const expected = await Promise.all(jit(grad(loss))(weights, x).map((g) => g.data()));
    const groups: Promise<unknown>[][] = [];
    const early: EarlyResults = {
      bytes: 0,
      ready: (results) => groups.push(results.map((result) => result.data())),
    };
    const gradients = jit(grad(loss), { early });
    for (let call = 0; call < 2; call++) {
      groups.length = 0;
      const results = gradients(weights, x);
      const found = await Promise.all(groups.map((group) => Promise.all(group)));
      // The backward pass ends with the first layer.
      assertEquals(found, expected.map((elements) => [elements]).reverse());
      assertEquals(await Promise.all(results.map((result) => result.data())), expected);
    }
  },
);

testOnDevices("results come in groups of a size, while the program runs", () => {
  const { counters } = currentDevice();
  const seen: { results: number; submissions: number }[] = [];
  const gradients = jit(grad(loss), {
    early: {
      bytes: 2 * 4 * width * width,
      ready: (results) => seen.push({ results: results.length, submissions: counters.submissions }),
    },
  });
  gradients(weights, x);
  assertEquals(seen.map(({ results }) => results), [2, 2]);
  const isQueue = currentDevice().name === "webgpu";
  assertEquals(seen[1]!.submissions - seen[0]!.submissions, isQueue ? 1 : 0);
});

testOnDevices("there are steps between results on devices that run in the caller's thread", () => {
  const events: string[] = [];
  const gradients = jit(grad(loss), {
    early: {
      bytes: 0,
      ready: () => events.push("ready"),
      between: () => events.push("between"),
    },
  });
  gradients(weights, x);
  assert(events.lastIndexOf("between") > events.indexOf("ready"));
  assertEquals(events.filter((event) => event === "ready").length, layers);
});

testOnDevices("a program without steps hands its results over as well", () => {
  const seen: Tensor[] = [];
  const same = jit((x: Tensor) => x, { early: { bytes: 0, ready: (x) => seen.push(...x) } });
  assertEquals([same(tensor([1, 2]))], seen);
});
