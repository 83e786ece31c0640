/** Reads damaged files of one format, in a worker that can be ended where a reader hangs. */
import { refuseHugeAllocations } from "./allocations.ts";

/** What a worker is to do. */
export interface FuzzJob {
  readonly format: string;
  readonly first: number;
  readonly files: number;
  readonly folder: string;
  /** [the number of the file that is being read, peak of resident memory in MB] */
  readonly progress: Int32Array;
}

/** What a worker found. */
export interface FuzzCounts {
  /** Files that were read, and files that were refused by a clean error. */
  read: number;
  refused: number;
  /** Different messages of errors, up to numbers and texts in them. */
  messages: number;
  /** What went wrong: the first file that it happened to, how, and how often. */
  readonly failures: { readonly file: number; readonly problem: string; count: number }[];
}

/** Small files need no more than this, in bytes; images may be compressed 1000 to 1. */
const mostBytes = 2 ** 24;

/** Messages of errors that no reader means to throw. */
const accidental =
  /(?<!received |found )undefined|null \(|not a function|not iterable|Invalid (typed |)array|Invalid string length|stack size|(index|access) out of bounds|outside the bounds|start offset|Offset is|allocation failed|Cannot (read|set|convert|mix)|BigInt/;

// deno-lint-ignore no-explicit-any
const worker = self as any;
worker.onmessage = async ({ data }: MessageEvent<FuzzJob>) => {
  worker.postMessage(await fuzz(data));
};

async function fuzz(
  { format: name, first, files, folder, progress }: FuzzJob,
): Promise<FuzzCounts> {
  refuseHugeAllocations(mostBytes);
  const { formats } = await import("./formats.ts");
  const { mutate, randomNumbers } = await import("./mutate.ts");
  const { corpus, errors, damage, read } = await formats[name]!(folder);
  for (const file of corpus) await read(file); // valid files are read
  const counts = { read: 0, refused: 0 };
  const failures = new Map<string, FuzzCounts["failures"][number]>();
  const messages = new Set<string>();
  for (let file = first; file < first + files; file++) {
    Atomics.store(progress, 0, file);
    const random = randomNumbers(file * 2654435761 + name.length);
    const pick = () => corpus[Math.floor(random() * corpus.length)]!;
    const bytes = damage ? damage(random) : mutate(pick(), pick(), random);
    try {
      await read(bytes);
      counts.read++;
    } catch (error) {
      const { name: kind, message, stack } = error as Error;
      const text = message.replaceAll(/"[^"]*"|\d+/g, "*").slice(0, 120);
      const isClean = error instanceof Error &&
        ["Error", "TypeError", "RangeError", "DamagedCheckpointError"].includes(kind) &&
        errors.test(message) && !accidental.test(message) && !isHuge(error);
      if (isClean) {
        counts.refused++;
        messages.add(text);
        continue;
      }
      const problem = stack?.split("\n").slice(0, 4).join("\n") ?? String(error);
      const known = failures.get(text);
      if (known) known.count++;
      else failures.set(text, { file, problem, count: 1 });
    } finally {
      if (file % 256 === 0) {
        const megabytes = Deno.memoryUsage().rss / 2 ** 20;
        Atomics.store(progress, 1, Math.max(progress[1]!, megabytes));
      }
    }
  }
  return { ...counts, messages: messages.size, failures: [...failures.values()] };
}

/** Whether an error comes from an allocation that was refused. */
function isHuge(error: unknown): boolean {
  return error instanceof Error && (error.name === "HugeAllocation" || isHuge(error.cause));
}
