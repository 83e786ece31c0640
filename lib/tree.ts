/** Trees of tensors: plain objects and arrays, nested, with tensors (or any values) as leaves. */
import { Tensor } from "./tensor.ts";

/** A leaf, or plain objects and arrays of trees. */
export type Tree<Leaf = Tensor> = Leaf | readonly Tree<Leaf>[] | {
  readonly [name: string]: Tree<Leaf>;
};

/** The shape of a tree without its leaves; equal trees have equal `key`s. */
export interface TreeStructure {
  readonly key: string;
  /** Rebuilds a tree from leaves in order. */
  build(leaves: readonly unknown[]): unknown;
}

function isBranch(tree: unknown): tree is Record<string, unknown> | unknown[] {
  if (Array.isArray(tree)) return true;
  if (typeof tree !== "object" || tree === null || tree instanceof Tensor) return false;
  const prototype = Object.getPrototypeOf(tree);
  return prototype === Object.prototype || prototype === null;
}

/**
 * The leaves of a tree, branch by branch, the keys of an object in sorted order.
 *
 * @param tree Any nesting of plain objects and arrays.
 * @returns Everything in it that is neither.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { treeLeaves } from "./tree.ts";
 * assertEquals(treeLeaves<number>({ a: 1, b: [2, { c: 3 }] }), [1, 2, 3]);
 * ```
 */
export function treeLeaves<Leaf = Tensor>(tree: unknown): Leaf[] {
  return flatten(tree).leaves as Leaf[];
}

/** The leaves of a tree with their paths, as in `layers.0.weight`. */
export function treeEntries<Leaf = Tensor>(tree: unknown): [string, Leaf][] {
  const entries: [string, Leaf][] = [];
  mapEntries<Leaf>(tree, (leaf, path) => entries.push([path, leaf]));
  return entries;
}

/**
 * Rebuilds a tree with another leaf at every path.
 *
 * @param tree Plain objects and arrays.
 * @param fn Gets a leaf and its path, as in `layers.0.weight`.
 * @returns A tree of the results.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { mapEntries } from "./tree.ts";
 * assertEquals(mapEntries({ a: 1, b: [2] }, (x, path) => `${path} ${x}`), { a: "a 1", b: ["b.0 2"] });
 * ```
 */
export function mapEntries<Leaf = Tensor>(
  tree: unknown,
  fn: (leaf: Leaf, path: string) => unknown,
): unknown {
  const go = (branch: unknown, path: string): unknown => {
    if (!isBranch(branch)) return fn(branch as Leaf, path);
    const children = Object.entries(branch).map(([name, child]) =>
      [name, go(child, path === "" ? name : `${path}.${name}`)] as const
    );
    return Array.isArray(branch)
      ? children.map(([, child]) => child)
      : Object.fromEntries(children);
  };
  return go(tree, "");
}

/** Leaves and structure of a tree. */
export function flatten(tree: unknown): { leaves: unknown[]; structure: TreeStructure } {
  const leaves: unknown[] = [];
  const go = (branch: unknown): [string, (take: () => unknown) => unknown] => {
    if (!isBranch(branch)) {
      leaves.push(branch);
      return ["*", (take) => take()];
    }
    if (Array.isArray(branch)) {
      const children = branch.map(go);
      return [
        `[${children.map(([key]) => key).join(",")}]`,
        (take) => children.map(([, build]) => build(take)),
      ];
    }
    const names = Object.keys(branch);
    const children = [...names].sort().map((name) => [name, ...go(branch[name])] as const);
    return [
      `{${children.map(([name, key]) => `${JSON.stringify(name)}:${key}`).join(",")}}`,
      (take) => {
        const built = new Map(children.map(([name, , build]) => [name, build(take)]));
        return Object.fromEntries(names.map((name) => [name, built.get(name)]));
      },
    ];
  };
  const [key, build] = go(tree);
  const structure: TreeStructure = {
    key,
    build(values) {
      let next = 0;
      return build(() => values[next++]);
    },
  };
  return { leaves, structure };
}

/**
 * Applies a function leaf by leaf to one tree, or to several of the same structure.
 *
 * @param fn Gets one leaf of every tree.
 * @param tree Gives the structure.
 * @param trees Further trees of the same structure.
 * @returns A tree of the results.
 * @throws {TypeError} If the trees differ in structure.
 */
// deno-lint-ignore no-explicit-any
export function treeMap<T>(fn: (...leaves: any[]) => unknown, tree: T, ...trees: unknown[]): T {
  const { leaves, structure } = flatten(tree);
  const others = trees.map((other) => {
    const flat = flatten(other);
    if (flat.structure.key !== structure.key) {
      throw new TypeError(
        `treeMap: expected trees of one structure but found ${structure.key} and ${flat.structure.key}`,
      );
    }
    return flat.leaves;
  });
  return structure.build(
    leaves.map((leaf, i) => fn(leaf, ...others.map((other) => other[i]))),
  ) as T;
}
