/** Descriptions of parameters: shapes and first values, from which trees of tensors are made. */
import { type DType, type HostArray, hostArray } from "../../lib/dtype.ts";
import { sameShape, type Shape, showShape, sizeOf } from "../../lib/shape.ts";
import { Tensor, tensor } from "../../lib/tensor.ts";
import { tracing } from "../../lib/transforms/trace.ts";
import { mapEntries, treeEntries, treeMap } from "../../lib/tree.ts";
import { ones, zeros } from "../../ops/create.ts";
import { mul } from "../../ops/arithmetic.ts";
import { normal, uniform } from "../../ops/distributions.ts";
import { foldIn } from "../../ops/random.ts";

/** First values: a constant, N(0, deviation²), or uniform in ±bound. */
export type Fill = "zeros" | "ones" | { readonly normal: number } | { readonly uniform: number };

/** A parameter before it exists: a leaf of the tree that a model's `parameters` gives. */
export class Parameter {
  /** Lengths of the axes. */
  readonly shape: Shape;
  /** First values. */
  readonly fill: Fill;

  /** @ignore */
  constructor(shape: Shape, fill: Fill) {
    this.shape = shape;
    this.fill = fill;
  }
}

/**
 * Draws the tensors of a tree of parameters. Each draws from a key of its own, so the same tree and key
 * give the same values on every device.
 *
 * @param tree Plain objects and arrays with {@link Parameter} leaves.
 * @param key A random key.
 * @returns A tree of the same structure with f32 tensors as leaves.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { key } from "../../ops/random.ts";
 * import { createParameters, Parameter } from "./parameter.ts";
 *
 * const { scale } = createParameters({ scale: new Parameter([3], "ones") }, key(0));
 * assertEquals(await scale.toArray(), [1, 1, 1]);
 * ```
 */
export function createParameters<T>(tree: T, key: Tensor): Created<T> {
  let next = 0;
  const make = (parameter: Parameter) => create(parameter, foldIn(key, next++));
  // Traced, so that what lies between key and parameter gets no memory of its own.
  const created = tracing(() => treeMap(make, tree));
  return treeMap((x: Tensor) => new Tensor(x.value), created) as Created<T>;
}

/** A tree with tensors in place of {@link Parameter} leaves. */
export type Created<T> = T extends Parameter | Tensor ? Tensor
  : { [Name in keyof T]: Created<T[Name]> };

function create({ shape, fill }: Parameter, key: Tensor): Tensor {
  if (fill === "zeros") return zeros(shape);
  if (fill === "ones") return ones(shape);
  return "normal" in fill
    ? mul(normal(key, shape), fill.normal)
    : uniform(key, shape, { low: -fill.uniform, high: fill.uniform });
}

/**
 * How many numbers a tree of parameters holds.
 *
 * @param tree Plain objects and arrays with {@link Parameter} (or tensor) leaves.
 * @returns The sum of the sizes of its leaves.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { countParameters, Parameter } from "./parameter.ts";
 *
 * assertEquals(countParameters([new Parameter([2, 3], "ones"), new Parameter([4], "zeros")]), 10);
 * ```
 */
export function countParameters(tree: unknown): number {
  return treeEntries<{ shape: Shape }>(tree)
    .reduce((total, [, { shape }]) => total + sizeOf(shape), 0);
}

/** What stands for a tensor in a tree that is to be filled: a {@link Parameter} is f32. */
interface Described {
  readonly shape: Shape;
  readonly dtype?: DType;
}

/**
 * The tree of tensors whose leaves are given by name, such as those of a file of weights.
 *
 * @param tree Plain objects and arrays with {@link Parameter} (or tensor) leaves; their paths are the names.
 * @param tensors Elements by name, with their shapes.
 * @param source What errors call the place they come from.
 * @returns A tree of the same structure with tensors as leaves.
 * @throws {TypeError} If a name is missing or unknown, or a shape or type is another.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Parameter, parametersFrom } from "./parameter.ts";
 *
 * const tree = { layers: [{ weight: new Parameter([2], "ones") }] };
 * const named = { "layers.0.weight": { shape: [2], data: Float32Array.of(3, 4) } };
 * const { layers } = parametersFrom(tree, named, "weights.safetensors");
 * assertEquals(await layers[0].weight.toArray(), [3, 4]);
 * ```
 */
export function parametersFrom<T>(
  tree: T,
  tensors: Readonly<Record<string, { shape: Shape; data: ArrayBufferView }>>,
  source: string,
): Created<T> {
  const known = new Set(treeEntries(tree).map(([path]) => path));
  const unknown = Object.keys(tensors).find((name) => !known.has(name));
  if (unknown !== undefined) {
    throw new TypeError(
      `parametersFrom: expected parameters of the model but found ${unknown} in ${source}`,
    );
  }
  return mapEntries<Described>(tree, ({ shape, dtype = "f32" }, path) => {
    const found = Object.hasOwn(tensors, path) ? tensors[path] : undefined;
    const isRight = found && found.data.constructor === hostArray(dtype, 0).constructor &&
      sameShape(found.shape, shape);
    if (isRight) return tensor(found.data as HostArray, { shape, dtype });
    throw new TypeError(
      `parametersFrom: expected ${path} to be ${dtype}${showShape(shape)} but found ${
        found ? `${found.data.constructor.name} ${showShape(found.shape)}` : "none"
      } in ${source}`,
    );
  }) as Created<T>;
}
