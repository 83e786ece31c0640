/** Results of a jitted function that are handed over while the rest of its program still runs. */
import type { RunListener } from "../backends/backend.ts";
import type { Plan } from "../compiler/plan.ts";
import type { Tensor } from "../tensor.ts";

/**
 * Who takes results of a jitted function early, so as to send them off meanwhile.
 *
 * On `wasm` and `reference` a result that is handed over has its elements, and `between` is called in the
 * middle of the program; on `webgpu` what makes it has been submitted, so that reading it waits for no
 * more than that.
 */
export interface EarlyResults {
  /** Results are handed over once there are so many bytes of them; 0 for each by itself. */
  readonly bytes: number;
  /** Called with every tensor of the result once in a call of the function, in the order in which they are made. */
  ready(results: readonly Tensor[]): void;
  /** Called now and then while the program runs. */
  between?(): void;
}

/** Results that are ready together after a step of a plan. */
export interface ResultGroup {
  readonly step: number;
  /** Their positions among the outputs of the program. */
  readonly outputs: readonly number[];
}

/**
 * Groups the outputs of a program in the order in which they are ready.
 *
 * @param plan The program.
 * @param outputs For each output its position in `plan.bound`.
 * @param bytes A group ends once it has so many.
 * @returns The groups; every output is in one of them.
 */
export function groupResults(
  plan: Plan,
  outputs: readonly number[],
  bytes: number,
): ResultGroup[] {
  const lastUse = new Map<number, number>(); // reads, too: who takes a result may overwrite it
  for (const [at, { reads, writes }] of plan.steps.entries()) {
    for (const id of [...reads, ...writes]) lastUse.set(id, at);
  }
  const made = outputs.map((at, output) => {
    const id = plan.bound[at]!;
    return { output, bytes: plan.buffers[id]!.bytes, step: lastUse.get(id) ?? 0 };
  }).sort((a, b) => a.step - b.step);
  const groups: { step: number; outputs: number[] }[] = [];
  let room = 0;
  for (const { output, step, bytes: own } of made) {
    if (room <= 0) {
      groups.push({ step, outputs: [] });
      room = bytes;
    }
    const group = groups.at(-1)!;
    group.outputs.push(output);
    group.step = step;
    room -= own;
  }
  return groups;
}

/** Hands over the results of one call. */
export function handOver(
  groups: readonly ResultGroup[],
  results: readonly Tensor[],
  early: EarlyResults,
): RunListener {
  let next = 0;
  return {
    after: new Set(groups.map(({ step }) => step)),
    reached(step) {
      for (; next < groups.length && groups[next]!.step <= step; next++) {
        early.ready(groups[next]!.outputs.map((output) => results[output]!));
      }
      early.between?.();
    },
  };
}
