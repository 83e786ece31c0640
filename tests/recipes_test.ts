/** Recipes at the command line. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { decodePng } from "../lib/formats/png.ts";
import { ORDER_NAMES } from "../models/sar/order.ts";
import { SCHEDULE_NAMES } from "../models/sar/intervals.ts";
import { PRESETS } from "../models/sar/recipe.ts";
import { assertMisuse, inFolder, run } from "./command_line.ts";

Deno.test("recipes lists every order, schedule and preset", async () => {
  const { code, out } = await run(["recipes"]);
  assertEquals(code, 0);
  for (const name of [...ORDER_NAMES, ...SCHEDULE_NAMES, ...Object.keys(PRESETS)]) {
    assertStringIncludes(out, `  ${name} `);
  }
});

Deno.test("recipes draws a recipe, or an order by name, on any grid", () =>
  inFolder(async (folder) => {
    const path = join(folder, "pictures", "recipe.png");
    const draw = async (...options: string[]) => {
      const { code, out, err } = await run(["recipes", "--out", path, ...options]);
      assertEquals(code, 0, err);
      return { out, bytes: await Deno.readFile(path) };
    };
    const first = await draw("--draw", "sar-ts", "--grid", "4x6");
    assertStringIncludes(first.out, "random-16-random on 4×6, sets of ");
    const { width, height } = decodePng(first.bytes);
    assertEquals([width, height], [36 + 2 * (6 * 30 - 2), 24 + 4 * 30 - 2]);
    assertEquals((await draw("--draw", "sar-ts", "--grid", "4x6")).bytes, first.bytes);
    const other = await draw("--draw", "sar-ts", "--grid", "4x6", "--seed", "1");
    assertEquals(String(other.bytes) === String(first.bytes), false);
    assertStringIncludes((await draw("--draw", "hilbert")).out, "hilbert-N-cosine on 16×16, 256");

    await assertMisuse(["recipes", "--draw", "sar-ts"], /--out <file>' not specified/);
    await assertMisuse(["recipes", "--draw", "best", "--out", path], /found "best"/);
    await assertMisuse(["recipes", "--grid", "4"], /rows and columns such as 16x16/);
    const small = ["recipes", "--draw", "sar-ts", "--grid", "3x3", "--out", path];
    await assertMisuse(small, /1\.\.9 but found 16/);
  }));
