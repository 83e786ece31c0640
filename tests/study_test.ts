/** The study from the command line to its report. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { assertMisuse, inFolder, run } from "./command_line.ts";

const study = (out: string, recipes: string) => {
  const tokenizer = ["--set", "tokenizerTraining.steps=2", "--set", "data.count=128"];
  const size = ["--steps", "2", "--samples", "8", "--recipes", recipes];
  return ["study", "--config", "smoke", "--out", out, ...size, ...tokenizer];
};

Deno.test("the study trains and samples recipes, goes on after a kill, and reports", () =>
  inFolder(async (folder) => {
    const out = join(folder, "study");
    const args = study(out, "raster-N-cosine,random-2-mar+full-decoder,next-scale");
    const record = join(out, "study.json");
    const results = async () => JSON.parse(await Deno.readTextFile(record)).results;
    const hasOne = () => results().then(({ length }) => length > 0, () => false);
    await run(args, hasOne);
    const before = await results();
    const { code, err } = await run(args);
    assertEquals(code, 0, err);
    const after = await results();
    assertEquals(after.slice(0, before.length), before);
    assertEquals(after.length, 3);
    for (const { loss, measures } of after) {
      assert(Number.isFinite(loss));
      for (const { fid, accuracy } of Object.values<{ fid: number; accuracy: number }>(measures)) {
        assert(fid > 0 && accuracy >= 0 && accuracy <= 1);
      }
    }
    const html = await Deno.readTextFile(join(out, "report.html"));
    assertStringIncludes(html, "Next-scale on tokens of one scale is behind raster");
    assertStringIncludes(html, "deno task study --config smoke");
    assertMatch(html, /<svg[^]*data:image\/png;base64/);
    assertEquals(html.match(/(src|href)="(?!data:)/), null);
    await assertMisuse(
      [...args, "--samples", "9"],
      /study\.json: expected a study with the settings/,
    );
  }));

Deno.test("wrong use of the study is one line", async () => {
  await assertMisuse(study("nowhere", "random-3-arccos"), /random-3-arccos/);
  await assertMisuse(["study", "--config", "nothing", "--out", "nowhere"], /nothing/);
});
