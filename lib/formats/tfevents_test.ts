import { assert, assertEquals, assertThrows } from "@std/assert";
import { crc32c, readEvents } from "../../tests/tfevents.ts";
import { encodePng, type Image } from "./png.ts";
import { encodeEvent, eventFileHead } from "./tfevents.ts";

const image: Image = { width: 3, height: 2, channels: 3, data: new Uint8Array(18).fill(9) };
const png = encodePng(image);

function file(): Uint8Array {
  const parts = [
    eventFileHead(1.7e9),
    encodeEvent({ time: 1.7e9 + 0.25, step: 0, values: [{ tag: "model/loss", scalar: 2.5 }] }),
    encodeEvent({
      time: 1.7e9 + 1,
      step: 5_000_000_000, // more than 32 bits
      values: [{ tag: "ä", scalar: -1e-30 }, { tag: "b", scalar: NaN }],
    }),
    encodeEvent({ time: 1.7e9 + 2, step: 7, values: [{ tag: "s", image: { ...image, png } }] }),
  ];
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

Deno.test("an independent reader finds every event, with right checksums", () => {
  assertEquals(crc32c(new TextEncoder().encode("123456789")), 0xe3069283);
  const [version, start, first, second, third, ...rest] = readEvents(file());
  assertEquals(rest, []);
  assertEquals([version!.fileVersion, version!.wallTime], ["brain.Event:2", 1.7e9]);
  assertEquals(start!.sessionLog!.status, "START");
  assertEquals([first!.step, first!.wallTime], [0, 1.7e9 + 0.25]);
  const values = (event: typeof first) =>
    event!.summary!.value.map(({ tag, simpleValue }) => [tag, simpleValue]);
  assertEquals(values(first), [["model/loss", 2.5]]);
  assertEquals(second!.step, 5_000_000_000);
  assertEquals(values(second), [["ä", Math.fround(-1e-30)], ["b", NaN]]);
  const found = third!.summary!.value[0]!.image!;
  assertEquals([found.width, found.height, found.colorspace], [3, 2, 3]);
  assertEquals(Uint8Array.from(found.encodedImageString), png);
});

Deno.test("the reader notices every changed byte", () => {
  const whole = file();
  for (let at = 0; at < whole.length; at += 3) {
    const changed = whole.slice();
    changed[at]! ^= 4;
    assertThrows(() => readEvents(changed), Error, "readEvents");
  }
  assertThrows(() => readEvents(whole.subarray(0, -1)), Error, "cut off");
});

Deno.test("a step is a whole number", () => {
  for (const step of [-1, 0.5, NaN]) {
    const error = assertThrows(() => encodeEvent({ time: 0, step, values: [] }), RangeError);
    assert(String(error).includes(`found ${step}`));
  }
});
