import { assertEquals } from "@std/assert";
import { planOf } from "../../lib/mod.ts";
import { zeros } from "../../ops/create.ts";
import { key } from "../../ops/random.ts";
import { testOnDevices } from "../../tests/devices.ts";
import { init } from "../model.ts";
import { emptyCaches } from "./cached_set.ts";
import { fmt } from "./config.ts";
import { cachedStep } from "./sampling_step.ts";

/** How many kernels a guided step with caches has. */
function kernelsOf(encoderLayers: number, decoderLayers: number): number {
  const grid = { height: 2, width: 4 };
  const sizes = { dim: 16, heads: 2, vocabulary: 20, classes: 3 };
  const model = fmt({ grid, ...sizes, encoderLayers, decoderLayers });
  const slots = 9, whole = (shape: number[]) => zeros(shape, { dtype: "i32" });
  const inputs = {
    labels: whole([2]),
    positions: whole([1, slots]),
    uniforms: zeros([1, slots]),
    isGiven: zeros([1, slots], { dtype: "bool" }),
    encodeStart: whole([]),
    decodeStart: whole([]),
    setEnd: whole([]),
    guidance: zeros([]),
    temperature: zeros([]),
  };
  const state = { sequence: whole([1, slots]), caches: emptyCaches(model, 2, slots) };
  const drawn = { greedy: true, topK: 0, topP: 1 };
  const settings = { ...drawn, window: 3, guided: true, keepLogits: false };
  const given = [state, model, init(model, key(1)), inputs, settings] as const;
  return planOf(cachedStep, [...given], { donate: [0] }).steps.length;
}

testOnDevices("a layer of a step with caches is few kernels", () => {
  const least = kernelsOf(1, 1);
  // Two norms, attention, and products: queries, keys and values, the output, three of SwiGLU.
  assertEquals(kernelsOf(2, 1) - least, 8);
  // Besides, a norm, cross-attention, and the products for queries, keys and values, and the output.
  assertEquals(kernelsOf(1, 2) - least, 13);
}, ["webgpu"]);
