/**
 * The recipe of a SAR model: order, number of sets, interval schedule and loss rule as plain data, with a
 * name that reads and prints it: `<order>-<K>-<schedule>`.
 */
import { z } from "npm:zod@4.6.7";
import { SCHEDULE_NAMES } from "./intervals.ts";
import { ORDER_NAMES } from "./order.ts";

/** Recipes with a name of their own. */
export const PRESETS = {
  /** One token a step, row by row. */
  ar: "raster-N-cosine",
  /** Coarse to fine; sets of 1, 4, 16, … tokens. */
  "var-like": "next-scale",
  /** A random part is known, the rest is predicted at once; no loss on the known part. */
  mar: "random-2-mar",
  /** The paper's transition state: a fresh order for each sample, 16 random sets. */
  "sar-ts": "random-16-random",
} as const;

const GRAMMAR = "<order>[:seed]-<K or N>-<schedule or sizes like 1,4,11>" +
  "[+loss-all|+loss-last][+full-decoder], <order>-next-scale, next-scale or " +
  Object.keys(PRESETS).join(", ");

const NAME_PATTERN = new RegExp(
  `^(?:next-scale|(?<order>${ORDER_NAMES.join("|")})(?::(?<seed>\\d+))?-` +
    `(?:next-scale|(?<sets>\\d+|N)-(?<schedule>${SCHEDULE_NAMES.join("|")}|\\d+(?:,\\d+)*)))` +
    `(?:\\+loss-(?<loss>all|last))?(?<full>\\+full-decoder)?$`,
);

const recipeFields = z.strictObject({
  order: z.union([z.enum(ORDER_NAMES), z.array(z.int().nonnegative()).min(1)]).default("random")
    .describe("Order of the tokens: a name, or a permutation of the grid's cells"),
  seed: z.int().nonnegative().default(0)
    .describe("Seed of the order fixed-random"),
  sets: z.union([z.int().positive(), z.literal("N")]).optional()
    .describe("Number of sets K; N for one token each; follows from schedule where that is a list"),
  schedule: z.union([
    z.enum([...SCHEDULE_NAMES, "next-scale"]),
    z.array(z.int().positive()).min(1),
  ]).default("random")
    .describe("How the sequence is cut into sets: a name, or the list of set sizes"),
  loss: z.enum(["all", "last"]).optional()
    .describe("Sets that the loss counts: all, or the last only (the default where K = 2)"),
  fullDecoder: z.boolean().default(false)
    .describe("Whether decoder self-attention is full instead of masked"),
});

type RecipeFields = z.output<typeof recipeFields>;

/** A recipe with every field decided. */
export interface Recipe extends Omit<RecipeFields, "sets" | "loss"> {
  /** Number of sets, or "N" for one token each; "grid" where next-scale makes it follow from the grid. */
  readonly sets: number | "N" | "grid";
  readonly loss: "all" | "last";
}

/**
 * Zod schema of a recipe: reads a name or an object, gives a {@link Recipe}. The loss counts all sets,
 * except where K = 2, the MAR end, whose first set is given and not predicted.
 */
export const recipeSchema = z.preprocess((value, context) => {
  if (typeof value !== "string") return withoutGridSets(value);
  const fields = readName(value);
  if (fields) return fields;
  context.addIssue({ code: "custom", message: `expected ${GRAMMAR} but found "${value}"` });
  return z.NEVER;
}, recipeFields).transform((fields, context): Recipe => {
  const { order, seed, schedule } = fields;
  const fail = (path: keyof RecipeFields, message: string) =>
    context.addIssue({ code: "custom", path: [path], message });
  if (seed !== 0 && order !== "fixed-random") {
    fail("seed", `expected a seed only with the order fixed-random but found order ${order}`);
  }
  const decided = Array.isArray(schedule)
    ? schedule.length
    : schedule === "next-scale"
    ? "grid"
    : undefined;
  if (decided !== undefined && fields.sets !== undefined && fields.sets !== decided) {
    fail("sets", `expected ${decided} sets for this schedule but found ${fields.sets}`);
  }
  const sets = decided ?? fields.sets ?? (schedule === "mar" ? 2 : 16);
  if (schedule === "mar" && sets !== 2) {
    fail("sets", `expected 2 sets for the schedule mar but found ${sets}`);
  }
  return { ...fields, sets, loss: fields.loss ?? defaultLoss(sets) };
}).describe(`Recipe: ${GRAMMAR}, or an object`);

