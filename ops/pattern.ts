/** The patterns of `rearrange` and `einsum`: axis names separated by spaces, as in einops. */

/** Axis names, grouped: a group in parentheses is one axis of the tensor; `1` is an empty group. */
export type Groups = readonly (readonly string[])[];

/** Stands for the axes that a pattern does not name. */
export const ellipsis = "...";

/**
 * Reads one side of a pattern, as `b (h w) ... 1`.
 *
 * @param op The name of the op, for messages.
 * @param text The side.
 * @param pattern The whole pattern, for messages.
 * @returns Its groups of names.
 * @throws {TypeError} If it is not well formed, or names an axis twice.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { parseGroups } from "./pattern.ts";
 * assertEquals(parseGroups("rearrange", "b (h w) 1", "b (h w) 1 -> b h w"), [["b"], ["h", "w"], []]);
 * ```
 */
export function parseGroups(op: string, text: string, pattern: string): Groups {
  const problem = (what: string) => new TypeError(`${op}: ${what} in "${pattern}"`);
  const groups: string[][] = [];
  let open: string[] | undefined;
  for (const [token] of text.matchAll(/\.\.\.|[A-Za-z_]\w*|1(?!\w)|[()]|\S/g)) {
    if (token === "(") {
      if (open) throw problem("expected no parentheses within parentheses but found one");
      groups.push(open = []);
    } else if (token === ")") {
      if (!open) throw problem('expected "(" before ")" but found none');
      open = undefined;
    } else if (token === "1") {
      if (!open) groups.push([]);
    } else if (token === ellipsis || /^[A-Za-z_]/.test(token)) {
      if (open) open.push(token);
      else groups.push([token]);
    } else {
      throw problem(`expected names, 1, ... and parentheses but found "${token}"`);
    }
  }
  if (open) throw problem('expected ")" after "(" but found none');
  const names = groups.flat();
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice) throw problem(`expected each axis once on a side but found "${twice}" twice`);
  return groups;
}

/** A pattern's two sides. */
export function splitSides(op: string, pattern: string): [left: string, right: string] {
  const sides = pattern.split("->");
  if (sides.length !== 2) {
    throw new TypeError(`${op}: expected one "->" in the pattern but found "${pattern}"`);
  }
  return sides as [string, string];
}

/** The groups with `...` replaced by `count` names: a group each, or all in the group it is in. */
export function expandEllipsis(groups: Groups, count: number): Groups {
  const names = Array.from({ length: count }, (_, i) => `${ellipsis}${i - count}`);
  return groups.flatMap((group) =>
    group.length === 1 && group[0] === ellipsis
      ? names.map((name) => [name])
      : [group.flatMap((name) => name === ellipsis ? names : [name])]
  );
}
