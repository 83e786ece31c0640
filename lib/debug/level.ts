/** The ladder of what Tessera says about its work, from the environment variable `TESSERA_DEBUG`. */
import { environment } from "../environment.ts";

/**
 * How much is said on standard error; each level says what the levels below it say, too.
 *
 * | `TESSERA_DEBUG` | says |
 * |---|---|
 * | 0 | nothing |
 * | 1 | when a jitted function is compiled again, and which argument changed |
 * | 2 | the time of every kernel of every program that runs |
 * | 3 | the plan of every program that is compiled |
 * | 4 | the WGSL of every shader |
 */
export type DebugLevel = 0 | 1 | 2 | 3 | 4;

/**
 * The level that the environment asks for, read once; 0 where it may not be read.
 *
 * @throws {RangeError} When this module is loaded, if the variable is no level.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { debugLevel } from "./level.ts";
 * assert(debugLevel >= 0 && debugLevel <= 4);
 * ```
 */
export const debugLevel: DebugLevel = parseLevel(environment("TESSERA_DEBUG"));

/** The level that a text names; none or an empty one is 0. */
export function parseLevel(text: string | undefined): DebugLevel {
  if (!text) return 0;
  const level = Number(text);
  if (Number.isInteger(level) && level >= 0 && level <= 4) return level as DebugLevel;
  throw new RangeError(`TESSERA_DEBUG: expected a level in 0..4 but found "${text}"`);
}
