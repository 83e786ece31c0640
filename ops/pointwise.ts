/** The one way in which ops that work element by element are declared and applied. */
import type { Expr, ExprBuilder } from "../lib/compiler/expr.ts";
import type { DType } from "../lib/dtype.ts";
import type { Op } from "../lib/op.ts";
import { bindOne, type Tensor, type TensorLike } from "../lib/tensor.ts";
import { checkDType, checkShapeIs, type Domain } from "./arguments.ts";
import { broadcast } from "./broadcast.ts";

/** What is particular to one op that works element by element. */
export interface Pointwise {
  /** The element types it works on. */
  readonly domain: Domain;
  /** The type of the result; by default that of the inputs. */
  readonly result?: DType;
  /** The element of the result from those of the inputs. */
  element(e: ExprBuilder, ...x: Expr[]): Expr;
  /**
   * The cotangents of the inputs from that of the output; `null` if the op is constant almost
   * everywhere or gives no floats.
   */
  readonly gradient:
    | null
    | ((g: Tensor, inputs: readonly Tensor[], output: Tensor) => (Tensor | undefined)[]);
}

/** Declares an op on inputs of one shape and type. */
export function pointwise(name: string, spec: Pointwise): Op {
  const { domain, result, gradient } = spec;
  return {
    name,
    infer(inputs) {
      for (const [i, input] of inputs.entries()) {
        checkDType(name, "xyz"[i]!, input, domain);
        checkShapeIs(name, "xyz"[i]!, input, inputs[0]!.shape);
      }
      return [{ shape: inputs[0]!.shape, dtype: result ?? inputs[0]!.dtype }];
    },
    vjp: gradient &&
      (({ inputs, outputs, cotangents }) => gradient(cotangents[0]!, inputs, outputs[0]!)),
    run: {
      kind: "expression",
      lower: (index, input, { e, inputs }) =>
        spec.element(e, ...inputs.map((_, i) => input(i, index))),
    },
  };
}

/** Applies such an op: operands are promoted to one type and broadcast to one shape. */
export function applyPointwise(op: Op, ...operands: readonly TensorLike[]): Tensor {
  return bindOne(op, broadcast(op.name, ...operands));
}
