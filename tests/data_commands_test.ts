/** Converting, extracting and evaluating at the command line. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { openDevice } from "../lib/device.ts";
import { openNpz } from "../lib/formats/npz.ts";
import { decodePng, writePng } from "../lib/formats/png.ts";
import { openSafetensors } from "../lib/formats/safetensors.ts";
import { readConfig } from "../models/config/read.ts";
import { openPackedCodes } from "../models/data/packed_codes.ts";
import { trainRun } from "../models/training/run.ts";
import { assertMisuse, inFolder, run } from "./command_line.ts";

const fixture = (path: string) => fromFileUrl(new URL(`fixtures/${path}`, import.meta.url));

async function works(...args: string[]): Promise<string> {
  const { code, out, err } = await run(args);
  assertEquals(code, 0, `${args.join(" ")}: ${err}`);
  return out;
}

/** Writes some images of a class, stripes of another width each. */
async function writeImages(folder: string, count: number): Promise<void> {
  await Deno.mkdir(folder, { recursive: true });
  for (let i = 0; i < count; i++) {
    const data = Uint8Array.from(
      { length: 12 * 10 * 3 },
      (_, at) => Math.floor(at / 3 / (i + 1)) % 2 * 250,
    );
    await writePng(join(folder, `${i}.png`), { width: 12, height: 10, channels: 3, data });
  }
}

Deno.test("checkpoints are converted, and encode a folder of images", () =>
  inFolder(async (folder) => {
    const gpt = join(folder, "new", "gpt.safetensors"), vq = join(folder, "vq.safetensors");
    const pt = fixture("llamagen_pt/gpt.pt");
    assertMatch(await works("convert", pt, gpt, "--grid", "2x3"), /llamagen-gpt, 18 tensors/);
    {
      await using file = await openSafetensors(gpt);
      assertEquals(JSON.parse(file.metadata.model!).grid, { height: 2, width: 3 });
    }
    await works("convert", fixture("llamagen_vq/weights.safetensors"), vq);
    await assertMisuse(["convert", pt, join(folder, "gpt.bin")], /ends with \.safetensors/);
    await assertMisuse(["convert", "nowhere.pt", vq], /nowhere\.pt/);
    await assertMisuse(["convert", fixture("fmt/masks.json"), vq], /masks\.json/);

    const images = join(folder, "images"), out = join(folder, "codes.safetensors");
    await writeImages(join(images, "cat"), 3);
    await writeImages(join(images, "owl"), 2);
    await Deno.writeTextFile(join(images, "owl", "broken.png"), "no picture");
    const extract = ["extract", images, "--tokenizer", vq];
    const text = await works(...extract, "--size", "8", "--batch", "4", "--out", out);
    assertStringIncludes(text, "5 images in 2 classes, 1 broken left out, 4×4 tokens of 64");
    {
      await using codes = await openPackedCodes(out);
      assertEquals([codes.count, codes.augmentations, codes.vocabulary], [5, 2, 64]);
      const { labels, codes: tokens } = await codes.read([0, 4]);
      assertEquals([...labels], [0, 1]);
      assert(new Set(tokens).size > 1);
    }
    await assertMisuse([...extract, "--size", "8", "--out", out], /is there already/);
    const other = ["--out", join(folder, "other")];
    await assertMisuse([...extract, ...other], /--size <pixels>' not specified/);
    await assertMisuse([...extract, ...other, "--size", "9"], /multiple of 2 but found 9/);
    await assertMisuse([...extract, ...other, "--size", "8", "--strict"], /broken\.png/);
    await assertMisuse(["extract", images, ...other, "--tokenizer", gpt], /tokenizer/);
    await assertMisuse(
      ["extract", "nowhere", ...other, "--tokenizer", vq, "--size", "8"],
      /nowhere/,
    );
  }));

Deno.test("a run encodes images and is evaluated, by a classifier that it keeps", () =>
  inFolder(async (folder) => {
    await openDevice("wasm");
    const trained = join(folder, "run");
    await trainRun(readConfig("smoke"), trained);

    const images = join(folder, "images"), codes = join(folder, "codes");
    await writeImages(images, 3);
    const options = ["--tokenizer", trained, "--layout", "llamagen", "--out", codes];
    assertMatch(await works("extract", images, ...options), /3 images in 1 classes, 4×4 tokens/);
    assertEquals((await Array.fromAsync(Deno.readDir(join(codes, "imagenet8_codes")))).length, 3);

    const npz = join(folder, "samples.npz");
    const first = JSON.parse(
      await works("evaluate", trained, "--count", "40", "--save", npz, "--json"),
    );
    assertEquals(first.counts, { samples: 40, reference: 256 });
    assert(first.fid > 0 && first.inceptionScore >= 1);
    {
      await using file = await openNpz(npz);
      assertEquals(file.entries.get("arr_0")!.shape, [40, 8, 8, 3]);
      const labels = (await file.read("arr_1")).data as BigInt64Array;
      assertEquals([...labels.subarray(0, 5)], [0n, 1n, 2n, 3n, 0n]);
    }
    const again = JSON.parse(await works("evaluate", npz, "--reference", trained, "--json"));
    assertEquals(again, first);
    const classifier = ["--features", join(trained, "classifier.safetensors")];
    const same = await works("evaluate", npz, "--reference", npz, ...classifier);
    assertMatch(same, /FID +0\.000\n[^]*precision +1\.0000\nrecall +1\.0000/);

    const reconstruction = ["--reconstruction", "--count", "30"];
    const quality = JSON.parse(await works("evaluate", trained, ...reconstruction, "--json"));
    assertEquals(quality.counts, { samples: 30, reference: 30 });
    assert(quality.psnr > 0 && quality.ssim < 1 && quality.fid > 0, JSON.stringify(quality));
    const { vocabulary, used, perplexity } = quality.codes;
    assert(vocabulary === 16 && used >= 1 && perplexity < used + 1e-9, JSON.stringify(quality));
    const vq = fixture("llamagen_vq/weights.safetensors");
    const ofFile = ["evaluate", vq, "--reconstruction", "--reference", npz, ...classifier];
    assertMatch(await works(...ofFile), /images +40\n[^]*PSNR +[\d.]+ dB\n[^]*codes +\d+ of 64/);
    const grid = decodePng(await Deno.readFile(join(trained, "reconstructions.png")));
    assertEquals([grid.width, grid.height], [2 + 16 * 10, 2 + 8 * 10]);
    const drawn = await Array.fromAsync(Deno.readDir(join(trained, "reconstructions")));
    assertEquals(drawn.map(({ name }) => name).toSorted(), ["step-000010.png", "step-000020.png"]);
    await assertMisuse(["evaluate", npz, "--reconstruction"], /--reference .* not specified/);
    await assertMisuse([...ofFile.with(1, npz)], /archive of torch\.save/);

    await assertMisuse(["evaluate", "nowhere"], /nowhere/);
    await assertMisuse(["evaluate", npz], /--reference <run\|folder\|npz>' not specified/);
    await assertMisuse(["evaluate", npz, "--reference", npz], /--features <file>' not specified/);
    const wrong = ["--features", join(trained, "model.safetensors")];
    await assertMisuse(["evaluate", npz, "--reference", npz, ...wrong], /and \d+ more/);
    await assertMisuse(
      ["evaluate", images, "--reference", npz, ...classifier],
      /8×8 but found 10×10/,
    );
  }));
