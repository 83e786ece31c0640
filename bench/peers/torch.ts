/** PyTorch in a process of its own, told what to do over its standard input. */
import { type Contestant, onGpu } from "../harness.ts";

const script = new URL("./torch_peer.py", import.meta.url).pathname;
/** With this status torch_peer.py says that PyTorch, or a GPU that it can use, is missing. */
const missing = 3;

/** What PyTorch is asked to do: a case of torch_peer.py and its settings. */
export type TorchCase = { readonly case: string; readonly [setting: string]: unknown };

/**
 * Starts PyTorch on a case: on a GPU where that is what we measure on, else on the processor.
 *
 * @param settings The case and its settings.
 * @param options Threads of PyTorch and OpenBLAS (all cores by default), calls in a turn, and a tolerance
 * of its own.
 * @returns The peer, or its name if PyTorch is not installed.
 * @throws {Error} If PyTorch fails at the case.
 */
export async function torch(
  settings: TorchCase,
  { threads = navigator.hardwareConcurrency, calls = 1, tolerance }: {
    readonly threads?: number;
    readonly calls?: number;
    readonly tolerance?: number;
  } = {},
): Promise<Contestant | string> {
  const device = onGpu() ? "cuda" : "cpu";
  const how = [
    device === "cpu" ? `${threads} ${threads === 1 ? "thread" : "threads"}` : device,
    ...("dtype" in settings ? [settings.dtype] : []),
  ].join(", ");
  for (const python of ["/usr/bin/python3", "python3"]) {
    const peer = await start(python, threads, device);
    if (!peer) continue;
    const { version, ask, close } = peer;
    const name = `pytorch ${version} (${how})`;
    let sample: number[];
    try {
      sample = await ask(settings) as number[];
    } catch (error) {
      console.error(`${name}: ${error}`); // a type that this device does not compute in, for one
      return `${name}, which failed`;
    }
    return {
      name,
      result: () => Float32Array.from(sample),
      run: async () => await ask(calls) as number,
      ...tolerance === undefined ? {} : { tolerance },
      close,
    };
  }
  return `pytorch (${how})`;
}

async function start(python: string, threads: number, device: string) {
  let process: Deno.ChildProcess;
  try {
    process = new Deno.Command(python, {
      args: [script, String(threads), device],
      env: {
        OPENBLAS_NUM_THREADS: String(threads),
        OMP_NUM_THREADS: String(threads),
        OMP_WAIT_POLICY: "passive",
        PYTHONDONTWRITEBYTECODE: "1",
      },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
  } catch {
    return undefined;
  }
  const messages = new Response(process.stderr).text();
  const writer = process.stdin.getWriter();
  const lines = process.stdout.pipeThrough(new TextDecoderStream())
    .pipeThrough(new TransformStream(new LineSplitter())).getReader();
  const answer = async () => {
    const { value, done } = await lines.read();
    return done ? undefined : JSON.parse(value);
  };
  const fail = async () => new Error(`PyTorch ended: ${(await messages).trim().slice(-2000)}`);
  const version = await answer();
  if (version === undefined) {
    if ((await process.status).code === missing) return undefined;
    throw await fail();
  }
  return {
    version,
    async ask(request: unknown): Promise<unknown> {
      await writer.write(new TextEncoder().encode(JSON.stringify(request) + "\n"));
      return await answer() ?? Promise.reject(await fail());
    },
    close: () => process.kill("SIGKILL"),
  };
}

class LineSplitter implements Transformer<string, string> {
  #rest = "";

  transform(chunk: string, controller: TransformStreamDefaultController<string>): void {
    const lines = (this.#rest + chunk).split("\n");
    this.#rest = lines.pop()!;
    for (const line of lines) controller.enqueue(line);
  }
}
