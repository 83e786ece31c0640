/** PyTorch in a process of its own, told what to do over its standard input. */
import type { Contestant } from "../harness.ts";

const script = new URL("./torch.py", import.meta.url).pathname;

/**
 * Starts PyTorch on a case of torch.py.
 *
 * @param settings The case and its settings.
 * @param threads Threads of PyTorch and OpenBLAS.
 * @returns The peer, or its name if PyTorch is not installed.
 */
export async function torch(
  settings: { case: string } & Record<string, unknown>,
  threads = navigator.hardwareConcurrency,
): Promise<Contestant | string> {
  const name = `pytorch (${threads} ${threads === 1 ? "thread" : "threads"})`;
  for (const python of ["/usr/bin/python3", "python3"]) {
    let process: Deno.ChildProcess;
    try {
      process = new Deno.Command(python, {
        args: [script, String(threads)],
        env: {
          OPENBLAS_NUM_THREADS: String(threads),
          OMP_NUM_THREADS: String(threads),
          OMP_WAIT_POLICY: "passive",
        },
        stdin: "piped",
        stdout: "piped",
        stderr: "null",
      }).spawn();
    } catch {
      continue;
    }
    const writer = process.stdin.getWriter();
    const lines = process.stdout.pipeThrough(new TextDecoderStream())
      .pipeThrough(new TransformStream(new LineSplitter())).getReader();
    const ask = async (request: unknown) => {
      await writer.write(new TextEncoder().encode(JSON.stringify(request) + "\n"));
      const { value, done } = await lines.read();
      if (done) throw new Error("PyTorch ended");
      return JSON.parse(value);
    };
    let sample: number[];
    try {
      sample = await ask(settings);
    } catch {
      continue;
    }
    return {
      name,
      result: () => Float32Array.from(sample),
      run: () => ask("run"),
      close: () => process.kill("SIGKILL"),
    };
  }
  return name;
}

class LineSplitter implements Transformer<string, string> {
  #rest = "";

  transform(chunk: string, controller: TransformStreamDefaultController<string>): void {
    const lines = (this.#rest + chunk).split("\n");
    this.#rest = lines.pop()!;
    for (const line of lines) controller.enqueue(line);
  }
}
