/** The losses of the sets of a recipe, put together where there are too many to be looked at one by one. */

/** The most groups. */
const mostGroups = 16;

/**
 * Mean losses of neighboring sets, in groups of about equal size.
 *
 * @param losses The loss of each set, as `setLoss` of a line of the log; null where it was not finite.
 * @returns At most 16 groups; each is one set if there are no more.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { groupSets } from "./set_groups.ts";
 *
 * assertEquals(groupSets([2, 3]), [{ name: "set 1", mean: 2 }, { name: "set 2", mean: 3 }]);
 * const groups = groupSets(Array.from({ length: 32 }, (_, i) => i));
 * assertEquals([groups.length, groups[1]], [16, { name: "sets 3–4", mean: 2.5 }]);
 * ```
 */
export function groupSets(
  losses: readonly (number | null)[],
): { name: string; mean: number }[] {
  const groups = Math.min(losses.length, mostGroups);
  const end = (group: number) => Math.floor(losses.length * group / groups);
  return Array.from({ length: groups }, (_, i) => {
    const own = losses.slice(end(i), end(i + 1));
    return {
      name: own.length === 1 ? `set ${end(i) + 1}` : `sets ${end(i) + 1}–${end(i + 1)}`,
      mean: own.reduce<number>((sum, loss) => sum + (loss ?? NaN), 0) / own.length,
    };
  });
}
