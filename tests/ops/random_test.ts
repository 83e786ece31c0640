/** Random tensors: the same words as on the host, and distributions of the right shape. */
import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import * as host from "../../lib/random/threefry.ts";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import * as ops from "../../ops/mod.ts";
import { testOnDevices } from "../devices.ts";

const count = 2000;

testOnDevices("keys and words are those of the host", async () => {
  const key = ops.randomKey(2 ** 40 + 7), twin = host.keyFromSeed(2 ** 40 + 7);
  const children = await Promise.all(ops.splitKey(key, 3).map((child) => child.data()));
  assertEquals(children, host.split(twin, 3).map((child) => Uint32Array.from(child)));
  assertEquals(await ops.foldIn(key, 5).data(), Uint32Array.from(host.foldIn(twin, 5)));
  const folded = ops.foldIn(key, tensor(5, { dtype: "i32" }));
  assertEquals(await folded.data(), Uint32Array.from(host.foldIn(twin, 5)));
  assertEquals(await ops.randomBits(key, [5, 7]).data(), host.randomBits(twin, 35));
  assertEquals(await ops.uniform(key, [35]).data(), host.uniform(twin, 35));
});

testOnDevices("a list of keys draws each row by its own, in whatever list it is", async () => {
  const twins = [3, 4, 5].map(host.keyFromSeed);
  const keys = ops.foldIn(tensor(Uint32Array.from(twins.flat()), { shape: [3, 2] }), 7);
  const rows = twins.map((twin) => [...host.randomBits(host.foldIn(twin, 7), 10)]);
  assertEquals(await ops.randomBits(keys, [3, 5, 2]).data(), Uint32Array.from(rows.flat()));
  const last = ops.slice(keys, [[1, 3]]);
  assertEquals(await ops.randomBits(last, [2, 10]).toArray(), rows.slice(1));
  const x = ops.ones([3, 8]);
  const dropped = await ops.dropout(x, 0.5, keys).toArray() as number[][];
  const own = ops.dropout(ops.ones([2, 8]), 0.5, last);
  assertEquals(await own.toArray(), dropped.slice(1));
  assertThrows(
    () => ops.randomBits(keys, [2, 2]),
    TypeError,
    "expected a key for each of the 3 rows but found shape [2, 2]",
  );
});

/** Mean and variance of some draws. */
async function moments(x: Tensor): Promise<[mean: number, variance: number]> {
  const values = Array.from(await x.data());
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  return [mean, values.reduce((sum, y) => sum + (y - mean) ** 2, 0) / values.length];
}

testOnDevices("distributions have their mean and variance", async () => {
  // Truncated to ±2: variance 1 - 4 φ(2) / (2 Φ(2) - 1).
  const cases: [string, Tensor, number, number][] = [
    ["uniform", ops.uniform(ops.randomKey(1), [count], { low: -1, high: 3 }), 1, 16 / 12],
    ["normal", ops.normal(ops.randomKey(2), [count]), 0, 1],
    ["truncatedNormal", ops.truncatedNormal(ops.randomKey(3), [count]), 0, 0.7737],
    ["gumbel", ops.gumbel(ops.randomKey(4), [count]), 0.5772, Math.PI ** 2 / 6],
    ["bernoulli", ops.cast(ops.bernoulli(ops.randomKey(5), [count], 0.3), "f32"), 0.3, 0.21],
    ["randint", ops.randint(ops.randomKey(6), [count], -3, 4), 0, 4],
  ];
  for (const [name, x, mean, variance] of cases) {
    const [foundMean, foundVariance] = await moments(x);
    // Five standard errors, for kurtosis up to 6.
    assertAlmostEquals(foundMean, mean, 5 * Math.sqrt(variance / count), `${name}: mean`);
    assertAlmostEquals(
      foundVariance,
      variance,
      5 * variance * Math.sqrt(5 / count),
      `${name}: variance`,
    );
  }
});

testOnDevices("normal numbers have the right quantiles", async () => {
  const x = Array.from(await ops.normal(ops.randomKey(7), [count]).data());
  for (const [bound, share] of [[-1.6449, 0.05], [0, 0.5], [1.2816, 0.9]] as const) {
    const below = x.filter((value) => value < bound).length / count;
    assertAlmostEquals(below, share, 5 * Math.sqrt(share * (1 - share) / count));
  }
});

testOnDevices(
  "categorical draws classes by their probability, and none that is excluded",
  async () => {
    const probabilities = [0.5, 0, 0.2, 0.3];
    const logits = ops.broadcastTo(tensor(probabilities.map(Math.log)), [count, 4]);
    const drawn = Array.from(await ops.categorical(ops.randomKey(8), logits).data());
    for (const [which, p] of probabilities.entries()) {
      const share = drawn.filter((x) => x === which).length / count;
      assertAlmostEquals(share, p, 5 * Math.sqrt(p * (1 - p) / count), `class ${which}`);
    }
  },
);

testOnDevices("permutations hold every number once and differ from row to row", async () => {
  const rows = await ops.permutation(ops.randomKey(9), [3, 50]).toArray() as number[][];
  for (const row of rows) {
    assertEquals(row.toSorted((a, b) => a - b), Array.from({ length: 50 }, (_, i) => i));
  }
  assert(String(rows[0]) !== String(rows[1]));
});

testOnDevices("dropout drops its share and keeps the mean", async () => {
  const x = Array.from(await ops.dropout(ops.ones([count]), 0.25, ops.randomKey(10)).data());
  assert(x.every((value) => value === 0 || Math.abs(value - 4 / 3) < 1e-6));
  const dropped = x.filter((value) => value === 0).length / count;
  assertAlmostEquals(dropped, 0.25, 5 * Math.sqrt(0.25 * 0.75 / count));
});

Deno.test("a tensor that is no key is refused", () => {
  assertThrows(
    () => ops.randomBits(tensor([1, 2]), [3]),
    TypeError,
    "randomBits: expected key to be u32 of shape [2] but found f32 of shape [2]",
  );
});
