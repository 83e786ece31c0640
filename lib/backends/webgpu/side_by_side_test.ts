import { assertEquals } from "@std/assert";
import type { Step } from "../../compiler/plan.ts";
import { putSideBySide } from "./side_by_side.ts";

/** A loop of a form on buffers: `form reads > writes`, each buffer being one letter. */
function loop(text: string): Step & { kind: "loop" } {
  const [name, reads, writes] = text.split(/[ >]+/) as [string, string, string];
  const ids = (letters: string) => [...letters].map((letter) => letter.charCodeAt(0));
  const kernel = { rows: [4], columns: [], passes: [], rowStores: [] };
  return { kind: "loop", name, kernel, reads: ids(reads), writes: ids(writes) };
}

/** What runs together, as text. */
function placed(texts: string[], shared = "", most = 100): string[] {
  const steps = texts.map((text, number) => ({ number, step: loop(text) }));
  const memory = (id: number) => shared.includes(String.fromCharCode(id)) ? "shared" : String(id);
  return putSideBySide(steps, ({ name }) => name, memory, most)
    .map(({ members }) => members.map(({ number }) => texts[number]).join(" & "));
}

Deno.test("loops of one form that do not depend on each other run side by side", () => {
  assertEquals(placed(["f a > b", "g c > d", "f e > h"]), ["f a > b & f e > h", "g c > d"]);
});

Deno.test("a loop stays behind what it reads, and behind the readers of what it writes", () => {
  assertEquals(placed(["f a > b", "f b > c"]), ["f a > b", "f b > c"]);
  assertEquals(placed(["f a > b", "g b > c", "f c > d"]), ["f a > b", "g b > c", "f c > d"]);
  assertEquals(placed(["f a > b", "g c > d", "f e > c"]), ["f a > b", "g c > d", "f e > c"]);
  assertEquals(placed(["f a > b", "g c > d", "f e > d"]), ["f a > b", "g c > d", "f e > d"]);
});

Deno.test("values in the same memory keep their order", () => {
  assertEquals(placed(["f a > b", "f c > d"], "bd"), ["f a > b", "f c > d"]);
  assertEquals(placed(["f a > b", "f c > d"], "bc"), ["f a > b", "f c > d"]);
  assertEquals(placed(["f a > b", "f c > d"], "ac"), ["f a > b & f c > d"]);
});

Deno.test("a dispatch binds no more buffers than it may, counting shared ones once", () => {
  const steps = ["f xa > b", "f xc > d", "f xe > g"];
  assertEquals(placed(steps, "", 5), ["f xa > b & f xc > d", "f xe > g"]);
  assertEquals(placed(steps, "", 7), ["f xa > b & f xc > d & f xe > g"]);
});
