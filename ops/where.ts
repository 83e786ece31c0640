/** The choice between two tensors, element by element. */
import type { Op } from "../lib/op.ts";
import { broadcastShapes } from "../lib/shape.ts";
import { bindOne, type Tensor, type TensorLike } from "../lib/tensor.ts";
import { checkDType, checkShapeIs } from "./arguments.ts";
import { asTensors, broadcastTo } from "./broadcast.ts";

const whereOp: Op = {
  name: "where",
  infer([condition, x, y]) {
    checkDType("where", "condition", condition!, "bool");
    checkShapeIs("where", "x", x!, condition!.shape);
    checkShapeIs("where", "y", y!, condition!.shape);
    return [{ shape: condition!.shape, dtype: x!.dtype }];
  },
  vjp: ({ inputs: [condition], cotangents: [g] }) => [
    undefined,
    where(condition!, g!, 0),
    where(condition!, 0, g!),
  ],
  run: {
    kind: "expression",
    lower: (index, input, { e }) =>
      e.apply("where", input(0, index), input(1, index), input(2, index)),
  },
};

/**
 * The elements of `x` where a condition holds, and those of `y` elsewhere.
 *
 * @param condition A bool tensor or a boolean.
 * @param x A tensor or number.
 * @param y A tensor or number.
 * @returns A tensor of the shape that all three broadcast to, of the common type of `x` and `y`.
 * @throws {TypeError} If the condition is not bool.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { where } from "./where.ts";
 * assertEquals(await where(tensor([true, false]), tensor([1, 2]), 0).toArray(), [1, 0]);
 * ```
 */
export function where(condition: TensorLike, x: TensorLike, y: TensorLike): Tensor {
  const [chooser] = asTensors("where", condition);
  const branches = asTensors("where", x, y);
  const operands = [chooser!, ...branches];
  const shape = broadcastShapes("where", ...operands.map((operand) => operand.shape));
  return bindOne(whereOp, operands.map((operand) => broadcastTo(operand, shape)));
}
