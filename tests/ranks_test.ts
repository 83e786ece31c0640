/** The command line on several ranks: what they do together is what one does alone, and one that dies is not missed. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "@std/path";
import { readSafetensors } from "../lib/formats/safetensors.ts";
import { writePng } from "../lib/formats/png.ts";
import { closeDevices, openDevice } from "../lib/device.ts";
import { generateShapes } from "../models/data/shapes.ts";
import {
  classifier,
  classifierParameters,
  saveClassifier,
} from "../models/evaluation/classifier.ts";
import { datasetImages, writeImages } from "../models/evaluation/images.ts";
import { createParameters } from "../models/layers/parameter.ts";
import { key } from "../ops/random.ts";
import { hasMpi, inFolder, run, runRanks } from "./command_line.ts";

/** Dropout, class dropout and random sets are on; 12 images can be cut for 1, 2 and 4 ranks. */
const train = (out: string, ...more: string[]) => {
  const settings = [
    "tokenizerTraining.steps=6",
    "tokenizerTraining.batchSize=12",
    "training.batchSize=12",
    "training.checkpointEvery=4",
    "training.sampleEvery=0",
    "sampling.perClass=1",
    // Gradients that are zero but for rounding are what epsilon is for: they would move weights as far as any other.
    "tokenizerTraining.epsilon=0.001",
    "training.epsilon=0.001",
    ...more,
  ];
  const set = settings.flatMap((setting) => ["--set", setting]);
  return ["train", "--config", "smoke", "--out", out, "--steps", "12", ...set];
};

/**
 * Weights after 12 steps, relative to the largest of their tensor. Ranks sum the gradients of their parts in f32, so each
 * has a relative error of 1e-7 that AdamW, with this epsilon, carries on as one of the step: 12 steps of at most 2e-3 in
 * weights of about 0.02 to 1.
 */
const tolerance = 1e-4;

async function assertSameTraining(found: string, wanted: string): Promise<void> {
  for (const name of ["tokenizer", "model"]) {
    const [own, other] = await Promise.all(
      [found, wanted].map((run) => readSafetensors(join(run, `${name}.safetensors`))),
    );
    for (const [path, { data }] of Object.entries(other!.tensors)) {
      const values = data as Float32Array, others = own!.tensors[path]!.data as Float32Array;
      const largest = values.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
      const far = values.findIndex((x, i) => !(Math.abs(x - others[i]!) <= tolerance * largest));
      assertEquals(far, -1, `${name} ${path}: ${others[far]} in ${found} but ${values[far]}`);
    }
  }
}

/** The process of a rank, by the variables that mpirun gave it. */
async function processOf(rank: number, out: string): Promise<number> {
  for await (const { name } of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const [variables, args] = await Promise.all(
        ["environ", "cmdline"].map((file) => Deno.readTextFile(`/proc/${name}/${file}`)),
      );
      const isRank = variables!.split("\0").includes(`OMPI_COMM_WORLD_RANK=${rank}`);
      if (isRank && args!.split("\0").includes(out)) return Number(name);
    } catch {
      // It has ended meanwhile, or is another's.
    }
  }
  throw new Error(`expected a process of rank ${rank} but found none`);
}

