// The part of @std/path that Tessera uses, over node:path, so that npm alone can install everything.
// Where JSR is reachable, deno.json may say instead: "@std/path": "jsr:@std/path@1"
import { fileURLToPath, pathToFileURL } from "node:url";

export {
  basename,
  dirname,
  extname,
  isAbsolute,
  join,
  normalize,
  relative,
  resolve,
} from "node:path";

/** Converts a `file:` URL into a path. */
export function fromFileUrl(url: string | URL): string {
  return fileURLToPath(url);
}

/** Converts an absolute path into a `file:` URL. */
export function toFileUrl(path: string): URL {
  return pathToFileURL(path);
}
