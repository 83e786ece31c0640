/** Editing at the command line, and with a run in code. */
import { assert, assertEquals, assertNotEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { openDevice } from "../lib/device.ts";
import { decodePng, type Image, writePng } from "../lib/formats/png.ts";
import { tensor } from "../lib/tensor.ts";
import { readConfig } from "../models/config/read.ts";
import { tokenizerKind } from "../models/kinds/tokenizer.ts";
import { editImage } from "../models/training/edit.ts";
import { openRun, trainRun } from "../models/training/run.ts";
import { assertMisuse, inFolder, run } from "./command_line.ts";

const image = (width: number, height: number, value: (x: number, y: number) => number): Image => ({
  width,
  height,
  channels: 1,
  data: Uint8Array.from(
    { length: width * height },
    (_, i) => value(i % width, Math.floor(i / width)),
  ),
});

Deno.test("a run edits images: masks of any shape, smaller images, other classes", () =>
  inFolder(async (folder) => {
    await openDevice("wasm");
    const trained = join(folder, "run");
    await trainRun(readConfig("smoke"), trained);

    const square = image(8, 8, (x, y) => x > 1 && x < 6 && y > 1 && y < 6 ? 255 : 0);
    const diagonal = image(8, 8, (x, y) => x > y ? 255 : 0);
    const files = { square: join(folder, "square.png"), mask: join(folder, "mask.png") };
    await writePng(files.square, square);
    await writePng(files.mask, diagonal);
    const edit = async (name: string, ...options: string[]) => {
      const out = join(folder, name);
      const result = await run(["edit", trained, "--out", out, ...options]);
      assertEquals(result.code, 0, result.err);
      return { text: result.out, picture: await Deno.readFile(out) };
    };
    const inpaint = ["--image", files.square, "--mask", files.mask, "--temperature", "3"];
    const first = await edit("first.png", ...inpaint);
    assertStringIncludes(first.text, "kept 6 of 16 tokens, drew 10");
    const { width, height, channels } = decodePng(first.picture);
    assertEquals([width, height, channels], [8, 8, 1]);
    assertEquals((await edit("again.png", ...inpaint)).picture, first.picture);
    assertNotEquals((await edit("other.png", ...inpaint, "--seed", "4")).picture, first.picture);

    const small = join(folder, "small.png");
    await writePng(small, image(4, 4, () => 200));
    const outpainted = await edit("out.png", "--image", small, "--count", "4", "--class", "1");
    assertStringIncludes(outpainted.text, "kept 4 of 16 tokens, drew 12");
    assertEquals(decodePng(outpainted.picture).width, 2 + 2 * 10);

    const to = ["--out", join(folder, "never.png")];
    const misuse = (options: string[], message: RegExp) =>
      assertMisuse(["edit", trained, ...to, ...options], message);
    await misuse([], /--image <file>' not specified/);
    await misuse(["--image", "no.png"], /no\.png/);
    await misuse(["--image", join(trained, "config.json")], /config\.json: Broken PNG/);
    await misuse(["--image", small, "--mask", files.mask], /a mask of 4×4 .* found 8×8/);
    await misuse(["--image", small, "--place", "5,0"], /4×4 at 5,0/);
    await misuse(["--image", small, "--class", "4"], /0\.\.3 but found 4/);

    // The tokens of an image that keeps all are its own, and a class of the result changes drawn tokens only.
    const opened = await openRun(trained);
    const { config, tokenizer } = opened;
    const pixels = Float32Array.from(square.data, (value) => value / 127.5 - 1);
    const codes = tokenizerKind(config.tokenizer).encode(
      config.tokenizer,
      tokenizer,
      tensor(pixels, { shape: [1, 1, 8, 8] }),
    );
    const all = await editImage(opened, { image: square, seed: 0 }, config.sampling);
    assertEquals([all.kept, all.total], [16, codes.size]);
    const ofClass = async (label: number) =>
      (await editImage(opened, { image: square, mask: diagonal, label, seed: 0 }, {
        ...config.sampling,
        guidance: 1e5, // a model of so few steps hardly knows classes
      })).images[0]!.data;
    const classes = await Promise.all([0, 1, 2, 3].map(ofClass));
    assert(new Set(classes.map(String)).size > 1);
  }));
