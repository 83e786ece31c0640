/** Findings follow from results, and only from those that were measured. */
import { assert, assertEquals } from "@std/assert";
import { experiments, samplingName } from "./experiments.ts";
import { judge } from "./findings.ts";
import type { StudyResult } from "./record.ts";

/** Results of all experiments, with FIDs by recipe and sampling. */
function resultsOf(fid: (recipe: string, sampling: string) => number): StudyResult[] {
  return experiments(49).map(({ recipe, samplings }) => ({
    recipe,
    loss: 1,
    measures: Object.fromEntries(
      samplings.map(samplingName).map((name) => [name, { fid: fid(recipe, name), accuracy: 1 }]),
    ),
  }));
}

/** The paper's world: what it found is so. */
function asInThePaper(recipe: string, sampling: string): number {
  const few = !sampling.includes("-49-");
  if (recipe === "raster-N-cosine") return !few ? 5 : sampling.startsWith("raster") ? 20 : 80;
  if (recipe === "next-scale") return 12;
  if (recipe === "random-2-random+loss-all") return 29;
  const isFull = sampling.endsWith("+full");
  if (recipe === "random-2-mar+full-decoder") return 7;
  if (recipe.startsWith("random-2-mar")) return isFull ? 8 : 9;
  return (recipe.includes("-16-") ? 7 : 8) + (isFull ? 2 : 0);
}

Deno.test("every finding is judged, and reproduced where results are the paper's", () => {
  const found = judge(resultsOf(asInThePaper), 49);
  assertEquals(found.length, 9);
  for (const { statement, isReproduced, here } of found) {
    assert(isReproduced, `${statement} ${here}`);
  }
});

Deno.test("no finding is reproduced where results say the contrary", () => {
  const contrary = (recipe: string, sampling: string) =>
    recipe === "raster-N-cosine" ? 92.5 : 100 - asInThePaper(recipe, sampling);
  const found = judge(resultsOf(contrary), 49);
  assertEquals(found.length, 9);
  assertEquals(found.filter(({ isReproduced }) => isReproduced), []);
});

Deno.test("what was not measured is not judged", () => {
  const some = resultsOf(asInThePaper).filter(({ recipe }) =>
    ["next-scale", "raster-N-cosine"].includes(recipe)
  );
  assertEquals(judge(some, 49).map(({ here }) => here), ["12.0 against 5.00"]);
});
