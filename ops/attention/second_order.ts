/** The gradient of attention's gradient, by plain ops on the whole matrix of scores. */
import type { VjpArguments } from "../../lib/op.ts";
import type { Tensor } from "../../lib/tensor.ts";
import { vjp } from "../../lib/transforms/vjp.ts";
import { mul, sub } from "../arithmetic.ts";
import { less } from "../compare.ts";
import { iota, zerosLike } from "../create.ts";
import { matmul } from "../matmul/matmul.ts";
import { sum } from "../reduce.ts";
import { expandDims } from "../reshape.ts";
import { softmax } from "../softmax.ts";
import { swapAxes } from "../transpose.ts";
import { where } from "../where.ts";

/** Stands for minus infinity, but without NaN in rows that see nothing. */
const hidden = -1e30;

/**
 * The cotangents of `attentionGradient`'s inputs. Its inputs `out` and `logsumexp` are functions of
 * the others; they are taken as such and get no cotangents of their own.
 */
export function secondOrder(
  { inputs, outputs, cotangents, attributes: { scale } }: VjpArguments,
): (Tensor | undefined)[] {
  const [q, k, v, visible, , , dout] = inputs as readonly Tensor[] & { length: 7 };
  const columns = k!.shape[2]!;
  const isSeen = less(iota([columns]), expandDims(visible!, [1, 3])); // [B, 1, N, M]
  const gradient = (q: Tensor, k: Tensor, v: Tensor, dout: Tensor) => {
    const scores = mul(scale, matmul(q, swapAxes(k, -1, -2)));
    const p = where(isSeen, softmax(where(isSeen, scores, hidden)), 0);
    const dp = matmul(dout, swapAxes(v, -1, -2));
    const ds = mul(mul(scale, p), sub(dp, sum(mul(p, dp), { axes: -1, keepDims: true })));
    return [
      matmul(ds, k),
      matmul(swapAxes(ds, -1, -2), q),
      matmul(swapAxes(p, -1, -2), dout),
    ];
  };
  const [, pullback] = vjp(gradient, q!, k!, v!, dout!);
  const [ddq, ddk, ddv, ddout] = pullback(
    outputs.map((output, i) => cotangents[i] ?? zerosLike(output)),
  );
  return [ddq, ddk, ddv, undefined, undefined, undefined, ddout];
}
