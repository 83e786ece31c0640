/** How this process was started: by `mpirun`, by Slurm's `srun`, or alone. */
import { environment } from "../environment.ts";

/** What started this process as one of several. */
export interface Launcher {
  readonly name: "mpirun" | "srun";
  /** The processes that it started. */
  readonly size: number;
}

/**
 * The launcher of this process, by the variables that it sets.
 *
 * @param variable Gives an environment variable.
 * @returns The launcher, or undefined for a process that was started alone.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { detectLauncher } from "./launcher.ts";
 * const variables: Record<string, string> = { SLURM_STEP_NUM_TASKS: "8", SLURM_PROCID: "3" };
 * assertEquals(detectLauncher((name) => variables[name]), { name: "srun", size: 8 });
 * ```
 */
export function detectLauncher(
  variable: (name: string) => string | undefined = environment,
): Launcher | undefined {
  // mpirun inside a Slurm job sets its own variables on top of Slurm's.
  const started = (name: Launcher["name"], size: string) => {
    const count = Number(variable(size));
    return Number.isInteger(count) && count > 0 ? { name, size: count } : undefined;
  };
  return started("mpirun", "OMPI_COMM_WORLD_SIZE") ?? started("srun", "SLURM_STEP_NUM_TASKS");
}