Deno.test({
  name: "ranks train as one does; a killed one ends the job, which goes on with 1 rank and with 4",
  ignore: !hasMpi,
  fn: () =>
    inFolder(async (folder) => {
      const [one, two, killed] = ["one", "two", "killed"].map((name) => join(folder, name));
      const alone = await run(train(one!));
      assertEquals(alone.code, 0, alone.err);
      const together = await runRanks(2, train(two!, "training.accumulate=2"));
      assertEquals(together.code, 0, together.err);
      assertMatch(together.out, /^Wrote \S+ in [\d:]+\n$/); // once
      await assertSameTraining(two!, one!);

      const saved = join(killed!, "checkpoints", "model-00000004");
      const death = await runRanks(2, train(killed!), async () => {
        if (!await Deno.stat(saved).then(() => true, () => false)) return false;
        Deno.kill(await processOf(1, killed!), "SIGKILL");
        return true;
      });
      assert(death.code !== 0);
      assertMatch(death.err, /process rank 1 .* exited on signal 9/s);
      const copy = join(folder, "copy");
      await new Deno.Command("cp", { args: ["-r", killed!, copy] }).output();
      for (const [ranks, out] of [[1, killed!], [4, copy]] as const) {
        const { code, err } = await runRanks(ranks, [...train(out), "--resume"]);
        assertEquals(code, 0, err);
        await assertSameTraining(out, one!);
      }

      // Images of the run: the same bytes whatever the number of ranks.
      const sample = ["sample", one!, "--count", "3", "--out"];
      for (const ranks of [1, 2]) {
        const { code, err } = await runRanks(ranks, [...sample, join(folder, `${ranks}.png`)]);
        assertEquals(code, 0, err);
      }
      assertEquals(
        await Deno.readFile(join(folder, "2.png")),
        await Deno.readFile(join(folder, "1.png")),
      );
    }),
});

Deno.test({
  name: "ranks extract the codes that one does",
  ignore: !hasMpi,
  fn: () =>
    inFolder(async (folder) => {
      const images = join(folder, "images");
      for (let i = 0; i < 11; i++) {
        const data = Uint8Array.from({ length: 8 * 8 * 3 }, (_, k) => (k * 7 * (i + 1)) % 256);
        const path = join(images, String(i % 2), `${i}.png`);
        await Deno.mkdir(join(images, String(i % 2)), { recursive: true });
        await writePng(path, { width: 8, height: 8, channels: 3, data });
      }
      await Deno.writeTextFile(join(images, "1", "5.png"), "broken");
      const weights = new URL("fixtures/llamagen_vq/weights.safetensors", import.meta.url).pathname;
      const codes = (ranks: number) => join(folder, `${ranks}.safetensors`);
      for (const ranks of [1, 3]) {
        const options = ["--tokenizer", weights, "--size", "8", "--batch", "4"];
        const args = ["extract", images, ...options, "--out", codes(ranks)];
        const { code, err } = await runRanks(ranks, args);
        assertEquals(code, 0, err);
      }
      assertEquals(await Deno.readFile(codes(3)), await Deno.readFile(codes(1)));
    }),
});

Deno.test({
  name: "ranks measure samples and reconstructions as one does",
  ignore: !hasMpi,
  fn: () =>
    inFolder(async (folder) => {
      await openDevice("wasm");
      const [a, b] = [30, 21].map((count, seed) => {
        return datasetImages(generateShapes({ count, size: 8, classes: 3, seed }));
      });
      const [samples, reference] = [join(folder, "a.npz"), join(folder, "b.npz")];
      await writeImages(samples, a!);
      await writeImages(reference, b!);
      const model = classifier({ height: 8, width: 8, classes: 3, channels: 2, features: 4 });
      const features = join(folder, "classifier.safetensors");
      await saveClassifier(features, model, createParameters(classifierParameters(model), key(1)));
      closeDevices();
      const vq = new URL("fixtures/llamagen_vq/weights.safetensors", import.meta.url).pathname;
      for (const what of [[samples], [vq, "--reconstruction"]]) {
        const options = ["--reference", reference, "--features", features, "--batch", "4"];
        const measured = async (ranks: number) => {
          const args = ["evaluate", ...what, ...options, "--json"];
          const { code, out, err } = await runRanks(ranks, args);
          assertEquals(code, 0, err);
          return JSON.parse(out);
        };
        const alone = await measured(1);
        assert(alone.fid > 0 && (alone.codes?.used ?? alone.recall) > 0, JSON.stringify(alone));
        assertEquals(await measured(2), alone);
      }
    }),
});

Deno.test({
  name: "batches that cannot be cut for the ranks are a mistake of use",
  ignore: !hasMpi,
  fn: () =>
    inFolder(async (folder) => {
      const { code, err } = await runRanks(2, train(folder, "training.batchSize=5"));
      assertEquals(code, 2);
      assertMatch(err, /training.batchSize: expected a multiple of 2 ranks × accumulate 1 but/);
    }),
});
