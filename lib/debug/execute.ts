/** Where every program is run, so that its steps can be timed. */
import type { DeviceBuffer, Executable } from "../backends/backend.ts";
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

/** Runs a program, timing its steps if someone wants to know and the device can tell. */
export function execute(program: RunningProgram, buffers: readonly DeviceBuffer[]): void {
  const { executable } = program;
  if (recorders.size === 0 || !executable.profile) return executable.run(buffers);
  const milliseconds = executable.profile(buffers);
  for (const record of recorders) record(program, milliseconds);
}
