/** Lowering: one element of a value as a scalar expression, down to the loads of known buffers. */
import { rowMajorStrides, sameShape, type Shape, sizeOf } from "../shape.ts";
import type { View } from "../op.ts";
import type { Part } from "./canonical.ts";
import { type Expr, ExprBuilder } from "./expr.ts";

/** Gives the element of a value that is at hand, or undefined for one to be lowered further. */
export type Access = (part: Part, index: readonly Expr[]) => Expr | undefined;

/** The position of an index in row-major order. */
export function linearIndex(e: ExprBuilder, index: readonly Expr[], shape: Shape): Expr {
  const strides = rowMajorStrides(shape);
  let sum = e.int(0);
  for (const [axis, i] of index.entries()) {
    sum = e.apply("add", sum, e.apply("mul", i, e.int(strides[axis]!)));
  }
  return sum;
}

/** The index, axis by axis, of a position in row-major order. */
export function delinearize(e: ExprBuilder, position: Expr, shape: Shape): Expr[] {
  const strides = rowMajorStrides(shape);
  return shape.map((length, axis) => {
    const whole = e.apply("divide", position, e.int(strides[axis]!));
    return axis === 0 ? whole : e.apply("modulo", whole, e.int(length));
  });
}

/** The index in `shape` of the point of a loop nest over `dims`, which has as many points. */
export function reindex(
  e: ExprBuilder,
  index: readonly Expr[],
  dims: Shape,
  shape: Shape,
): Expr[] {
  if (sizeOf(shape) === 1) return shape.map(() => e.int(0));
  if (sameShape(dims, shape)) return [...index];
  return delinearize(e, linearIndex(e, index, dims), shape);
}

/** The element of a value at an index. */
export function lower(
  e: ExprBuilder,
  part: Part,
  index: readonly Expr[],
  access: Access,
  known = new Map<string, Expr>(),
): Expr {
  const key = `${part.id}:${index.map((i) => i.id)}`;
  const before = known.get(key);
  if (before) return before;
  const result = access(part, index) ?? lowerHere(e, part, index, access, known);
  known.set(key, result);
  return result;
}

/** The element of an expression op's output, never asking `access` for that output itself. */
export function lowerHere(
  e: ExprBuilder,
  part: Part,
  index: readonly Expr[],
  access: Access,
  known = new Map<string, Expr>(),
): Expr {
  const { op, attributes, inputs } = part.unit;
  if (op.run.kind !== "expression") {
    throw new TypeError(`${op.name}: expected its output to be computed before it is used`);
  }
  const result = op.run.lower(
    index,
    (which, at) => lower(e, inputs[which]!, at, access, known),
    { e, inputs, output: part, attributes },
  );
  if (result.dtype !== part.dtype) {
    throw new TypeError(
      `${op.name}: expected its expression to be of type ${part.dtype} but found ${result.dtype}`,
    );
  }
  return result;
}

/** The strided view that a value is of a buffer, where movement ops alone lead to one. */
export function viewOf(
  part: Part,
  isBuffer: (part: Part) => boolean,
): { view: View; base: Part } | undefined {
  if (isBuffer(part)) {
    const { shape, dtype } = part;
    return { view: { shape, dtype, strides: rowMajorStrides(shape), offset: 0 }, base: part };
  }
  const { op, attributes, inputs } = part.unit;
  if (op.run.kind !== "expression" || !op.run.view) return undefined;
  const inner = viewOf(inputs[0]!, isBuffer);
  const view = inner && op.run.view(inner.view, attributes, part);
  return view && { view, base: inner.base };
}

/** How an expression op touches its inputs. */
export interface OwnWork {
  /** Cost of the op itself, without its inputs; 0 for one that only moves elements. */
  readonly weight: number;
}

/** The cost of one element of an expression op, its inputs taken as given. */
export function ownWork(part: Part): OwnWork {
  const e = new ExprBuilder();
  const index = part.shape.map((length, axis) => e.variable(axis, length));
  let loads = 0;
  const result = lowerHere(e, part, index, (input, at) => {
    loads++;
    return e.load(input.id, input.dtype, linearIndex(e, at, input.shape));
  });
  return { weight: Math.max(0, result.weight - loads) };
}
