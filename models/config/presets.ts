/** Sizes of models and tokenizers that have a name: `preset` in a configuration stands for their fields. */
import { fmtPresets } from "../fmt/config.ts";
import { gptPresets } from "../llamagen/gpt_config.ts";
import { llamagenVqPresets } from "../llamagen/vq_config.ts";

const presets: Readonly<Record<string, Readonly<Record<string, object>>>> = {
  "tokenizer.preset": llamagenVqPresets,
  "model.preset": { ...fmtPresets, ...gptPresets },
};

/**
 * The fields that a preset stands for.
 *
 * @param path Where it stands: `model.preset` or `tokenizer.preset`.
 * @param name Its name.
 * @returns The fields.
 * @throws {RangeError} If there is no such preset.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { presetFields } from "./presets.ts";
 *
 * const sizes = { dim: 1024, heads: 16, encoderLayers: 12, decoderLayers: 12 };
 * assertEquals(presetFields("model.preset", "FMT-L"), sizes);
 * ```
 */
export function presetFields(path: string, name: unknown): object {
  const known = presets[path];
  if (!known) throw new RangeError(`${path}: unknown field`);
  if (typeof name === "string" && Object.hasOwn(known, name)) return known[name]!;
  throw new RangeError(
    `${path}: expected one of ${Object.keys(known).join(", ")} but found ${name}`,
  );
}

/** The help of `preset` in a part of the configuration, if it has one. */
export function presetHelp(part: string): string[] {
  const known = presets[`${part}.preset`];
  return known ? [`Sets the sizes: ${Object.keys(known).join(", ")}`] : [];
}
