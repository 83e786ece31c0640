/** Files that a run can do without: where one cannot be written, that is said, and the run goes on. */

/**
 * Makes what writes such files. A failure is said once, until the file can be written again.
 *
 * @param warn Told of failures.
 * @returns Writes a file, given its path and how.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { expendable } from "./expendable.ts";
 *
 * const warnings: string[] = [];
 * const write = expendable((message) => warnings.push(message));
 * await write("run/report.html", () => Promise.reject(new Error("No space left on device")));
 * assertEquals(warnings, [
 *   "Could not write run/report.html: No space left on device; the run goes on without it",
 * ]);
 * ```
 */
export function expendable(
  warn: (message: string) => void = console.warn,
): (path: string, write: () => Promise<void>) => Promise<void> {
  const failing = new Set<string>();
  return async (path, write) => {
    try {
      await write();
      failing.delete(path);
    } catch (error) {
      if (failing.has(path)) return;
      failing.add(path);
      const reason = error instanceof Error ? error.message : String(error);
      warn(`Could not write ${path}: ${reason}; the run goes on without it`);
    }
  };
}
