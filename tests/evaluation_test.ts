// Tests of the evaluation of samples: known answers, brute force, files, determinism.
import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { openNpz, writeNpz } from "../lib/formats/npz.ts";
import { writePng } from "../lib/formats/png.ts";
import { foldIn, keyFromSeed, uniform } from "../lib/random/threefry.ts";
import { treeEntries } from "../lib/tree.ts";
import { generateShapes } from "../models/data/shapes.ts";
import {
  classifier,
  classifierFeatures,
  classifierParameters,
  loadClassifier,
  saveClassifier,
} from "../models/evaluation/classifier.ts";
import { classifierAccuracy, trainClassifier } from "../models/evaluation/classifier_training.ts";
import { evaluate, writeStatistics } from "../models/evaluation/evaluate.ts";
import {
  datasetImages,
  type ImageSet,
  openImages,
  writeImages,
} from "../models/evaluation/images.ts";
import { addProbabilities, inceptionScore, noScore } from "../models/evaluation/inception_score.ts";
import { precisionAndRecall } from "../models/evaluation/precision_recall.ts";
import { evaluateReconstruction } from "../models/evaluation/reconstruction.ts";
import {
  addFeatures,
  frechetDistance,
  gaussianOf,
  noMoments,
} from "../models/evaluation/statistics.ts";
import { createParameters } from "../models/layers/parameter.ts";
import { key } from "../ops/random.ts";
import { testOnDevices } from "./devices.ts";

/** Feature vectors [count, size] with correlated, shifted numbers. */
function drawFeatures(count: number, size: number, seed: number, shift = 0): Float32Array {
  const random = uniform(foldIn(keyFromSeed(seed), 1), count * size);
  return random.map((u, i) =>
    (u - 0.5) * (1 + i % size) + (i % size > 0 ? random[i - 1]! : 0) + shift
  );
}

function gaussian(rows: ArrayLike<number>, size: number) {
  const moments = noMoments(size);
  addFeatures(moments, rows);
  return gaussianOf(moments);
}

Deno.test("streamed means and covariances are those of two passes, however the rows come", () => {
  const size = 5, count = 203;
  const rows = Float64Array.from(drawFeatures(count, size, 1), (v) => v + 1e6); // far from 0
  const mean = Array.from({ length: size }, (_, i) => {
    let total = 0;
    for (let row = 0; row < count; row++) total += (rows[row * size + i]! - 1e6) / count;
    return total + 1e6;
  });
  const streamed = noMoments(size);
  for (const [start, end] of [[0, 1], [1, 70], [70, 71], [71, 203]] as const) {
    addFeatures(streamed, rows.subarray(start * size, end * size));
  }
  for (const found of [gaussianOf(streamed), gaussian(rows, size)]) {
    for (let i = 0; i < size; i++) {
      assertAlmostEquals(found.mean[i]!, mean[i]!, 1e-8);
      for (let j = 0; j < size; j++) {
        let product = 0;
        for (let row = 0; row < count; row++) {
          product += (rows[row * size + i]! - mean[i]!) * (rows[row * size + j]! - mean[j]!);
        }
        assertAlmostEquals(found.covariance[i * size + j]!, product / (count - 1), 1e-7);
      }
    }
  }
  assertThrows(() => addFeatures(streamed, [1, 2]), TypeError, "rows of 5 numbers");
  assertThrows(() => gaussianOf(noMoments(2)), RangeError, "at least 2 features");
});

Deno.test("the Fréchet distance of a Gaussian to itself is 0, singular or not", () => {
  for (const count of [100, 4]) {
    const a = gaussian(drawFeatures(count, 8, 2), 8);
    assertAlmostEquals(frechetDistance(a, a), 0, 1e-6);
  }
  const point = { mean: new Float64Array(2), covariance: new Float64Array(4) };
  assertEquals(frechetDistance(point, point), 0);
});

