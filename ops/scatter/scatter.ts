/** Writing into a tensor at places that are known only when it runs. */
import type { Attributes, KernelOperand, Op } from "../../lib/op.ts";
import { normalizeAxis, sameShape, showShape, sizeOf } from "../../lib/shape.ts";
import { bindOne, type Tensor } from "../../lib/tensor.ts";
import { add, mul } from "../arithmetic.ts";
import { checkDType, checkRank, checkShapeIs } from "../arguments.ts";
import { asTensors } from "../broadcast.ts";
import { cast } from "../cast.ts";
import { greaterEqual, less } from "../compare.ts";
import { full, iota, zerosLike } from "../create.ts";
import { dynamicSlice, take } from "../gather.ts";
import { logicalAnd } from "../logic.ts";
import { reshape } from "../reshape.ts";
import { moveAxis } from "../transpose.ts";
import { where } from "../where.ts";
import { scatterAddWasm, updateSliceWasm } from "./wasm.ts";
import { scatterAddWgsl, updateSliceWgsl } from "./wgsl.ts";

/** base [N, ...rest], indices i32 [R], updates [R, ...rest] → like base. */
const scatterAddOp: Op = {
  name: "scatterAdd",
  infer([base, indices, updates]) {
    checkDType("scatterAdd", "base", base!, "number");
    checkDType("scatterAdd", "indices", indices!, "integer");
    checkRank("scatterAdd", "indices", indices!, 1);
    checkShapeIs("scatterAdd", "updates", updates!, [
      indices!.shape[0]!,
      ...base!.shape.slice(1),
    ]);
    return [base!];
  },
  vjp: (
    { inputs: [, indices], cotangents: [g] },
  ) => [g, undefined, take(g!, indices!, { axis: 0 })],
  run: {
    kind: "kernel",
    inPlace: 0,
    cpu: scatterAddCpu,
    wasm: scatterAddWasm,
    wgsl: scatterAddWgsl,
  },
};

function scatterAddCpu(
  [, indices, updates]: readonly KernelOperand[],
  [out]: readonly KernelOperand[],
): void {
  const rows = out!.shape[0]!;
  const length = sizeOf(out!.shape.slice(1));
  for (const [from, to] of indices!.data.entries()) {
    if (to < 0 || to >= rows) continue;
    for (let i = 0; i < length; i++) {
      out!.data[to * length + i]! += updates!.data[from * length + i]!;
    }
  }
}

/**
 * A tensor with rows added to some of its rows. Several rows may go to one place; rows for places
 * outside the tensor are left out.
 *
 * @param base A tensor [N, ...rest].
 * @param indices An integer tensor [R]: where each row goes.
 * @param updates The rows [R, ...rest].
 * @returns A tensor like `base`.
 * @throws {TypeError} If the shapes do not fit.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../../lib/tensor.ts";
 * import { scatterAdd } from "./scatter.ts";
 * const places = tensor([2, 0, 2], { dtype: "i32" });
 * const sums = scatterAdd(tensor([0, 0, 0]), places, tensor([1, 2, 3]));
 * assertEquals(await sums.toArray(), [2, 0, 4]);
 * ```
 */
export function scatterAdd(base: Tensor, indices: Tensor, updates: Tensor): Tensor {
  if (base.rank === 0) {
    throw new TypeError("scatterAdd: expected base to have at least one axis but found a scalar");
  }
  checkDType("scatterAdd", "indices", indices, "integer");
  const [target, rows] = asTensors("scatterAdd", base, updates) as [Tensor, Tensor];
  const places = cast(indices, "i32");
  return target.size === 0 ? target : bindOne(scatterAddOp, [target, places, rows]);
}

/**
 * A tensor with elements added at given places along one axis: what undoes `takeAlong`. Elements
 * for places outside the axis are left out.
 *
 * @param base A tensor.
 * @param indices An integer tensor of as many axes, of any length along the axis and as long as
 * `base` along the others.
 * @param updates A tensor of the shape of `indices`.
 * @param options `axis`: the axis (default the last).
 * @returns A tensor like `base`.
 * @throws {TypeError} If the shapes do not fit.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../../lib/tensor.ts";
 * import { scatterAlong } from "./scatter.ts";
 * const places = tensor([[1], [0]], { dtype: "i32" });
 * const x = scatterAlong(tensor([[0, 0], [0, 0]]), places, tensor([[5], [6]]));
 * assertEquals(await x.toArray(), [[0, 5], [6, 0]]);
 * ```
 */
