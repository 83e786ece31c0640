/** Reading configurations of runs: by name, from plain data, with fields set by their dotted paths. */
import { z } from "npm:zod@4.6.7";
import { modelKind, type TokenModel } from "../kinds/model.ts";
import {
  type ImageSize,
  type Tokenizer,
  tokenizerKind,
  type TokenLayout,
  tokenLayout,
} from "../kinds/tokenizer.ts";
import type { RecipeInput } from "../sar/recipe.ts";
import { isObject } from "./by_field.ts";
import { dataSchema, imageSizeOf } from "./data.ts";
import { type ConfigName, namedConfigs } from "./named.ts";
import { presetFields, presetHelp } from "./presets.ts";
import { type RunConfig, runSchema, tokenizerSchema } from "./schema.ts";

/** Plain data, such as a file of JSON holds. */
type Json = Record<string, unknown>;

/**
 * Reads the configuration of a run. The sizes of the tokenizer's images, the model's `vocabulary`, `classes` and `grid`,
 * and what else goes with a kind, follow from the other fields where they are left out. `preset` in `model` and
 * `tokenizer` stands for the fields of a size with a name.
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
 * assertEquals([config.model.dim, config.model.classes, config.recipe.sets], [32, 4, "N"]);
 * assertThrows(() => readConfig("smoke", ["model.width=3"]), RangeError, "model.width");
 * ```
 */
export function readConfig(input: unknown, settings: readonly string[] = []): RunConfig {
  if (typeof input === "string") {
    if (!Object.hasOwn(namedConfigs, input)) {
      throw new RangeError(
        `expected one of ${Object.keys(namedConfigs).join(", ")} but found ${input}`,
      );
    }
    input = namedConfigs[input as ConfigName];
  }
  if (!isObject(input)) throw new RangeError(`expected an object with fields but found ${input}`);
  const fields = withPresets(structuredClone(input));
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
  const value = parseValue(text);
  if (last === "preset") Object.assign(place, presetFields(path, value));
  else place[last] = value;
}

/** Puts the fields of a preset where it stands; those beside it win. */
function withPresets(fields: Json): Json {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => {
      if (!isObject(value) || value.preset === undefined) return [name, value];
      const { preset, ...own } = value;
      return [name, { ...presetFields(`${name}.preset`, preset), ...own }];
    }),
  );
}

function parseValue(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Fills in what follows from other fields; what is no valid input is left to the schema. */
function withSizes(fields: Json): Json {
  const data = dataSchema.safeParse(fields.data ?? {});
  const { tokenizer = {}, model = {}, sampling = {} } = fields;
  if (!data.success || !isObject(tokenizer) || !isObject(model) || !isObject(sampling)) {
    return fields;
  }
  const ofTokenizer = tokenizerKind({ kind: (tokenizer.kind ?? "vq") as Tokenizer["kind"] });
  const ofModel = modelKind({ kind: (model.kind ?? "fmt") as TokenModel["kind"] });
  if (!ofTokenizer || !ofModel) return fields;
  const image = imageSizeOf(data.data);
  const images = { ...fields, tokenizer: merge(ofTokenizer.fit(image), tokenizer) };
  const checked = tokenizerSchema.safeParse(images.tokenizer);
  if (!checked.success) return images;
  const layout = layoutOrNone(checked.data, image);
  if (!layout) return images;
  const recipe = ofModel.recipe(layout, fields.recipe as RecipeInput | undefined);
  return {
    ...images,
    model: merge(ofModel.fit(layout, data.data.classes), model),
    ...(recipe === undefined ? {} : { recipe }),
    sampling: { ...ofModel.sampling(layout), ...sampling },
  };
}

/** The tokens of an image, unless none fit it, which the schema says better. */
function layoutOrNone(tokenizer: Tokenizer, image: ImageSize): TokenLayout | undefined {
  try {
    return tokenLayout(tokenizer, image);
  } catch {
    return undefined;
  }
}

/** Fields over others, nested ones field by field. */
function merge(under: Json, over: Json): Json {
  const merged = { ...under, ...over };
  for (const [name, value] of Object.entries(over)) {
    const below = under[name];
    if (isObject(value) && isObject(below)) merged[name] = merge(below, value);
  }
  return merged;
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
 * The help of the fields that a configuration has, or may have.
 *
 * @param config Of which the kinds of data, tokenizer and model count; without, the fields of all kinds.
 * @returns Paths in the order of the schema, with a sentence each.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { configHelp, readConfig } from "./read.ts";
 *
 * const fields = configHelp();
 * assert(fields.some(({ path }) => path === "model.encoderLayers"));
 * assert(fields.every(({ help }) => help !== ""));
 * const own = configHelp(readConfig({ model: { kind: "llamagen-gpt" } }));
 * assert(!own.some(({ path }) => path === "model.encoderLayers"));
 * ```
 */
export function configHelp(config?: RunConfig): FieldHelp[] {
  const helps = new Map<string, Set<string>>();
  const add = (path: string, help: string) => {
    if (!helps.has(path)) helps.set(path, new Set());
    helps.get(path)!.add(help);
  };
  const visit = (schema: JsonSchema, path: string) => {
    const { properties, oneOf, description = "" } = schema;
    if (oneOf && path !== "recipe") {
      const isOwn = (option: JsonSchema) => {
        const found = config?.[path as "data" | "tokenizer" | "model"] as Json | undefined;
        return !found || kindFields.every((field) => found[field] === kindOf(option, field));
      };
      return oneOf.filter(isOwn).forEach((option) => visit(option, path));
    }
    if (path !== "" && (properties === undefined || path === "recipe")) {
      return add(
        path,
        schema.const === undefined ? description : `${schema.const}: ${description}`,
      );
    }
    for (const [name, inner] of Object.entries(properties ?? {})) {
      visit(inner, path === "" ? name : `${path}.${name}`);
    }
    for (const help of presetHelp(path)) add(`${path}.preset`, help);
  };
  visit(z.toJSONSchema(runSchema, { io: "input", unrepresentable: "any" }) as JsonSchema, "");
  return [...helps].map(([path, help]) => ({ path, help: [...help].join("; ") }));
}

/** Fields that tell kinds apart. */
const kindFields = ["kind", "source"];

function kindOf(option: JsonSchema, field: string): unknown {
  return option.properties?.[field]?.const;
}

interface JsonSchema {
  readonly description?: string;
  readonly const?: unknown;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly oneOf?: readonly JsonSchema[];
}
