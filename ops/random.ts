/**
 * Random keys and bits. A key is a u32 tensor of two words; the same key gives the same bits on
 * every device and, by `lib/random/threefry.ts`, on the host. A key is used either to draw numbers
 * or to make further keys, and only once.
 */
import type { Expr, ExprBuilder } from "../lib/compiler/expr.ts";
import type { Op, TensorType } from "../lib/op.ts";
import { keyFromSeed } from "../lib/random/threefry.ts";
import { linearIndex } from "../lib/compiler/lower.ts";
import { checkShape, type Shape, showShape } from "../lib/shape.ts";
import { bindOne, Tensor, tensor } from "../lib/tensor.ts";
import { checkDType, checkRank, checkWhole } from "./arguments.ts";
import { cast } from "./cast.ts";
import { full } from "./create.ts";
import { slice } from "./slice.ts";

function checkKey(op: string, key: TensorType): void {
  if (key.dtype === "u32" && key.shape.length === 1 && key.shape[0] === 2) return;
  throw new TypeError(
    `${op}: expected key to be u32 of shape [2] but found ${key.dtype} of shape ${
      showShape(key.shape)
    }`,
  );
}

/** The same for a key or a list of keys [B, 2]. */
function checkKeys(op: string, key: TensorType): void {
  checkKey(op, key.shape.length === 2 ? { dtype: key.dtype, shape: key.shape.slice(1) } : key);
}

/** Both words of the threefry block of a key, or of one of a list, and the counter (0, `counter`). */
function block(
  e: ExprBuilder,
  input: (which: number, index: Expr[]) => Expr,
  counter: Expr,
  which: Expr[] = [],
) {
  const key0 = input(0, [...which, e.int(0)]), key1 = input(0, [...which, e.int(1)]);
  const zero = e.constant("u32", 0), low = e.cast("u32", counter);
  return [
    e.apply("threefry0", key0, key1, zero, low),
    e.apply("threefry1", key0, key1, zero, low),
  ] as const;
}

/**
 * The key of a seed.
 *
 * @param seed A whole number in 0..2^53-1.
 * @returns A key: a u32 tensor [2].
 * @throws {RangeError} If the seed is not such a number.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { key } from "./random.ts";
 * assertEquals(await key(7).toArray(), [0, 7]);
 * ```
 */
export function key(seed: number): Tensor {
  return tensor(Uint32Array.from(keyFromSeed(seed)));
}

const splitKeyOp: Op = {
  name: "splitKey",
  infer([key], { count }) {
    checkKey("splitKey", key!);
    return [{ shape: [count, 2], dtype: "u32" }];
  },
  vjp: null,
  run: {
    kind: "expression",
    lower([child, word], input, { e }) {
      const [first, second] = block(e, input, child!);
      return e.apply("where", e.apply("equal", word!, e.int(0)), first, second);
    },
  },
};

/**
 * Independent children of a key.
 *
 * @param key The parent, not to be used again.
 * @param count How many children (default 2).
 * @returns The children, each a key.
 * @throws {TypeError} If `key` is not a key.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { key, splitKey } from "./random.ts";
 * const [a] = splitKey(key(0));
 * assertEquals(await a!.toArray(), [0x6b200159, 0x99ba4efe]);
 * ```
 */
export function splitKey(key: Tensor, count = 2): Tensor[] {
  checkWhole("splitKey", "count", count, 0);
  const children = bindOne(splitKeyOp, [key], { count });
  return Array.from({ length: count }, (_, i) => slice(children, [i]));
}

const foldInOp: Op = {
  name: "foldIn",
  infer([key, data]) {
    checkKeys("foldIn", key!);
    checkDType("foldIn", "data", data!, "integer");
    return [key!];
  },
  vjp: null,
  run: {
    kind: "expression",
    lower(index, input, { e }) {
      const word = index.at(-1)!;
      const [first, second] = block(e, input, input(1, []), index.slice(0, -1));
      return e.apply("where", e.apply("equal", word, e.int(0)), first, second);
    },
  },
};

/**
 * A child of a key, chosen by a number (a step, a layer): the child of that number of `splitKey`.
 *
 * @param key The parent, or a list of them [B, 2].
 * @param data A whole number, or an integer scalar tensor.
 * @returns The child, or the list of the children of each.
 * @throws {TypeError} If `key` is not a key or `data` no integer scalar.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { foldIn, key, splitKey } from "./random.ts";
 * assertEquals(await foldIn(key(1), 2).toArray(), await splitKey(key(1), 3)[2]!.toArray());
 * ```
 */
export function foldIn(key: Tensor, data: number | Tensor): Tensor {
  const counter = data instanceof Tensor ? data : full([], data, { dtype: "u32" });
  checkRank("foldIn", "data", counter, 0);
  checkDType("foldIn", "data", counter, "integer");
  return bindOne(foldInOp, [key, cast(counter, "u32")]);
}

const randomBitsOp: Op = {
  name: "randomBits",
  infer([key], { shape }) {
    checkKeys("randomBits", key!);
    if (key!.shape.length === 2 && key!.shape[0] !== shape[0]) {
      throw new TypeError(
        `randomBits: expected a key for each of the ${key!.shape[0]} rows but found shape ${
          showShape(shape)
        }`,
      );
    }
    return [{ shape, dtype: "u32" }];
  },
  vjp: null,
  run: {
    kind: "expression",
    lower(index, input, { e, inputs, output }) {
      const lists = inputs[0]!.shape.length - 1; // the axes along which there is a key for each
      const [which, within] = [index.slice(0, lists), index.slice(lists)];
      const counter = linearIndex(e, within, output.shape.slice(lists));
      const [first, second] = block(e, input, counter, which);
      return e.apply("bitXor", first, second);
    },
  },
};

/**
 * Uniform random words.
 *
 * @param key The random key, or a list of keys [B, 2], one for each entry along the first axis: what such an entry gets
 * then depends on its own key only, and is what the key alone gives.
 * @param shape The shape wanted.
 * @returns A u32 tensor of that shape.
 * @throws {TypeError} If `key` is not a key, or not as many as entries along the first axis.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { key, randomBits } from "./random.ts";
 * assertEquals(await randomBits(key(0), [1]).toArray(), [(0x6b200159 ^ 0x99ba4efe) >>> 0]);
 * ```
 */
export function randomBits(key: Tensor, shape: Shape): Tensor {
  checkShape("randomBits", shape);
  return bindOne(randomBitsOp, [key], { shape: [...shape] });
}
