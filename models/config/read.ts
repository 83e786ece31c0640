/** Reading configurations of runs: by name, from plain data, with fields set by their dotted paths. */
import { z } from "npm:zod@4.6.7";
import { tokenGrid, vqSchema } from "../vq/config.ts";
import { type ConfigName, namedConfigs } from "./named.ts";
import { type RunConfig, runSchema } from "./schema.ts";

/** Plain data, such as a file of JSON holds. */
type Json = Record<string, unknown>;

/**
 * Reads the configuration of a run. Sizes of the tokenizer's images and the model's `vocabulary`, `classes` and
 * `grid` follow from the other fields where they are left out.
 *
 * @param input Any of the fields of {@link RunConfig}, or the name of a configuration.
 * @param settings Fields to set, as `path=value`: a dotted path, and JSON or else a text.
 * @returns The configuration, every field checked and filled in.
 * @throws {RangeError} If the name or a field is unknown, a value is wrong, or fields do not fit each other; the
 * message names the path.
 *
 * @example
 * ```ts
 * import { assertEquals, assertThrows } from "@std/assert";
 * import { readConfig } from "./read.ts";
 *
 * const config = readConfig("smoke", ["model.dim=32", "recipe=ar"]);
 * assertEquals([config.model.dim, config.model.vocabulary, config.recipe.sets], [32, 16, "N"]);
 * assertThrows(() => readConfig("smoke", ["model.width=3"]), RangeError, "model.width");
 * ```
 */
export function readConfig(input: unknown, settings: readonly string[] = []): RunConfig {
  if (typeof input === "string") {
    if (!Object.hasOwn(namedConfigs, input)) {
      throw new RangeError(
        `expected a configuration of ${Object.keys(namedConfigs).join(", ")} but found ${input}`,
      );
    }
    input = namedConfigs[input as ConfigName];
  }
  if (!isObject(input)) throw new RangeError(`expected an object with fields but found ${input}`);
  const fields = structuredClone(input);
  for (const setting of settings) setField(fields, setting);
  const parsed = runSchema.safeParse(withSizes(fields));
  if (parsed.success) return parsed.data;
  throw new RangeError(describeIssue(parsed.error.issues[0]!));
}

/** Sets one field of plain data. */
function setField(fields: Json, setting: string): void {
  const [path, text] = /^([^=]+)=(.*)$/s.exec(setting)?.slice(1) ?? [];
  if (path === undefined || text === undefined) {
    throw new RangeError(`expected key=value but found ${setting}`);
  }
  const names = path.split(".");
  const last = names.pop()!;
  let place = fields;
  for (const name of names) {
    const inner = Object.hasOwn(place, name) ? place[name] : place[name] = {};
    if (typeof inner !== "object" || inner === null) {
      throw new RangeError(`${path}: expected ${name} to have fields but found ${inner}`);
    }
    place = inner as Json;
  }
  place[last] = parseValue(text);
}

function parseValue(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Fills in sizes that follow from other fields; what is no valid input is left to the schema. */
function withSizes(fields: Json): Json {
  const { data = {}, tokenizer = {}, model = {} } = fields;
  if (!isObject(data) || !isObject(tokenizer) || !isObject(model)) return fields;
  const side = data.size ?? 28;
  const images = { ...fields, tokenizer: { imageHeight: side, imageWidth: side, ...tokenizer } };
  const checked = vqSchema.safeParse(images.tokenizer);
  if (!checked.success) return images;
  const sizes = {
    vocabulary: checked.data.codes,
    classes: data.classes ?? 10,
    grid: tokenGrid(checked.data),
  };
  const grid = isObject(model.grid) ? { ...sizes.grid, ...model.grid } : model.grid ?? sizes.grid;
  return { ...images, model: { ...sizes, ...model, grid } };
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** `training.steps: expected a number > 0`. */
function describeIssue(issue: z.core.$ZodIssue): string {
  const path = issue.path.map(String);
  if (issue.code === "unrecognized_keys") {
    return `${[...path, issue.keys[0]].join(".")}: unknown field`;
  }
  return [path.join("."), issue.message].filter((part) => part !== "").join(": ");
}

/** A field of the configuration, for printing help. */
export interface FieldHelp {
  /** Its dotted path. */
  readonly path: string;
  /** What it is for. */
  readonly help: string;
}

/**
 * The help of every field that a configuration has.
 *
 * @returns Paths in the order of the schema, with a sentence each.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { configHelp } from "./read.ts";
 *
 * const fields = configHelp();
 * assert(fields.some(({ path }) => path === "training.learningRate"));
 * assert(fields.every(({ help }) => help !== ""));
 * ```
 */
export function configHelp(): FieldHelp[] {
  const fields: FieldHelp[] = [];
  const visit = (schema: JsonSchema, path: string) => {
    if (path !== "" && (schema.properties === undefined || path === "recipe")) {
      fields.push({ path, help: schema.description ?? "" });
      return;
    }
    for (const [name, inner] of Object.entries(schema.properties ?? {})) {
      visit(inner, path === "" ? name : `${path}.${name}`);
    }
  };
  visit(z.toJSONSchema(runSchema, { io: "input", unrepresentable: "any" }) as JsonSchema, "");
  return fields;
}

interface JsonSchema {
  readonly description?: string;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
}
