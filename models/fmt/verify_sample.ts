/** Checks guided greedy sampling with caches against a sampling fixture, step by step. */
import type { Tensor } from "../../lib/tensor.ts";
import { slice } from "../../ops/slice.ts";
import { compare, compareTensor, type Comparison, tolerances } from "../comparison.ts";
import { tokenCount } from "./config.ts";
import { arrayOf, type FmtFixture, integersOf } from "./fixture.ts";
import { sample } from "./sample.ts";

/**
 * Compares tokens and the logits of every generated set on the current device.
 *
 * @param fixture The fixture.
 * @param cache Whether to sample with caches (default true).
 * @returns A row for each quantity.
 */
export async function verifySampling(fixture: FmtFixture, cache = true): Promise<Comparison[]> {
  const { model, params, inputs, outputs, guidance, givenSets } = fixture;
  const order = integersOf(inputs, "order");
  const labels = integersOf(inputs, "labels");
  const rows: Comparison[] = [];
  const tokens = await sample(model, params, {
    labels,
    order,
    intervals: integersOf(inputs, "intervals"),
    given: inputs.given ? integersOf(inputs, "given") : undefined,
    greedy: true,
    guidance,
    cache,
    keepLogits: true,
    async onStep({ set, logits }) {
      if (set <= givenSets) return;
      const { raw, guided } = logits!;
      const step = `step_${String(set).padStart(2, "0")}`;
      const check = async (name: string, found: Tensor, tolerance: number) =>
        rows.push(await compareTensor(name, found, arrayOf(outputs, name), tolerance));
      await check(`${step}.guided`, guided, tolerances.guided);
      if (guidance !== 1) {
        await check(`${step}.cond`, slice(raw, [[0, labels.length]]), tolerances.logits);
        await check(`${step}.uncond`, slice(raw, [[labels.length, null]]), tolerances.logits);
      }
    },
  });
  const cells = await tokens.data();
  const count = tokenCount(model);
  const shared = order.length === count;
  const sequence = cells.map((_, i) => {
    const first = i - i % count;
    return cells[first + order[shared ? i - first : i]!]!;
  });
  rows.push(
    compare("tokens", cells, arrayOf(outputs, "tokens"), 0),
    compare("sequence", sequence as Int32Array, arrayOf(outputs, "sequence"), 0),
  );
  return rows;
}
