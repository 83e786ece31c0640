/** Sums of products of tensors, by a pattern of axis names. */
import { broadcastShapes, showShape, sizeOf } from "../lib/shape.ts";
import type { Tensor } from "../lib/tensor.ts";
import { mul } from "./arithmetic.ts";
import { broadcastTo } from "./broadcast.ts";
import { matmul } from "./matmul/matmul.ts";
import { ellipsis, expandEllipsis, parseGroups, splitSides } from "./pattern.ts";
import { sum } from "./reduce.ts";
import { reshape } from "./reshape.ts";
import { transpose } from "./transpose.ts";

/** A tensor with a name for each axis. */
interface Named {
  readonly x: Tensor;
  readonly names: readonly string[];
}

/**
 * The sum of products of tensors over all axes that the result does not name. Two tensors are
 * combined at a time, from the left, by `matmul`.
 *
 * @param pattern The axes of each tensor, separated by commas, and those of the result, as
 * `b i d, b j d -> b i j`; `...` stands for axes not named, which broadcast.
 * @param tensors One tensor for each part of the left side.
 * @returns The result.
 * @throws {TypeError} If the pattern is not well formed or does not fit the shapes.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { einsum } from "./einsum.ts";
 * const x = tensor([[1, 2], [3, 4]]);
 * assertEquals(await einsum("i j, k j -> i k", x, x).toArray(), [[5, 11], [11, 25]]);
 * assertEquals(await einsum("i j -> j", x).toArray(), [4, 6]);
 * ```
 */
export function einsum(pattern: string, ...tensors: readonly Tensor[]): Tensor {
  const [left, right] = splitSides("einsum", pattern);
  const { operands, unnamed } = nameAxes(pattern, left.split(","), tensors);
  const wanted = flatNames(right, pattern, unnamed);
  const missing = wanted.find((name) => !operands.some(({ names }) => names.includes(name)));
  if (missing) {
    throw new TypeError(
      `einsum: expected the result's axes on the left side but found "${missing}" only on the right of "${pattern}"`,
    );
  }
  let [result] = operands as [Named, ...Named[]];
  for (let i = 1; i < operands.length; i++) {
    const later = operands.slice(i + 1).flatMap(({ names }) => names);
    result = contract(result, operands[i]!, new Set([...wanted, ...later]));
  }
  const { x, names } = sumOut(result, new Set(wanted));
  return transpose(x, wanted.map((name) => names.indexOf(name)));
}

/** The names of one part of a pattern, which has no parentheses. */
function flatNames(part: string, pattern: string, unnamed: number): string[] {
  const groups = parseGroups("einsum", part, pattern);
  if (groups.some((group) => group.length !== 1)) {
    throw new TypeError(`einsum: expected names alone, no parentheses or 1, in "${pattern}"`);
  }
  return expandEllipsis(groups, unnamed).flat();
}

/** Checks the tensors against the pattern and names their axes. */
function nameAxes(pattern: string, parts: readonly string[], tensors: readonly Tensor[]) {
  if (parts.length !== tensors.length) {
    throw new TypeError(
      `einsum: expected ${parts.length} tensors for "${pattern}" but found ${tensors.length}`,
    );
  }
  const named = parts.map((part, i): Named => {
    const { rank, shape } = tensors[i]!;
    const written = flatNames(part, pattern, 0).length;
    const names = flatNames(part, pattern, Math.max(0, rank - written));
    if (names.length !== rank) {
      throw new TypeError(
        `einsum: expected tensor ${i} to have the axes "${part.trim()}" but found shape ${
          showShape(shape)
        }`,
      );
    }
    return { x: tensors[i]!, names };
  });
  // Axes under `...` broadcast; the others must agree.
  const isUnnamed = (name: string) => name.startsWith(ellipsis);
  const common = broadcastShapes(
    "einsum",
    ...named.map(({ x, names }) => x.shape.filter((_, axis) => isUnnamed(names[axis]!))),
  );
  const lengths = new Map<string, number>();
  common.forEach((length, i) => lengths.set(`${ellipsis}${i - common.length}`, length));
  const operands = named.map(({ x, names }, i) => {
    for (const [axis, name] of names.entries()) {
      const length = lengths.get(name) ?? x.shape[axis]!;
      lengths.set(name, length);
      if (length !== x.shape[axis] && !isUnnamed(name)) {
        throw new TypeError(
          `einsum: expected axis "${name}" of tensor ${i} to have length ${length} but found ${
            x.shape[axis]
          }`,
        );
      }
    }
    return { x: broadcastTo(x, names.map((name) => lengths.get(name)!)), names };
  });
  return { operands, unnamed: common.length };
}

/** Sums away the axes that are not to be kept. */
function sumOut({ x, names }: Named, kept: ReadonlySet<string>): Named {
  const axes = names.map((_, axis) => axis).filter((axis) => !kept.has(names[axis]!));
  return { x: sum(x, { axes }), names: names.filter((name) => kept.has(name)) };
}

/** The product of two tensors, summed over their axes that are not to be kept. */
function contract(a: Named, b: Named, kept: ReadonlySet<string>): Named {
  a = sumOut(a, new Set([...kept, ...b.names]));
  b = sumOut(b, new Set([...kept, ...a.names]));
  const shared = a.names.filter((name) => b.names.includes(name));
  const batch = shared.filter((name) => kept.has(name));
  const summed = shared.filter((name) => !kept.has(name));
  const rows = a.names.filter((name) => !shared.includes(name));
  const columns = b.names.filter((name) => !shared.includes(name));
  const lengths = new Map(
    [a, b].flatMap(({ x, names }) => names.map((name, axis) => [name, x.shape[axis]!])),
  );
  const shapeOf = (names: readonly string[]) => names.map((name) => lengths.get(name)!);
  const ordered = ({ x, names }: Named, order: readonly string[]) =>
    transpose(x, order.map((name) => names.indexOf(name)));
  const names = [...batch, ...rows, ...columns];
  const left = ordered(a, [...batch, ...rows, ...summed]);
  const right = ordered(b, [...batch, ...summed, ...columns]);
  const outer = shapeOf(batch);
  const [m, k, n] = [rows, summed, columns].map((group) => sizeOf(shapeOf(group)));
  const product = summed.length === 0
    ? mul(reshape(left, [...outer, m!, 1]), reshape(right, [...outer, 1, n!]))
    : matmul(reshape(left, [...outer, m!, k!]), reshape(right, [...outer, k!, n!]));
  return { x: reshape(product, shapeOf(names)), names };
}
