/** `recipes`: what a recipe can be made of, and pictures of recipes. */
import { dirname } from "node:path";
import { writePng } from "../lib/formats/png.ts";
import { keyFromSeed } from "../lib/random/threefry.ts";
import { drawRecipe } from "../models/sar/picture.ts";
import type { Grid, OrderName } from "../models/sar/order.ts";
import type { ScheduleName } from "../models/sar/intervals.ts";
import { parseRecipe, PRESETS, recipeName } from "../models/sar/recipe.ts";
import { drawSampling } from "../models/sar/sampling.ts";
import { table } from "./table.ts";
import { checked, UsageError } from "./usage.ts";

/** Options of `recipes`. */
export interface RecipesOptions {
  readonly draw?: string;
  readonly grid: Grid;
  readonly out?: string;
  readonly seed: number;
}

const orders: Record<OrderName, string> = {
  raster: "row by row",
  column: "column by column",
  snake: "row by row, every other row backwards",
  "spiral-in": "clockwise from the top left corner to the middle",
  "spiral-out": "the same backwards",
  "z-curve": "Morton's curve; on other grids than squares of 2^n, that of the enclosing one",
  hilbert: "Hilbert's curve, likewise",
  subsample: "each quarter of the sequence is a grid of every other row and column",
  halton: "the low-discrepancy points of Halton",
  "next-scale": "coarse to fine: grids of 1, 2×2, 4×4, … cells",
  random: "drawn afresh for every image",
  "fixed-random": "drawn once; fixed-random:7 by the seed 7",
};

const schedules: Record<ScheduleName | "next-scale" | "1,4,11", string> = {
  random: "every way to cut is equally likely",
  mar: "two sets, the second a share of 0.7 to 1 as in MAR",
  cosine: "small sets first",
  arccos: "nearly equal sets, the last ones larger",
  uniform: "equal sets",
  "next-scale": "as many tokens as a scale adds; in place of K and schedule",
  "1,4,11": "a list of sizes",
};

const presets: Record<keyof typeof PRESETS, string> = {
  ar: "one token a step",
  "var-like": "scale by scale",
  mar: "a random part is known, the loss counts the rest",
  "sar-ts": "the paper's transition state",
};

/** Lists orders, schedules and presets, or draws a recipe. */
export async function recipes({ draw, grid, out, seed }: RecipesOptions): Promise<void> {
  if (draw === undefined) return list();
  if (out === undefined) throw new UsageError("required option '--out <file>' not specified");
  // An order alone is drawn one token a step.
  const recipe = await checked(() =>
    parseRecipe(Object.hasOwn(orders, draw) && draw !== "next-scale" ? `${draw}-N-cosine` : draw)
  );
  const { order, intervals } = await checked(() =>
    drawSampling(recipe, grid, keyFromSeed(seed), 1)
  );
  await checked(() => Deno.mkdir(dirname(out), { recursive: true }));
  await checked(() => writePng(out, drawRecipe(grid, order, intervals)));
  const sizes = intervals.length > 32 ? `${intervals.length} sets` : `sets of ${intervals}`;
  console.log(
    `Wrote ${out}: ${recipeName(recipe)} on ${grid.height}×${grid.width}, ${sizes}; ` +
      "left the order, right the sets",
  );
}

function list(): void {
  const rows = (title: string, entries: readonly (readonly string[])[]) =>
    console.log(`${title}\n${table(entries.map(([name, ...rest]) => [`  ${name}`, ...rest]))}\n`);
  console.log("A recipe is <order>-<K>-<schedule>: K sets, or N for one token each.\n");
  rows(
    "Presets",
    Object.entries(presets).map(([name, help]) => [
      name,
      PRESETS[name as keyof typeof PRESETS],
      help,
    ]),
  );
  rows("Orders", Object.entries(orders));
  rows("Schedules", Object.entries(schedules));
  rows("Endings", [
    [
      "+loss-all, +loss-last",
      "sets that the loss counts (default: the last where K = 2, else all)",
    ],
    ["+full-decoder", "queries of all sets see each other"],
  ]);
}
