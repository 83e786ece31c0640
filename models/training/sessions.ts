/** Where a run was trained: one line of `sessions.jsonl` for each time that its training was started. */
import { z } from "npm:zod@4.6.7";
import { currentDevice } from "../../lib/device.ts";

const sessionSchema = z.object({
  /** When it began, in seconds since 1970. */
  time: z.number(),
  /** `webgpu`, `wasm` or `reference`, and a line on what it is. */
  device: z.string(),
  description: z.string(),
  /** Such as `Deno 2.9.6, V8 14.0`. */
  runtime: z.string(),
  /** Such as `linux x86_64`. */
  system: z.string(),
  processor: z.string(),
  cores: z.number(),
  memoryBytes: z.number(),
});

/** One time that a training was started. */
export type Session = z.output<typeof sessionSchema>;

/** Notes that a run is trained here and now, on the current device. */
export async function addSession(folder: string): Promise<void> {
  const { name, description } = currentDevice();
  const { default: os } = await import("node:os");
  const { default: process } = await import("node:process");
  const { deno, node, v8 } = process.versions as Record<string, string | undefined>;
  const session: Session = {
    time: Date.now() / 1000,
    device: name,
    description,
    runtime: `${deno ? `Deno ${deno}` : `Node ${node}`}, V8 ${v8}`,
    system: `${process.platform} ${process.arch}`,
    processor: ifAllowed(() => os.cpus()[0]?.model.trim(), "unknown"),
    cores: navigator.hardwareConcurrency,
    memoryBytes: ifAllowed(os.totalmem, 0),
  };
  const line = `${JSON.stringify(session)}\n`;
  await Deno.writeTextFile(`${folder}/sessions.jsonl`, line, { append: true });
}

/** What the system may refuse to tell. */
function ifAllowed<T>(ask: () => T | undefined, otherwise: T): T {
  try {
    return ask() ?? otherwise;
  } catch {
    return otherwise;
  }
}

/**
 * Reads where a run was trained.
 *
 * @param folder The run's folder.
 * @returns The sessions; lines that a crash has cut off are left out.
 */
export async function readSessions(folder: string): Promise<Session[]> {
  let text: string;
  try {
    text = await Deno.readTextFile(`${folder}/sessions.jsonl`);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
  return text.split("\n").flatMap((line) => {
    try {
      return [sessionSchema.parse(JSON.parse(line))];
    } catch {
      return [];
    }
  });
}
