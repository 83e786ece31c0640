/** Finding the op that made the first NaN or infinity. */
import { type HostArray, isFloat } from "../dtype.ts";
import type { Value } from "../graph.ts";
import { readValue } from "../realize.ts";
import { rowMajorStrides, sameShape, showShape, showType } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { treeEntries } from "../tree.ts";
import { callSites } from "./call_sites.ts";
import { type AppliedOp, runOpByOp } from "./op_by_op.ts";

/** Thrown by a function under `debugNans`; the message names the op. */
export class NonFiniteError extends Error {
  override readonly name = "NonFiniteError";
}

/** The first element of a value that is NaN or else infinite. */
interface Fault {
  readonly kind: "NaN" | "infinity";
  readonly index: number;
}

/** An infinite value: what tells of the op that made it, or nothing for one that is meant. */
interface Infinite {
  readonly by: string | undefined;
}

/**
 * A function that runs op by op and looks at every value. It fails where an op first makes NaN of
 * inputs without NaN, or makes an infinity that then becomes NaN or reaches the result. Infinities
 * that come in from outside or are written as constants are meant, and so are those that vanish
 * again (masked scores).
 *
 * It is slow: use it on the one step that went wrong.
 *
 * @param fn A function of trees of tensors, such as `grad` and `jit` return.
 * @returns A function of the same arguments; it resolves to the same result, or rejects with a
 * `NonFiniteError` that names the op, its shapes, its place among the ops, the element, and where
 * in the code the op was applied.
 *
 * @example
 * ```ts
 * import { assertRejects } from "@std/assert";
 * import { debugNans, grad, openDevice, sqrt, sum, type Tensor, tensor } from "../../mod.ts";
 * await openDevice("reference");
 * const loss = (x: Tensor) => sum(sqrt(x));
 * await assertRejects(
 *   () => debugNans(grad(loss))(tensor([1, 0])),
 *   Error,
 *   "div(f32[2], f32[2]) -> f32[2] made an infinity at [1]",
 * );
 * ```
 */
export function debugNans<Arguments extends unknown[], Result>(
  fn: (...args: Arguments) => Result,
): (...args: Arguments) => Promise<Result> {
  return async (...args) => {
    const names = new Map(
      treeEntries<unknown>(args).flatMap(([path, leaf]) =>
        leaf instanceof Tensor ? [[leaf.value, `argument ${path}`] as const] : []
      ),
    );
    /** Every value seen so far; undefined for finite ones. */
    const seen = new Map<Value, Infinite | undefined>();
    const fromOutside = async (value: Value) => {
      if (seen.has(value)) return;
      const fault = await findFault(value);
      if (fault?.kind === "NaN") {
        const name = names.get(value) ?? "a tensor from outside";
        throw new NonFiniteError(
          `debugNans: found NaN at ${place(value, fault)} of ${name}, ${showType(value)}`,
        );
      }
      seen.set(value, fault && { by: undefined });
    };

    const { result, values } = await runOpByOp(fn, args, async (applied) => {
      for (const value of applied.arguments) await fromOutside(value);
      const source = applied.arguments.map((value) => seen.get(value)).find((x) => x);
      for (const [i, output] of applied.outputs.entries()) {
        const fault = await findFault(output);
        const key = applied.node.outputs[i]!;
        seen.set(key, undefined);
        if (!fault) continue;
        if (fault.kind === "NaN") {
          const before = source?.by ? `; before that, ${source.by}` : "";
          throw new NonFiniteError(
            `debugNans: ${await blame(applied, output, fault, source)}${before}`,
          );
        }
        const meant = applied.inputs.length === 0;
        seen.set(key, source ?? { by: meant ? undefined : await blame(applied, output, fault) });
      }
    });
    for (const value of values) {
      await fromOutside(value);
      const by = seen.get(value)?.by;
      if (by) throw new NonFiniteError(`debugNans: ${by}`);
    }
    return result;
  };
}

async function findFault(value: Value): Promise<Fault | undefined> {
  if (!isFloat(value.dtype)) return undefined;
  const data = await readValue(value);
  let infinity = -1;
  for (let i = 0; i < data.length; i++) {
    const x = data[i]!;
    if (Number.isFinite(x)) continue;
    if (Number.isNaN(x)) return { kind: "NaN", index: i };
    if (infinity < 0) infinity = i;
  }
  return infinity < 0 ? undefined : { kind: "infinity", index: infinity };
}

/** What an op did, in a sentence without subject. */
async function blame(
  { node, number, count, stack, inputs }: AppliedOp,
  output: Value,
  fault: Fault,
  source?: Infinite,
): Promise<string> {
  const operands: HostArray[] = [];
  for (const input of inputs) {
    if (sameShape(input.shape, output.shape)) operands.push(await readValue(input));
  }
  const there = operands.map((data) => data[fault.index]).join(", ");
  const sites = stack ? callSites(stack) : [];
  return [
    `${node.op.name}(${inputs.map(showType).join(", ")}) -> ${showType(output)} made `,
    `${fault.kind === "NaN" ? "NaN" : "an infinity"} at ${place(output, fault)} `,
    `from ${source ? "infinite" : "finite"} inputs${there && ` (there ${there})`}, `,
    `op ${number} of ${count}${sites.length > 0 ? `, applied at ${sites.join(", from ")}` : ""}`,
  ].join("");
}

/** The index of a fault: `[2, 0]`. */
function place({ shape }: Value, { index }: Fault): string {
  const strides = rowMajorStrides(shape);
  return showShape(shape.map((length, axis) => Math.floor(index / strides[axis]!) % length));
}
