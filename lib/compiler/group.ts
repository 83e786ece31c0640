/** The loops of a fused group, and items lowered into them. */
import { sizeOf } from "../shape.ts";
import type { Part } from "./canonical.ts";
import { type Expr, type ExprBuilder, walk } from "./expr.ts";
import { linearIndex, lower, lowerHere, reindex } from "./lower.ts";

/** The loops of a group: rows are independent; columns are gone over within a row. */
export interface Space {
  readonly rows: readonly number[];
  readonly columns: readonly number[];
  /** Columns are the last axes: a value of rows × columns elements can be stored as it is made. */
  readonly trailing: boolean;
}

/** A member of a group lowered into its loops. */
export interface Lowered {
  /** Whether there is one element per row or per column of every row. */
  readonly level: "row" | "column";
  /** Where the element stands in the value. */
  readonly index: readonly Expr[];
  /** The element; for a reduction, the `reduced` value. */
  readonly value: Expr;
  /** For a reduction: its number, and the element to reduce. */
  readonly reduction?: { readonly id: number; readonly element: Expr };
  /** The pass over the columns that it belongs to: after all reductions that it uses. */
  readonly pass: number;
}

/** Whether a value is the result of a reduction. */
export function isReduction(part: Part): boolean {
  return part.unit.op.run.kind === "reduction";
}

/** The columns that a reduction goes over. */
export function reductionSpace(part: Part): Space {
  const axes: number[] = part.unit.attributes.axes;
  const shape = part.unit.inputs[0]!.shape;
  const long = (axis: number) => shape[axis] !== 1;
  const kept = shape.map((_, axis) => axis).filter((axis) => !axes.includes(axis));
  const trailing = Math.max(-1, ...kept.filter(long)) < Math.min(Infinity, ...axes.filter(long));
  return {
    rows: kept.map((axis) => shape[axis]!),
    columns: axes.map((axis) => shape[axis]!),
    trailing,
  };
}

class Misaligned extends Error {}

/**
 * Lowers an item into the loops of a space.
 *
 * @param members Values of the same group, by part.
 * @param load Gives the element of a buffer.
 * @returns Undefined if the item does not fit the space, or uses a member at another point.
 */
export function lowerInto(
  ...args: Parameters<typeof lowerAligned>
): Lowered | undefined {
  try {
    return lowerAligned(...args);
  } catch (error) {
    if (error instanceof Misaligned) return undefined;
    throw error;
  }
}

function lowerAligned(
  e: ExprBuilder,
  item: Part,
  space: Space,
  members: ReadonlyMap<Part, Lowered>,
  stored: (part: Part) => boolean,
  load: (part: Part, index: Expr) => Expr,
): Lowered | undefined {
  const rowVariables = space.rows.map((length, i) => e.variable(i, length));
  const columnVariables = space.columns.map((length, i) =>
    e.variable(space.rows.length + i, length)
  );
  const rowCount = sizeOf(space.rows), columnCount = sizeOf(space.columns);
  const passOfReduction = new Map<number, number>();
  for (const { reduction, pass } of members.values()) {
    if (reduction) passOfReduction.set(reduction.id, pass);
  }
  const passOf = (x: Expr) =>
    Math.max(0, ...[...reductionsIn(x)].map((id) => passOfReduction.get(id)! + 1));
  const access = (part: Part, index: readonly Expr[]) => {
    const member = members.get(part);
    if (member) {
      if (member.index.some((i, axis) => i !== index[axis])) throw new Misaligned();
      return member.value;
    }
    return stored(part) ? load(part, linearIndex(e, index, part.shape)) : undefined;
  };
  if (isReduction(item)) {
    const own = reductionSpace(item);
    if (
      space.columns.length === 0 || sizeOf(own.rows) !== rowCount ||
      sizeOf(own.columns) !== columnCount || own.trailing !== space.trailing
    ) return undefined;
    const input = item.unit.inputs[0]!;
    const axes: number[] = item.unit.attributes.axes;
    const kept = reindex(e, rowVariables, space.rows, own.rows);
    const reduced = reindex(e, columnVariables, space.columns, own.columns);
    const index = input.shape.map((_, axis) =>
      axes.includes(axis) ? reduced.shift()! : kept.shift()!
    );
    const accumulator = item.dtype === "f16" ? "f32" : item.dtype;
    const element = e.cast(accumulator, lower(e, input, index, access));
    const id = passOfReduction.size;
    return {
      level: "row",
      index: reindex(e, rowVariables, space.rows, item.shape),
      value: e.cast(item.dtype, e.reduced(id, accumulator)),
      reduction: { id, element },
      pass: passOf(element),
    };
  }
  const size = sizeOf(item.shape);
  const perColumn = space.columns.length > 0 && space.trailing && size === rowCount * columnCount &&
    columnCount > 1;
  if (!perColumn && size !== rowCount) return undefined;
  const index = perColumn
    ? reindex(
      e,
      [...rowVariables, ...columnVariables],
      [...space.rows, ...space.columns],
      item.shape,
    )
    : reindex(e, rowVariables, space.rows, item.shape);
  const value = lowerHere(e, item, index, access);
  return { level: perColumn ? "column" : "row", index, value, pass: passOf(value) };
}

/** The numbers of the reductions that an expression uses. */
export function reductionsIn(x: Expr): Set<number> {
  const found = new Set<number>();
  walk([x], (node) => {
    if (node.op === "reduced") found.add(node.value);
  });
  return found;
}
