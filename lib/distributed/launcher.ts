/** How this process was started: by Open MPI's `mpirun`, by Slurm's `srun`, or alone. */
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
 * @throws {Error} If it is one that Open MPI cannot be used under: MPICH's, or `srun` without PMIx.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { detectLauncher } from "./launcher.ts";
 * const variables: Record<string, string> = { SLURM_STEP_NUM_TASKS: "8", PMIX_RANK: "3" };
 * assertEquals(detectLauncher((name) => variables[name]), { name: "srun", size: 8 });
 * ```
 */
export function detectLauncher(
  variable: (name: string) => string | undefined = environment,
): Launcher | undefined {
  const count = (name: string) => {
    const value = Number(variable(name));
    return Number.isInteger(value) && value > 0 ? value : undefined;
  };
  // mpirun inside a Slurm job sets its own variables on top of Slurm's.
  const processes = count("OMPI_COMM_WORLD_SIZE");
  if (processes) return { name: "mpirun", size: processes };
  const tasks = count("SLURM_STEP_NUM_TASKS");
  if (tasks) {
    // A single task, such as an interactive shell, needs nobody to find.
    if (tasks > 1 && variable("PMIX_RANK") === undefined) {
      throw new Error(
        `openMpi: expected srun to offer PMIx to its ${tasks} tasks but found no PMIX_RANK:` +
          " run srun with --mpi=pmix (srun --mpi=list says whether it has it)",
      );
    }
    return { name: "srun", size: tasks };
  }
  const others = count("PMI_SIZE");
  if (others && others > 1) {
    throw new Error(
      `openMpi: expected Open MPI's mpirun but found PMI_SIZE=${others}, as MPICH's and Intel MPI's` +
        " set it, whose libraries are not supported: start with mpirun.openmpi",
    );
  }
  return undefined;
}
