// Tests of decoding images: right pixels from whole files, errors from all others.
import { assert, assertEquals, assertRejects } from "@std/assert";
import encodeJpeg from "npm:@jsquash/jpeg@1.6.0/encode.js";
import { encodePng } from "../../lib/formats/png.ts";
import { randomBits } from "../../lib/random/threefry.ts";
import fixture from "../../tests/fixtures/preprocess.json" with { type: "json" };
import { decodeImage } from "./decode_image.ts";

const [width, height] = [40, 30];

async function exampleJpeg(): Promise<Uint8Array<ArrayBuffer>> {
  const data = Uint8ClampedArray.from(
    { length: width * height * 4 },
    (_, i) => 128 + 100 * Math.sin(i / 37) + 20 * Math.cos(i * i),
  );
  return new Uint8Array(await encodeJpeg(new ImageData(data, width, height), { quality: 90 }));
}

Deno.test("a JPEG image has the pixels that Pillow decodes", async () => {
  const { file, size, data } = fixture.jpeg;
  const image = await decodeImage(Uint8Array.fromBase64(file));
  assertEquals([image.width, image.height, image.channels], [size[0], size[1], 3]);
  assertEquals(image.data, Uint8Array.fromBase64(data));
});

Deno.test("PNG images of RGB and RGBA become RGB", async () => {
  const rgba = { width: 1, height: 1, channels: 4, data: new Uint8Array([9, 8, 7, 6]) } as const;
  assertEquals((await decodeImage(encodePng(rgba))).data, new Uint8Array([9, 8, 7]));
  const rgb = { width: 1, height: 1, channels: 3, data: new Uint8Array([5, 4, 3]) } as const;
  assertEquals(await decodeImage(encodePng(rgb)), rgb);
});

Deno.test("an image cut off anywhere is an error", async () => {
  const jpeg = await exampleJpeg();
  const rgb = { width, height, channels: 3, data: new Uint8Array(width * height * 3) } as const;
  for (const [format, bytes] of [["JPEG", jpeg], ["PNG", encodePng(rgb)]] as const) {
    for (const part of [0.05, 0.3, 0.5, 0.9, 0.999]) {
      const cut = bytes.slice(0, Math.floor(part * bytes.length));
      await assertRejects(() => decodeImage(cut), Error, `Broken ${format} image: `);
    }
  }
  await assertRejects(() => decodeImage(new Uint8Array(0)), Error, "Broken image");
  await assertRejects(() => decodeImage(jpeg.slice(1)), Error, "signature");
});

Deno.test("an image that claims too many pixels, or none, or CMYK is refused undecoded", async () => {
  const jpeg = await exampleJpeg();
  const frame = jpeg.findIndex((byte, i) => byte === 0xff && [0xc0, 0xc2].includes(jpeg[i + 1]));
  const changed = (change: [at: number, byte: number][]) => {
    const copy = jpeg.slice();
    for (const [at, byte] of change) copy[frame + at] = byte;
    return copy;
  };
  const huge = changed([[5, 0xff], [7, 0xff]]);
  await assertRejects(() => decodeImage(huge), Error, "100000000 pixels but found 65320x65310");
  const lying = changed([[5, 0x20], [7, 0x20]]);
  await assertRejects(() => decodeImage(lying), Error, "bytes cannot hold the 82");
  const empty = changed([[5, 0], [6, 0]]);
  await assertRejects(() => decodeImage(empty), Error, "found 40x0");
  await assertRejects(() => decodeImage(changed([[9, 4]])), Error, "CMYK");

  const png = encodePng({ width: 1, height: 1, channels: 1, data: new Uint8Array(1) }).slice();
  png.set([0x7f, 0xff, 0xff, 0xff], 16);
  await assertRejects(() => decodeImage(png), Error, "Broken PNG image: expected 1 to");
});

Deno.test("random damage to a JPEG image gives a clean error or an image, again and again", async () => {
  const jpeg = await exampleJpeg();
  let errors = 0;
  for (let trial = 0; trial < 300; trial++) {
    const [where, byte, more] = randomBits([7, trial], 3);
    const damaged = jpeg.slice();
    damaged[where % jpeg.length] = byte;
    if (trial % 3 === 0) {
      damaged.fill(more, (where >> 3) % jpeg.length, (where >> 3) % jpeg.length + 9);
    }
    try {
      const image = await decodeImage(damaged);
      assertEquals(image.data.length, image.width * image.height * 3);
    } catch (error) {
      errors++;
      assert(/^Broken (JPEG )?image: /.test((error as Error).message), String(error));
    }
  }
  assert(errors > 30 && errors < 300, `${errors} of 300 were errors`);
  assertEquals((await decodeImage(jpeg)).width, width);
});

Deno.test("images decoded at once do not share their faults", async () => {
  const jpeg = await exampleJpeg();
  const results = await Promise.allSettled(
    [jpeg, jpeg.slice(0, 300), jpeg, new Uint8Array([0xff, 0xd8, 1]), jpeg].map(decodeImage),
  );
  assertEquals(
    results.map(({ status }) => status),
    ["fulfilled", "rejected", "fulfilled", "rejected", "fulfilled"],
  );
});
