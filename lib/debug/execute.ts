/** Where every program is run, so that its steps can be timed. */
import type { DeviceBuffer, Executable, RunListener } from "../backends/backend.ts";
import type { Plan } from "../compiler/plan.ts";

/** A program that is ready to run. */
export interface RunningProgram {
  readonly name: string;
  readonly plan: Plan;
  readonly executable: Executable;
}

/** Told of every program that is run, and the milliseconds of its steps once they are known. */
export type Recorder = (
  program: RunningProgram,
  milliseconds: Promise<readonly number[]>,
) => void;

/** Those who want to know; while there are any, programs run step by step. */
export const recorders = new Set<Recorder>();

/**
 * Runs a program, timing its steps if someone wants to know and the device can tell; its listener is then told at the
 * end only.
 */
export function execute(
  program: RunningProgram,
  buffers: readonly DeviceBuffer[],
  listener?: RunListener,
): void {
  const { executable, plan } = program;
  if (recorders.size === 0 || !executable.profile) return executable.run(buffers, listener);
  const milliseconds = executable.profile(buffers);
  listener?.reached(plan.steps.length - 1);
  for (const record of recorders) record(program, milliseconds);
}
