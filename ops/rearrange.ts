/** Axes split, merged and reordered by a pattern of names. */
import { showShape } from "../lib/shape.ts";
import type { Tensor } from "../lib/tensor.ts";
import { ellipsis, expandEllipsis, type Groups, parseGroups, splitSides } from "./pattern.ts";
import { reshape } from "./reshape.ts";
import { transpose } from "./transpose.ts";

/**
 * A tensor whose axes are split, merged and reordered: the left side of the pattern names the axes
 * of `x`, the right side those of the result; names in parentheses are one axis, the last name
 * varying fastest; `...` stands for all axes not named; `1` is an axis of length 1.
 *
 * Source: Rogozhnikov, "Einops" (2022), section 3.
 *
 * @param x A tensor.
 * @param pattern The pattern, as `b (h w) c -> b h w c`.
 * @param sizes Lengths of axes that the shape of `x` does not tell.
 * @returns The tensor.
 * @throws {TypeError} If the pattern is not well formed or does not fit the shape.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { rearrange } from "./rearrange.ts";
 * const x = rearrange(tensor([[1, 2, 3, 4]]), "b (h w) -> b w h", { h: 2 });
 * assertEquals(await x.toArray(), [[[1, 3], [2, 4]]]);
 * ```
 */
export function rearrange(
  x: Tensor,
  pattern: string,
  sizes: Readonly<Record<string, number>> = {},
): Tensor {
  const [before, after] = splitSides("rearrange", pattern);
  let left = parseGroups("rearrange", before, pattern);
  let right = parseGroups("rearrange", after, pattern);
  const open = left.some((group) => group[0] === ellipsis);
  const unnamed = open ? x.rank - left.length + 1 : 0;
  if (unnamed < 0 || (!open && x.rank !== left.length)) {
    throw new TypeError(
      `rearrange: expected x to have the axes of "${before.trim()}" but found shape ${
        showShape(x.shape)
      }`,
    );
  }
  left = expandEllipsis(left, unnamed);
  right = expandEllipsis(right, unnamed);
  const names = left.flat();
  const wanted = right.flat();
  const lost = names.find((name) => !wanted.includes(name)) ??
    wanted.find((name) => !names.includes(name));
  if (lost !== undefined) {
    throw new TypeError(
      `rearrange: expected the same axes on both sides but found "${lost}" on one of "${pattern}"`,
    );
  }
  const lengths = solve(x, left, sizes, pattern);
  const split = reshape(x, names.map((name) => lengths.get(name)!));
  const moved = transpose(split, wanted.map((name) => names.indexOf(name)));
  return reshape(
    moved,
    right.map((group) => group.reduce((product, name) => product * lengths.get(name)!, 1)),
  );
}

/** The length of every name of the left side. */
function solve(
  x: Tensor,
  left: Groups,
  sizes: Readonly<Record<string, number>>,
  pattern: string,
): Map<string, number> {
  const lengths = new Map(Object.entries(sizes));
  for (const [axis, group] of left.entries()) {
    const length = x.shape[axis]!;
    const unknown = group.filter((name) => !lengths.has(name));
    if (unknown.length > 1) {
      throw new TypeError(
        `rearrange: expected sizes to tell all but one of "${
          group.join(" ")
        }" but found ${unknown.length} unknown in "${pattern}"`,
      );
    }
    const known = group.reduce((product, name) => product * (lengths.get(name) ?? 1), 1);
    if (unknown.length === 1) lengths.set(unknown[0]!, known === 0 ? 0 : length / known);
    const product = group.reduce((product, name) => product * lengths.get(name)!, 1);
    if (product !== length || group.some((name) => !Number.isInteger(lengths.get(name)))) {
      throw new TypeError(
        `rearrange: expected axis ${axis} of x to be "${group.join(" ") || 1}" with sizes ${
          JSON.stringify(sizes)
        } but found length ${length}`,
      );
    }
  }
  return lengths;
}