/** What describes a recipe: its name, or an object of which every field has a default. */
export type RecipeInput = string | Partial<Recipe>;

/**
 * Reads a recipe.
 *
 * Names: `<order>-<K>-<schedule>` as in the paper (`random-16-random`); K may be `N`, one token a step on any
 * grid; the schedule may be a list of set sizes (`random-3-1,4,11`); `fixed-random:7-16-random` has seed 7;
 * `next-scale` is order and sizes in one, `<order>-next-scale` takes the sizes only; `+loss-all`, `+loss-last` and
 * `+full-decoder` follow. The presets are `ar`, `var-like`, `mar` and `sar-ts`.
 *
 * @param input a name, or an object with any of the fields of {@link Recipe}
 * @returns the recipe with every field decided
 * @throws RangeError if the name or a field is not valid
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { parseRecipe } from "./recipe.ts";
 *
 * const recipe = parseRecipe("fixed-random-16-random");
 * assertEquals([recipe.order, recipe.sets, recipe.schedule], ["fixed-random", 16, "random"]);
 * assertEquals(parseRecipe({ order: "raster", sets: "N" }).loss, "all");
 * ```
 */
export function parseRecipe(input: RecipeInput): Recipe {
  const parsed = recipeSchema.safeParse(input);
  if (parsed.success) return parsed.data;
  const { path, message } = parsed.error.issues[0];
  throw new RangeError(
    `parseRecipe: ${path.map((step) => `${String(step)}: `).join("")}${message}`,
  );
}

/**
 * The canonical name of a recipe, which `parseRecipe` reads back. A user's permutation has no name: its
 * recipe prints as `custom-…`, to be read only.
 *
 * @param recipe the recipe
 * @returns its name
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { parseRecipe, recipeName } from "./recipe.ts";
 *
 * assertEquals(recipeName(parseRecipe("mar")), "random-2-mar");
 * assertEquals(recipeName(parseRecipe({ sets: 2, loss: "all" })), "random-2-random+loss-all");
 * ```
 */
export function recipeName(recipe: Recipe): string {
  const { seed, sets, schedule, loss, fullDecoder } = recipe;
  const order = Array.isArray(recipe.order) ? "custom" : recipe.order;
  const base = schedule !== "next-scale"
    ? `${order}${seed === 0 ? "" : `:${seed}`}-${sets}-${schedule}`
    : order === "next-scale"
    ? order
    : `${order}${seed === 0 ? "" : `:${seed}`}-next-scale`;
  return base + (loss === defaultLoss(sets) ? "" : `+loss-${loss}`) +
    (fullDecoder ? "+full-decoder" : "");
}

function defaultLoss(sets: Recipe["sets"]): "all" | "last" {
  return sets === 2 ? "last" : "all";
}

/** "grid" says that the schedule decides, as leaving `sets` out does: a decided recipe reads back. */
function withoutGridSets(value: unknown): unknown {
  if (value === null || typeof value !== "object" || !("sets" in value)) return value;
  return value.sets === "grid" ? { ...value, sets: undefined } : value;
}

function readName(name: string): z.input<typeof recipeFields> | undefined {
  const preset = Object.hasOwn(PRESETS, name) ? PRESETS[name as keyof typeof PRESETS] : name;
  const match = NAME_PATTERN.exec(preset);
  if (!match) return undefined;
  const { order, seed, sets, schedule, loss, full } = match.groups as Record<
    string,
    string | undefined
  >;
  return {
    order: (order ?? "next-scale") as RecipeFields["order"],
    seed: Number(seed ?? 0),
    sets: sets === undefined || sets === "N" ? sets : Number(sets),
    schedule: schedule === undefined
      ? "next-scale"
      : /^\d/.test(schedule)
      ? schedule.split(",").map(Number)
      : schedule as RecipeFields["schedule"],
    loss: loss as RecipeFields["loss"],
    fullDecoder: full !== undefined,
  };
}
