/** Tests of what moves codebooks besides gradients: moving averages by hand, restarts, the entropy loss. */
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { tensor } from "../../lib/tensor.ts";
import { normal } from "../../ops/distributions.ts";
import { key } from "../../ops/random.ts";
import { testOnDevices } from "../../tests/devices.ts";
import { checkGradients } from "../../tests/gradients.ts";
import { codebookUse, initCodebookBuffers, updateCodebook } from "./codebook_training.ts";
import { entropyLoss } from "./entropy_loss.ts";

const whole = (values: number[]) => tensor(values, { dtype: "i32" });

testOnDevices("codes are moving averages of the vectors that take them", async () => {
  const training = { update: "ema", decay: 0.8, window: 2, restart: false } as const;
  const first = [[1, 1], [2, 2], [3, 3]];
  const steps = [
    { codes: [0, 0, 1], vectors: [[1, 0], [3, 0], [0, 5]] },
    { codes: [1, 1, 1], vectors: [[0, 1], [0, 2], [6, 0]] },
    { codes: [0, 1, 0], vectors: [[9, 9], [1, 1], [0, 3]] },
  ];
  let rows = tensor(first), buffers = initCodebookBuffers(training, 3, 2);
  const expected = first.map((row) => ({ row, count: 0, sum: [0, 0] }));
  for (const { codes, vectors } of steps) {
    const batch = { codes: whole(codes), vectors: tensor(vectors), distances: tensor([1, 1, 1]) };
    ({ rows, buffers } = updateCodebook(training, rows, buffers, batch, key(0)));
    expected.forEach((code, i) => {
      const taken = vectors.filter((_, at) => codes[at] === i);
      code.count = 0.8 * code.count + 0.2 * taken.length;
      code.sum = code.sum.map((sum, c) => 0.8 * sum + 0.2 * taken.reduce((a, v) => a + v[c]!, 0));
      if (code.count > 0) code.row = code.sum.map((sum) => sum / code.count);
    });
    const found = (await rows.toArray() as number[][]).flat();
    const wanted = expected.flatMap(({ row }) => row);
    found.forEach((x, i) => assertAlmostEquals(x, wanted[i]!, 1e-5));
  }
});

testOnDevices(
  "use is the number of codes taken, and e to the entropy of their shares",
  async () => {
    const { codesUsed, perplexity } = codebookUse(whole([4, 1, 4, 2, 4]), 6);
    assertEquals(await codesUsed.item(), 3);
    const entropy = -0.6 * Math.log(0.6) - 2 * 0.2 * Math.log(0.2);
    assertAlmostEquals(await perplexity.item(), Math.exp(entropy), 1e-5);
  },
  ["reference", "wasm"],
);

testOnDevices(
  "codes without use become different vectors of the batch, the others stay",
  async () => {
    for (const update of ["gradient", "ema"] as const) {
      const training = { update, decay: 0.9, window: 3, restart: true };
      const before = [[1, 0], [0, 1], [5, 5], [6, 6], [7, 7]];
      const buffers = initCodebookBuffers(training, 5, 2);
      const idle = tensor([2, 2, 2, 1, 2]); // codes 2 and 4 have been idle for 3 steps then
      const vectors = [[1, 0], [0, 1], [2, 8], [3, 9]];
      const batch = {
        codes: whole([0, 1, 1, 1]),
        vectors: tensor(vectors),
        distances: tensor([1e-12, 1e-12, 9, 16]),
      };
      const updated = updateCodebook(training, tensor(before), { ...buffers, idle }, batch, key(3));
      const rows = await updated.rows.toArray() as number[][];
      assertEquals([rows[2], rows[4]].map(String).toSorted(), ["2,8", "3,9"]); // the farthest, each once
      assertEquals(rows[3], before[3]);
      if (update === "gradient") assertEquals([rows[0], rows[1]], [before[0], before[1]]);
      assertEquals(await updated.buffers.idle!.toArray(), [0, 0, 0, 2, 0]);
      if (update === "gradient") continue;
      const { averages } = updated.buffers;
      const counts = await averages!.counts.toArray() as number[];
      const sums = await averages!.sums.toArray() as number[][];
      assertAlmostEquals(counts[2]!, 0.1, 1e-6);
      sums[4]!.forEach((sum, c) => assertAlmostEquals(sum, 0.1 * rows[4]![c]!, 1e-6));
    }
  },
);

testOnDevices("there are no more new codes than vectors, and the key decides which", async () => {
  const training = { update: "gradient", decay: 0.9, window: 1, restart: true } as const;
  const before = Array.from({ length: 6 }, (_, i) => [-i - 1]);
  const vectors = [[10], [20], [30], [40]];
  const batch = {
    codes: whole([0, 0, 0, 0]),
    vectors: tensor(vectors),
    distances: tensor([4, 4, 4, 4]),
  };
  const draw = async (seed: number) => {
    const buffers = initCodebookBuffers(training, 6, 1);
    const { rows } = updateCodebook(training, tensor(before), buffers, batch, key(seed));
    return (await rows.toArray() as number[][]).flat();
  };
  const rows = await draw(0);
  assertEquals(rows.slice(1, 5).toSorted(), [10, 20, 30, 40]);
  assertEquals([rows[0], rows[5]], [-1, -6]);
  assertEquals(await draw(0), rows);
  const others = await Promise.all([1, 2, 3].map(draw));
  assert(others.some((other) => String(other) !== String(rows)));
}, ["reference", "wasm"]);

testOnDevices("the entropy loss has its formula's value and gradients", async (device) => {
  const make = () => ({ vectors: normal(key(1), [5, 3]), codebook: normal(key(2), [4, 3]) });
  const temperature = 0.7;
  await checkGradients(device, make, (p) => entropyLoss(p.vectors, p.codebook, temperature));
  const { vectors, codebook } = make();
  const [z, e] = [await vectors.toArray(), await codebook.toArray()] as [number[][], number[][]];
  const choices = z.map((row) => {
    const powers = e.map((code) =>
      Math.exp(-code.reduce((sum, x, c) => sum + (x - row[c]!) ** 2, 0) / temperature)
    );
    const total = powers.reduce((a, b) => a + b);
    return powers.map((power) => power / total);
  });
  const entropy = (shares: number[]) => shares.reduce((sum, p) => sum - p * Math.log(p), 0);
  const mean = e.map((_, i) => choices.reduce((sum, choice) => sum + choice[i]! / 5, 0));
  const wanted = choices.reduce((sum, choice) => sum + entropy(choice) / 5, 0) - entropy(mean);
  assertAlmostEquals(await entropyLoss(vectors, codebook, temperature).item(), wanted, 1e-4);
});
