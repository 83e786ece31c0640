/** How much memory a device may take: an option, or the environment variable `TESSERA_MEMORY`. */
import { environment } from "../environment.ts";

const units: Readonly<Record<string, number>> = { "": 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };

/**
 * The most bytes that a device may take.
 *
 * @param option Overrides the environment variable `TESSERA_MEMORY`: bytes, or as `512M` or `1.5G`.
 * @returns The number of bytes, or `Infinity`.
 * @throws {RangeError} If the variable is no number of bytes.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { byteBudget } from "./byte_budget.ts";
 * assertEquals(byteBudget(1000), 1000);
 * ```
 */
export function byteBudget(option?: number): number {
  if (option !== undefined) return option;
  const text = environment("TESSERA_MEMORY");
  if (!text) return Infinity;
  const [, digits, unit] = /^(\d+(?:\.\d+)?)([KMG]?)$/.exec(text) ?? [];
  const bytes = Math.floor(Number(digits) * units[unit!]!);
  if (bytes > 0) return bytes;
  throw new RangeError(
    `TESSERA_MEMORY: expected bytes, such as 512M or 1.5G, but found "${text}"`,
  );
}