Deno.test("the Fréchet distance of known Gaussians has its closed form", () => {
  // Covariances that share eigenvectors: |μ₁ - μ₂|² + Σ (√λ₁ - √λ₂)².
  const [c, s] = [Math.cos(0.7), Math.sin(0.7)];
  const rotated = (x: number, y: number) =>
    Float64Array.of(c * c * x + s * s * y, c * s * (x - y), c * s * (x - y), s * s * x + c * c * y);
  const a = { mean: Float64Array.of(1, 2), covariance: rotated(4, 9) };
  const b = { mean: Float64Array.of(4, -2), covariance: rotated(1, 25) };
  assertAlmostEquals(frechetDistance(a, b), 25 + 1 + 4, 1e-9);
  assertAlmostEquals(frechetDistance(b, a), 25 + 1 + 4, 1e-9);
  // Others: in two dimensions, tr √M = √(tr M + 2 √det M) with M = Σ₁Σ₂.
  const skew = { mean: a.mean, covariance: Float64Array.of(2, 0.5, 0.5, 1) };
  const [p, q] = [a.covariance, skew.covariance];
  const trace = p[0]! * q[0]! + 2 * p[1]! * q[1]! + p[3]! * q[3]!;
  const root = Math.sqrt(trace + 2 * Math.sqrt(4 * 9 * (2 - 0.25)));
  assertAlmostEquals(frechetDistance(a, skew), 13 + 3 - 2 * root, 1e-9);
});

Deno.test("regularization widens the product alone; sizes and NaN are refused", () => {
  const point = { mean: Float64Array.of(0), covariance: Float64Array.of(0) };
  const unit = { mean: Float64Array.of(0), covariance: Float64Array.of(1) };
  const widened = frechetDistance(point, unit, { regularization: 1e-6 });
  assertAlmostEquals(widened, 1 - 2 * Math.sqrt(1e-6 * (1 + 1e-6)), 1e-12);
  const plane = gaussian(drawFeatures(9, 2, 1), 2);
  assertThrows(() => frechetDistance(point, plane), TypeError, "1 dimensions");
  const broken = { ...unit, mean: Float64Array.of(NaN) };
  assertThrows(() => frechetDistance(unit, broken), RangeError, "expected b to be finite");
});

Deno.test("Inception Score is 1 for one class, the number of classes at best, and averages splits", () => {
  const score = (probabilities: number[], splitSize?: number) => {
    const sums = noScore(3, splitSize);
    addProbabilities(sums, probabilities);
    return inceptionScore(sums);
  };
  assertAlmostEquals(score([1, 0, 0, 1, 0, 0]), 1, 1e-12);
  assertAlmostEquals(score([1, 0, 0, 0, 1, 0, 0, 0, 1]), 3, 1e-12);
  // Splits of 2 images: {1st, 2nd class} scores 2, the third image alone 1.
  assertAlmostEquals(score([1, 0, 0, 0, 1, 0, 0, 0, 1], 2), 1.5, 1e-12);
  const p = [0.5, 0.3, 0.2], q = [0.1, 0.6, 0.3];
  const divergence = (x: number[]) =>
    x.reduce((sum, v, i) => sum + v * Math.log(v / ((p[i]! + q[i]!) / 2)), 0);
  assertAlmostEquals(score([...p, ...q]), Math.exp((divergence(p) + divergence(q)) / 2), 1e-12);
  assertThrows(() => inceptionScore(noScore(3)), RangeError, "at least one image");
});

