// Tests of loading MNIST.
import { assert, assertEquals, assertRejects } from "@std/assert";
import { loadMnist, type MnistSplit } from "./mnist.ts";

Deno.test("MNIST has its 70,000 digits, the training part first", async () => {
  const all = await loadMnist("all");
  assertEquals([all.count, all.height, all.width, all.classes], [70_000, 28, 28, 10]);
  assertEquals(all.images.length, 70_000 * 784);
  const perClass = new Array(10).fill(0);
  all.labels.forEach((label) => perClass[label]++);
  assertEquals(perClass, [6903, 7877, 6990, 7141, 6824, 6313, 6876, 7293, 6825, 6958]);
  assertEquals([...all.labels.slice(0, 5)], [5, 0, 4, 1, 9]);
  const mean = all.images.reduce((sum, x) => sum + x, 0) / all.images.length;
  assert(Math.abs(mean / 255 - 0.1309) < 1e-3, `mean brightness is ${mean / 255}`);

  const test = await loadMnist("test");
  assertEquals([...test.labels.slice(0, 5)], [7, 2, 1, 0, 4]);
  assertEquals(test.images, all.images.subarray(60_000 * 784));
});

Deno.test("loadMnist refuses a split that there is not", async () => {
  await assertRejects(() => loadMnist("valid" as MnistSplit), TypeError, `found "valid"`);
});
