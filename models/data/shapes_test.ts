// Tests of the generated images of shapes.
import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { generateShapes, SHAPE_CLASSES } from "./shapes.ts";

const options = { count: 64, size: 12, classes: SHAPE_CLASSES, seed: 5 };

Deno.test("the same seed gives the same images, another seed gives others", () => {
  const dataset = generateShapes(options);
  assertEquals(generateShapes(options), dataset);
  assertNotEquals(generateShapes({ ...options, seed: 6 }).images, dataset.images);
  const { images, ...rest } = dataset;
  assertEquals(rest.labels.toSorted()[63], SHAPE_CLASSES - 1);
  assertEquals([rest.count, rest.height, rest.width, images.length], [64, 12, 12, 64 * 144]);
});

Deno.test("a longer dataset begins with the shorter one", () => {
  const short = generateShapes({ ...options, count: 8 }).images;
  assertEquals(generateShapes(options).images.subarray(0, short.length), short);
});

Deno.test("every image shows something, whole and with room around it", () => {
  for (const size of [6, 8, 16, 28]) {
    const { images, count } = generateShapes({ ...options, size });
    for (let i = 0; i < count; i++) {
      const lit = images.subarray(i * size * size, (i + 1) * size * size).filter((x) => x >= 160);
      const share = lit.length / (size * size);
      assert(share > 0.02 && share < 0.7, `image ${i} of size ${size} is lit to ${share}`);
    }
  }
});

Deno.test("the classes look different: the nearest class mean finds most labels", () => {
  const pixels = options.size ** 2;
  const train = generateShapes({ ...options, count: 1600 });
  const means = Array.from({ length: SHAPE_CLASSES }, () => new Float64Array(pixels));
  train.labels.forEach((label, i) => {
    for (let p = 0; p < pixels; p++) means[label][p] += train.images[i * pixels + p] / 200;
  });
  const test = generateShapes({ ...options, count: 400, seed: 9 });
  const right = test.labels.filter((label, i) => {
    const distances = means.map((mean) =>
      mean.reduce((sum, m, p) => sum + (m - test.images[i * pixels + p]) ** 2, 0)
    );
    return distances.indexOf(Math.min(...distances)) === label;
  }).length;
  assert(right > 200, `${right} of 400 are right, where chance gives 50`);
});

Deno.test("generateShapes refuses options out of range", () => {
  assertThrows(() => generateShapes({ ...options, classes: 9 }), RangeError, "classes");
  assertThrows(() => generateShapes({ ...options, size: 5 }), RangeError, "size");
  assertThrows(() => generateShapes({ ...options, count: -1 }), RangeError, "count");
  assertThrows(() => generateShapes({ ...options, seed: 0.5 }), RangeError, "seed");
});