testOnDevices("precision and recall by blocks are those of brute force", async () => {
  const size = 4;
  const reference = { size, data: drawFeatures(23, size, 4) };
  const samples = { size, data: drawFeatures(17, size, 5, 1.5) };
  const points = ({ data }: { data: Float32Array }) =>
    Array.from({ length: data.length / size }, (_, i) => data.subarray(i * size, (i + 1) * size));
  const distance = (a: Float32Array, b: Float32Array) =>
    a.reduce((sum, value, i) => sum + (value - b[i]!) ** 2, 0);
  const share = (of: Float32Array[], among: Float32Array[]) => {
    const radii = among.map((a) => among.map((b) => distance(a, b)).sort((x, y) => x - y)[3]!);
    const inside = of.filter((a) => among.some((b, i) => distance(a, b) <= radii[i]!));
    return inside.length / of.length;
  };
  const wanted = {
    precision: share(points(samples), points(reference)),
    recall: share(points(reference), points(samples)),
  };
  assert(
    wanted.precision > 0.1 && wanted.precision < 1 && wanted.recall > 0.1 && wanted.recall < 1,
  );
  const steps: number[] = [];
  const onProgress = (done: number, total: number) => steps.push(done / total);
  assertEquals(await precisionAndRecall(reference, samples, { block: 10, onProgress }), wanted);
  assertEquals([steps.length, steps.at(-1)], [9 + 4 + 6, 1]);
  assertEquals(await precisionAndRecall(reference, samples), wanted);
  assertEquals(await precisionAndRecall(samples, samples), { precision: 1, recall: 1 });
  const few = { size, data: samples.data.subarray(0, 3 * size) };
  await assertRejects(() => precisionAndRecall(reference, few), RangeError, "more than 3 samples");
});

const shapes = generateShapes({ count: 48, size: 8, classes: 4, seed: 3 });
const others = generateShapes({ count: 40, size: 8, classes: 2, seed: 4 });
const model = classifier({ height: 8, width: 8, classes: 4, channels: 4, features: 8 });
const untrained = () =>
  classifierFeatures(model, createParameters(classifierParameters(model), key(1)));

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

testOnDevices("a set compared with itself is perfect, and with another one is not", async () => {
  const features = untrained();
  const same = await evaluate({
    samples: datasetImages(shapes),
    reference: datasetImages(shapes),
    features,
    batchSize: 20,
  });
  assertAlmostEquals(same.fid, 0, 1e-6);
  assertAlmostEquals(same.sfid!, 0, 1e-6);
  assertEquals([same.precision, same.recall], [1, 1]);
  assertEquals(same.counts, { samples: 48, reference: 48 });
  const different = await evaluate({
    samples: datasetImages(others),
    reference: datasetImages(shapes),
    features,
  });
  assert(different.fid > 1e-4 && different.sfid! > 1e-3 && different.recall! < 1);
  assert(different.inceptionScore >= 1 && different.inceptionScore <= 4);
});

testOnDevices("a folder, a npz file and stored statistics give the same measures", async () => {
  await inFolder(async (folder) => {
    const features = untrained();
    const samples = datasetImages(others);
    const reference: Record<string, string | ImageSet> = { memory: datasetImages(shapes) };
    await Deno.mkdir(reference.folder = `${folder}/images`);
    for (let i = 0; i < shapes.count; i++) {
      const data = shapes.images.subarray(i * 64, (i + 1) * 64);
      const image = { width: 8, height: 8, channels: 1 as const, data };
      await writePng(`${folder}/images/${i}.png`, image);
    }
    await writeImages(
      reference.npz = `${folder}/images.npz`,
      await openImages(reference.folder, { workers: 1 }),
    );
    await writeStatistics(`${folder}/statistics.npz`, { reference: reference.memory, features });
    await using statistics = await openNpz(`${folder}/statistics.npz`);
    const stored = await Promise.all(
      [...statistics.entries.keys()].map(async (name) => [name, await statistics.read(name)]),
    );
    await using images = await openNpz(`${folder}/images.npz`);
    await writeNpz(reference.both = `${folder}/both.npz`, {
      arr_0: await images.read("arr_0"),
      ...Object.fromEntries(stored),
    });
    const stages = new Set<string>();
    const found = new Map<string, Awaited<ReturnType<typeof evaluate>>>();
    for (const [name, source] of Object.entries(reference)) {
      found.set(
        name,
        await evaluate({
          samples,
          reference: source,
          features,
          workers: 1,
          onProgress: ({ stage }) => stages.add(stage),
        }),
      );
    }
    assertEquals([...stages], ["samples", "reference", "precision and recall", "distances"]);
    const expected = found.get("memory")!;
    for (const [name, evaluation] of found) {
      assertAlmostEquals(evaluation.fid / expected.fid, 1, 1e-4, name);
      assertAlmostEquals(evaluation.sfid! / expected.sfid!, 1, 1e-4, name);
      assertEquals({ ...evaluation, fid: 0, sfid: 0 }, { ...expected, fid: 0, sfid: 0 }, name);
    }
    const bare = await evaluate({ samples, reference: `${folder}/statistics.npz`, features });
    assertAlmostEquals(bare.fid / expected.fid, 1, 1e-9);
    assertEquals([bare.precision, bare.counts.reference], [undefined, 0]);
  });
}, ["reference"]);

