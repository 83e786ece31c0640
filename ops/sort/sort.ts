/** Sorting along an axis. */
import type { Attributes, KernelOperand, Op } from "../../lib/op.ts";
import { normalizeAxis } from "../../lib/shape.ts";
import { bind, type Tensor } from "../../lib/tensor.ts";
import { checkDType } from "../arguments.ts";
import { zerosLike } from "../create.ts";
import { scatterAlong } from "../scatter/scatter.ts";
import { moveAxis } from "../transpose.ts";
import { sortWasm } from "./wasm.ts";
import { sortScratch, sortWgsl } from "./wgsl.ts";

/** Along the last axis: x → values, indices i32; stable, NaN last. */
const sortOp: Op = {
  name: "sort",
  infer([x]) {
    checkDType("sort", "x", x!, "number");
    return [x!, { shape: x!.shape, dtype: "i32" }];
  },
  vjp: ({ inputs: [x], outputs: [, indices], cotangents: [g] }) => [
    g && scatterAlong(zerosLike(x!), indices!, g),
  ],
  run: {
    kind: "kernel",
    cpu,
    wasm: sortWasm,
    wgsl: sortWgsl,
    scratch: (spec, backend) => backend === "webgpu" ? sortScratch(spec) : [],
  },
};

function cpu(
  [x]: readonly KernelOperand[],
  [values, indices]: readonly KernelOperand[],
  { descending }: Attributes,
): void {
  const length = x!.shape.at(-1)!;
  const order = Array.from({ length }, (_, i) => i);
  const direction = descending ? -1 : 1;
  for (let start = 0; start < x!.data.length; start += length) {
    const row = x!.data.subarray(start, start + length);
    const sorted = order.toSorted((i, j) => {
      const a = row[i]!, b = row[j]!;
      if (Number.isNaN(a) || Number.isNaN(b)) return +Number.isNaN(a) - +Number.isNaN(b);
      return a === b ? 0 : a < b ? -direction : direction;
    });
    for (const [i, from] of sorted.entries()) {
      values!.data[start + i] = row[from]!;
      indices!.data[start + i] = from;
    }
  }
}

/** How to sort. */
export interface SortOptions {
  /** The axis (default the last). */
  readonly axis?: number;
  /** Greatest first (default false). */
  readonly descending?: boolean;
}

function sorted(name: string, x: Tensor, { axis = -1, descending = false }: SortOptions): Tensor[] {
  const last = normalizeAxis(name, axis, x.rank);
  const results = bind(sortOp, [moveAxis(x, last, -1)], { descending });
  return results.map((result) => moveAxis(result, -1, last));
}

/**
 * The elements in order along an axis. Equal elements keep their order; NaN comes last.
 *
 * @param x A tensor of numbers.
 * @param options `axis` (default the last) and `descending` (default false).
 * @returns A tensor of the same shape and type.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../../lib/tensor.ts";
 * import { sort } from "./sort.ts";
 * assertEquals(await sort(tensor([2, 3, 1]), { descending: true }).toArray(), [3, 2, 1]);
 * ```
 */
export function sort(x: Tensor, options: SortOptions = {}): Tensor {
  return sorted("sort", x, options)[0]!;
}

/**
 * The places from which the elements of the sorted tensor come.
 *
 * @param x A tensor of numbers.
 * @param options `axis` (default the last) and `descending` (default false).
 * @returns An i32 tensor of the same shape.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../../lib/tensor.ts";
 * import { argsort } from "./sort.ts";
 * assertEquals(await argsort(tensor([2, 3, 1])).toArray(), [2, 0, 1]);
 * ```
 */
export function argsort(x: Tensor, options: SortOptions = {}): Tensor {
  return sorted("argsort", x, options)[1]!;
}
