import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import type { DeviceName } from "../backends/backend.ts";
import { detectLauncher } from "./launcher.ts";
import { openMpi } from "./mpi.ts";
import { startOpenMpi } from "./open_mpi.ts";

const hasMpi = await new Deno.Command("mpirun", { args: ["--version"], stdout: "null" }).output()
  .then(({ success }) => success, () => false);

const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

/** Runs a job in some processes, or in one without `mpirun`. */
async function run(ranks: number, job: string, device: DeviceName = "wasm") {
  const deno = [Deno.execPath(), "run", "-A", "--no-check"];
  const program = [...deno, new URL("./mpi_job.ts", import.meta.url).pathname, job, device];
  const launcher = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", String(ranks)];
  const [command, ...args] = ranks === 1 ? program : [...launcher, ...program];
  const { code, stdout, stderr } = await new Deno.Command(command!, {
    args,
    env: { TESSERA_THREADS: "1", NO_COLOR: "1", OMPI_MCA_btl_base_warn_component_unused: "0" },
  }).output();
  return { code, stdout: decode(stdout), stderr: decode(stderr) };
}

async function resultOf(...args: Parameters<typeof run>) {
  const { code, stdout, stderr } = await run(...args);
  assertEquals(code, 0, stderr);
  return JSON.parse(stdout);
}

for (const device of ["wasm", "webgpu"] as const) {
  Deno.test({
    name: `two ranks with half the batch train as one rank with the whole (${device})`,
    ignore: !hasMpi || (device === "webgpu" && !await navigator.gpu?.requestAdapter()),
    async fn() {
      const [{ params: alone }] = await resultOf(1, "train", device);
      const [first, second] = await resultOf(2, "train", device);
      assertEquals(first.params, second.params, "the ranks have the same bits");
      for (const name of ["hidden", "output"]) {
        for (const [i, value] of alone[name].entries()) {
          // The sums over a batch are taken in another order, in f32.
          assertAlmostEquals(first.params[name][i], value, 1e-5);
        }
      }
      const early = await resultOf(2, "overlap", device);
      for (const { params, sums } of early) {
        assertEquals(params, first.params, "sums begun early give the same bits");
        assertEquals(sums, 30 * 3); // steps, and two gradients and the loss
      }
      assert(early.some(({ overlapped }: { overlapped: number }) => overlapped > 0));
    },
  });
}

Deno.test({
  name: "sums, broadcasts and gathers reach all ranks, in shared memory and beyond one call",
  ignore: !hasMpi,
  async fn() {
    const results = await resultOf(2, "calls");
    const expected = {
      sum: [3, 3, 3],
      mean: [0.5, 0.5],
      words: [1, 2],
      gathered: [{ rank: 0, text: "" }, { rank: 1, text: "é" }],
      shared: { rank: 1 },
      started: [0.5, 0.5, 0.5],
      turns: [[0, "3", "Infinity"], [1, "4", "Infinity"], [0, "5", "Infinity"]],
    };
    assertEquals(results, [expected, expected]);
  },
});

Deno.test({
  name: "a rank that dies or aborts ends the job with its message",
  ignore: !hasMpi,
  async fn() {
    const dead = await run(2, "die");
    assert(dead.code !== 0);
    assertStringIncludes(dead.stderr, "rank 1 has died");
    const aborted = await run(2, "abort");
    assertEquals(aborted.code, 3);
    assertStringIncludes(aborted.stderr, "rank 1 of 2: the data is gone");
  },
});

Deno.test({
  name: "what MPI cannot do is an error with its words",
  ignore: !hasMpi,
  async fn() {
    const { code, stderr } = await run(2, "error");
    assert(code !== 0);
    assertStringIncludes(
      stderr,
      "MPI_Bcast: expected success but found MPI_ERR_ROOT: invalid root",
    );
  },
});

Deno.test("the launcher is told by its variables", () => {
  const detect = (variables: Record<string, string>) => detectLauncher((name) => variables[name]);
  assertEquals(detect({}), undefined);
  assertEquals(detect({ SLURM_NTASKS: "4" }), undefined); // a batch script, not a step
  const task = { SLURM_STEP_NUM_TASKS: "4", PMIX_RANK: "0" };
  assertEquals(detect(task), { name: "srun", size: 4 });
  const inside = { SLURM_STEP_NUM_TASKS: "1", OMPI_COMM_WORLD_SIZE: "8" };
  assertEquals(detect(inside), { name: "mpirun", size: 8 });
});

Deno.test("a launcher of another MPI, and srun without PMIx, are told what is wanted instead", () => {
  const detect = (variables: Record<string, string>) => () => detectLauncher((n) => variables[n]);
  assertThrows(detect({ PMI_SIZE: "2" }), Error, "expected Open MPI's mpirun but found PMI_SIZE=2");
  const withoutPmix = { SLURM_STEP_NUM_TASKS: "4", PMI_SIZE: "4" };
  assertThrows(detect(withoutPmix), Error, "run srun with --mpi=pmix");
  assertEquals(detect({ SLURM_STEP_NUM_TASKS: "1" })(), { name: "srun", size: 1 });
});

Deno.test("without the library, the message says which one and how to get it", () => {
  assertThrows(
    () => startOpenMpi("libmpi-missing.so.40"),
    Error,
    "openMpi: expected to load libmpi-missing.so.40",
  );
  assertThrows(() => startOpenMpi("libmpi-missing.so.40"), Error, "apt-get install openmpi-bin");
});

Deno.test("a process alone is a job of one", () => {
  const mpi = openMpi();
  const x = Float32Array.of(1, 2);
  mpi.allreduce(x, "mean");
  mpi.barrier();
  assertEquals([mpi.rank, mpi.size, ...x, ...mpi.gather("here")], [0, 1, 1, 2, "here"]);
  mpi.finalize();
});

Deno.test("without the permission to load the library, the message says so", async () => {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "--no-prompt", "--allow-env", "--allow-read", "-"],
    env: { OMPI_COMM_WORLD_SIZE: "2", NO_COLOR: "1" },
    stdin: "piped",
    stderr: "piped",
    stdout: "null",
  }).spawn();
  const writer = child.stdin.getWriter();
  const program = `import { openMpi } from "${new URL("./mpi.ts", import.meta.url)}"; openMpi();`;
  await writer.write(new TextEncoder().encode(program));
  await writer.close();
  const { code, stderr } = await child.output();
  assertEquals(code, 1);
  assertStringIncludes(decode(stderr), "openMpi: expected to load libmpi.so.40 but found");
  assertStringIncludes(decode(stderr), "run deno with --allow-ffi");
});