Deno.test("files and images that do not fit are refused by name", () =>
  inFolder(async (folder) => {
    const path = `${folder}/x.npz`;
    await writeNpz(path, { mu: { dtype: "f8", shape: [1], data: Float64Array.of(1) } });
    await assertRejects(
      () => openImages(path),
      TypeError,
      `arr_0 of ${path} to be u1 [N, H, W, 3]`,
    );
    const large = datasetImages(generateShapes({ count: 4, size: 9, classes: 2, seed: 1 }));
    await assertRejects(
      () => evaluate({ samples: large, reference: large, features: untrained() }),
      TypeError,
      "expected images of 8×8 but found 9×9",
    );
    await assertRejects(() => loadClassifier(path), Error);
  }));

testOnDevices(
  "a classifier learns, follows from its seed, and comes back from a file",
  async () => {
    const dataset = generateShapes({ count: 320, size: 8, classes: 4, seed: 7 });
    const training = { seed: 2, epochs: 6, batchSize: 32, learningRate: 1e-2 };
    let last = Infinity;
    const onStep = async (step: number, total: number, loss: () => Promise<number>) => {
      if (step === total) last = await loss();
    };
    const params = await trainClassifier(model, dataset, { ...training, onStep });
    const test = generateShapes({ count: 64, size: 8, classes: 4, seed: 8 });
    const accuracy = await classifierAccuracy(model, params, test, 50);
    assert(accuracy > 0.8, `accuracy is ${accuracy}, and the last loss ${last}`);

    const short = { ...training, epochs: 1, batchSize: 16 };
    const [first, again] = [
      new Map(treeEntries(await trainClassifier(model, shapes, short))),
      await trainClassifier(model, shapes, short),
    ];
    for (const [name, x] of treeEntries(again)) {
      assertEquals(await x.data(), await first.get(name)!.data(), name);
    }
    await inFolder(async (folder) => {
      await saveClassifier(`${folder}/c.safetensors`, model, params);
      const loaded = await loadClassifier(`${folder}/c.safetensors`);
      assertEquals(loaded.model, model);
      assertEquals(await classifierAccuracy(model, loaded.params, test, 50), accuracy);
    });
  },
);

testOnDevices("reconstructions that are exact are perfect, others have their PSNR", async () => {
  const features = untrained();
  const originals = datasetImages(shapes);
  const exact = await evaluateReconstruction({
    originals,
    features,
    reconstruct: ({ data }) => Promise.resolve(data),
  });
  assertEquals([exact.psnr, exact.ssim], [Infinity, 1]);
  assertAlmostEquals(exact.fid, 0, 1e-6);
  const shifted = await evaluateReconstruction({
    originals,
    features,
    reconstruct: ({ data }) =>
      Promise.resolve(data.map((value) => value < 128 ? value + 10 : value - 10)),
  });
  assertAlmostEquals(shifted.psnr, 20 * Math.log10(25.5), 1e-9);
  assert(shifted.fid > exact.fid && shifted.ssim < 1);
}, ["reference"]);