export function scatterAlong(
  base: Tensor,
  indices: Tensor,
  updates: Tensor,
  options: { axis?: number } = {},
): Tensor {
  const axis = normalizeAxis("scatterAlong", options.axis ?? -1, base.rank);
  checkDType("scatterAlong", "indices", indices, "integer");
  checkShapeIs("scatterAlong", "updates", updates, indices.shape);
  const fits = indices.rank === base.rank &&
    sameShape(indices.shape.toSpliced(axis, 1), base.shape.toSpliced(axis, 1));
  if (!fits) {
    throw new TypeError(
      `scatterAlong: expected indices to be as long as base ${
        showShape(base.shape)
      } but for axis ${axis} but found shape ${showShape(indices.shape)}`,
    );
  }
  const rows = moveAxis(base, axis, -1);
  const places = moveAxis(cast(indices, "i32"), axis, -1);
  const length = base.shape[axis]!;
  const rowOf = places.shape.slice(0, -1).reduce(
    (sum, count, i) => add(mul(sum, count), iota(places.shape, { axis: i })),
    zerosLike(places),
  );
  const inside = logicalAnd(greaterEqual(places, 0), less(places, length));
  const flat = where(inside, add(mul(rowOf, length), places), -1);
  const result = scatterAdd(
    reshape(rows, [-1]),
    reshape(flat, [-1]),
    reshape(moveAxis(updates, axis, -1), [-1]),
  );
  return moveAxis(reshape(result, rows.shape), -1, axis);
}

/** base, update (same rank), start i32 [] → like base. */
const updateSliceOp: Op = {
  name: "updateSlice",
  infer([base, update, start], { axis }) {
    const fits = base!.shape.length === update!.shape.length &&
      base!.shape.every((length, i) =>
        i === axis ? update!.shape[i]! <= length : update!.shape[i] === length
      );
    if (!fits) {
      throw new TypeError(
        `updateSlice: expected update to fit base ${
          showShape(base!.shape)
        } along axis ${axis} but found shape ${showShape(update!.shape)}`,
      );
    }
    checkDType("updateSlice", "start", start!, "integer");
    checkRank("updateSlice", "start", start!, 0);
    return [base!];
  },
  vjp({ inputs: [, update, start], cotangents: [g], attributes: { axis } }) {
    return [
      updateSlice(g!, zerosLike(update!), start!, { axis }),
      dynamicSlice(g!, start!, update!.shape[axis]!, { axis }),
      undefined,
    ];
  },
  run: {
    kind: "kernel",
    inPlace: 0,
    moves: {
      input: 1,
      to(at, load, { e, inputs: [base, update], attributes: { axis } }) {
        const inner = sizeOf(base!.shape.slice(axis + 1));
        const length = base!.shape[axis]!, written = update!.shape[axis]!;
        const place = e.apply("maximum", load(2, e.int(0)), e.int(0));
        const first = e.apply("minimum", place, e.int(length - written));
        const outer = e.apply("divide", at, e.int(written * inner));
        const before = e.apply("mul", outer, e.int((length - written) * inner));
        return e.apply("add", e.apply("add", at, before), e.apply("mul", first, e.int(inner)));
      },
    },
    cpu: updateSliceCpu,
    wasm: updateSliceWasm,
    wgsl: updateSliceWgsl,
  },
};

function updateSliceCpu(
  [, update, start]: readonly KernelOperand[],
  [out]: readonly KernelOperand[],
  { axis }: Attributes,
): void {
  const length = out!.shape[axis]!, count = update!.shape[axis]!;
  const inner = sizeOf(out!.shape.slice(axis + 1));
  const first = Math.min(length - count, Math.max(0, start!.data[0]!));
  for (let outer = 0; outer < sizeOf(out!.shape.slice(0, axis)); outer++) {
    const rows = update!.data.subarray(outer * count * inner, (outer + 1) * count * inner);
    out!.data.set(rows, (outer * length + first) * inner);
  }
}

/**
 * A tensor with a part replaced, from a place on that is known only when it runs. Inside a jitted
 * program whose input `base` is donated, it is written in place.
 *
 * @param base A tensor.
 * @param update What to write: as long as `base` along all axes but one, where it may be shorter.
 * @param start An integer scalar: the first place along the axis; moved so that `update` fits.
 * @param options `axis`: the axis (default 0).
 * @returns A tensor like `base`.
 * @throws {TypeError} If the shapes do not fit.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../../lib/tensor.ts";
 * import { updateSlice } from "./scatter.ts";
 * const x = updateSlice(tensor([1, 2, 3, 4]), tensor([7, 8]), 1);
 * assertEquals(await x.toArray(), [1, 7, 8, 4]);
 * ```
 */
export function updateSlice(
  base: Tensor,
  update: Tensor,
  start: Tensor | number,
  options: { axis?: number } = {},
): Tensor {
  const axis = normalizeAxis("updateSlice", options.axis ?? 0, base.rank);
  const place = typeof start === "number" ? full([], start, { dtype: "i32" }) : cast(start, "i32");
  const part = cast(update, base.dtype);
  return part.size === 0 ? base : bindOne(updateSliceOp, [base, part, place], { axis });
}
