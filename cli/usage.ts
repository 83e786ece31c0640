/** Errors of use: what the person at the command line can put right. */

/** A mistake in options, configuration or files: one line, exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/**
 * Runs something whose range errors and missing files come from what the user gave.
 *
 * @param body What to run.
 * @returns Its result.
 * @throws {UsageError} In place of these errors.
 */
export async function checked<T>(body: () => T | Promise<T>): Promise<T> {
  try {
    return await body();
  } catch (error) {
    const isUse = error instanceof RangeError || error instanceof Deno.errors.NotFound ||
      error instanceof Deno.errors.NotADirectory || error instanceof Deno.errors.IsADirectory;
    throw isUse ? new UsageError(error.message, { cause: error }) : error;
  }
}

/**
 * Runs something that reads files which the user names, and whose errors say what is wrong with them.
 *
 * @param body What to run.
 * @returns Its result.
 * @throws {UsageError} In place of every error.
 */
export async function checkedFiles<T>(body: () => T | Promise<T>): Promise<T> {
  try {
    return await body();
  } catch (error) {
    throw new UsageError((error as Error).message, { cause: error });
  }
}

/** Whether there is a file or folder. */
export async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    const isMissing = error instanceof Deno.errors.NotFound ||
      error instanceof Deno.errors.NotADirectory;
    if (isMissing) return false;
    throw error;
  }
}
