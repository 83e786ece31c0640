/** The command line in a process of its own, for tests. */
import { assertEquals, assertMatch } from "@std/assert";

const cli = new URL("../cli.ts", import.meta.url).href;
const root = new URL("..", import.meta.url);

/** Quiet: Deno says on standard error what it downloads. */
const commandLine = ["run", "--quiet", "-A", cli];

/** Runs the command line on wasm to its end, or sends it a signal once `until` says so. */
export async function run(
  args: readonly string[],
  until?: () => Promise<boolean>,
  signal: Deno.Signal = "SIGKILL",
): Promise<{ code: number; out: string; err: string }> {
  return await finish(Deno.execPath(), [...commandLine, ...args], until, signal);
}

/** Whether Open MPI is here. */
export const hasMpi = await new Deno.Command("mpirun", { args: ["--version"], stdout: "null" })
  .output().then(({ success }) => success, () => false);

/** The same on several ranks, watched by `until`, which may do to them what it wants. */
export async function runRanks(
  ranks: number,
  args: readonly string[],
  until?: () => Promise<boolean>,
): Promise<{ code: number; out: string; err: string }> {
  const launch = ["--allow-run-as-root", "--oversubscribe", "-n", String(ranks)];
  const program = [Deno.execPath(), ...commandLine, ...args];
  return await finish("mpirun", [...launch, ...program], until);
}

async function finish(
  program: string,
  args: readonly string[],
  until?: () => Promise<boolean>,
  signal?: Deno.Signal,
): Promise<{ code: number; out: string; err: string }> {
  const command = new Deno.Command(program, {
    args: [...args],
    cwd: root,
    env: {
      NO_COLOR: "1",
      TESSERA_DEVICE: "wasm",
      OMPI_MCA_btl_base_warn_component_unused: "0",
    },
    stdout: "piped",
    stderr: "piped",
  });
  const child = command.spawn();
  const ended = child.output();
  if (until) {
    let isOver = false;
    child.status.then(() => isOver = true);
    while (!isOver && !await until()) await new Promise((resolve) => setTimeout(resolve, 5));
    try {
      if (signal) child.kill(signal);
    } catch {
      // It has ended by itself.
    }
  }
  const { code, stdout, stderr } = await ended;
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, out: decode(stdout), err: decode(stderr) };
}

/** A folder that is removed after the test. */
export async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Wrong use: one line that matches, and exit code 2. */
export async function assertMisuse(args: readonly string[], message: RegExp): Promise<void> {
  const { code, err } = await run(args);
  assertEquals(code, 2, `${args.join(" ")}: ${err}`);
  assertEquals(err.trim().split("\n").length, 1, `expected one line but found:\n${err}`);
  assertMatch(err, message);
}
