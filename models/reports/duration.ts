/** Times as people read them. */

/**
 * A number of seconds as text.
 *
 * @param seconds Rounded to whole ones.
 * @returns Minutes and seconds, with hours in front if there are any.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { duration } from "./duration.ts";
 *
 * assertEquals([duration(65), duration(7265)], ["1:05", "2:01:05"]);
 * ```
 */
export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const rest = String(whole % 60).padStart(2, "0");
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}
