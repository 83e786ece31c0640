/**
 * Where the fastest kernels of an adapter are remembered: a file in the user's cache folder, or the
 * browser's storage. Whatever is missing, forbidden or damaged counts as nothing remembered.
 */
import { z } from "npm:zod@4.6.7";
import { environment } from "../../environment.ts";
import { writeFileAtomically } from "../../formats/atomic_write.ts";

/** The variant that was fastest, for each problem. */
export type Choices = Record<string, unknown>;

const schema = z.object({
  /** By a text that describes the adapter. */
  adapters: z.record(z.string(), z.record(z.string(), z.unknown())),
});

const name = "tessera-webgpu-kernels";

/** Something that keeps a text. */
interface Storage {
  read(): Promise<string | null>;
  write(text: string): Promise<void>;
}

/**
 * What is remembered of an adapter.
 *
 * @param adapter Describes it, and the version of the kernels.
 * @returns The choices; none where nothing can be read.
 */
export async function readChoices(adapter: string): Promise<Choices> {
  return (await readAll())[adapter] ?? {};
}

/**
 * Remembers more about an adapter, where that is allowed.
 *
 * @param adapter Describes it, and the version of the kernels.
 * @param choices What is new.
 * @returns Whether it could be written.
 */
export async function writeChoices(adapter: string, choices: Choices): Promise<boolean> {
  const adapters = await readAll();
  adapters[adapter] = { ...adapters[adapter], ...choices };
  try {
    const storage = openStorage();
    await storage?.write(JSON.stringify({ adapters }));
    return storage !== undefined;
  } catch {
    return false; // no permission, a full or read-only disk
  }
}

async function readAll(): Promise<Record<string, Choices>> {
  try {
    const found = schema.safeParse(JSON.parse(await openStorage()?.read() ?? "null"));
    return found.success ? found.data.adapters : {};
  } catch {
    return {}; // no such file, no permission, no JSON
  }
}

function openStorage(): Storage | undefined {
  if (typeof Deno === "undefined") {
    const { localStorage } = globalThis;
    return localStorage && {
      read: () => Promise.resolve(localStorage.getItem(name)),
      write: (text) => Promise.resolve(localStorage.setItem(name, text)),
    };
  }
  const folder = cacheFolder();
  if (!folder) return undefined;
  const path = `${folder}/tessera/${name}.json`;
  const granted = (operation: "read" | "write") =>
    Deno.permissions.querySync({ name: operation, path }).state === "granted";
  return {
    // Never asked for: a prompt for the sake of speed would be a nuisance.
    read: async () => granted("read") ? await Deno.readTextFile(path) : null,
    async write(text) {
      if (!granted("write")) throw new Deno.errors.PermissionDenied(path);
      await Deno.mkdir(`${folder}/tessera`, { recursive: true });
      await writeFileAtomically(path, text);
    },
  };
}

/** The folder in which this system's programs of this user keep what they can make again. */
function cacheFolder(): string | undefined {
  const home = environment("HOME");
  if (environment("XDG_CACHE_HOME")) return environment("XDG_CACHE_HOME");
  if (environment("LOCALAPPDATA")) return environment("LOCALAPPDATA");
  if (!home) return undefined;
  return Deno.build.os === "darwin" ? `${home}/Library/Caches` : `${home}/.cache`;
}
