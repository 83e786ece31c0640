/** Enlarging images. */
import type { Tensor } from "../lib/tensor.ts";
import { checkRank, checkWhole } from "./arguments.ts";
import { broadcastTo } from "./broadcast.ts";
import { reshape } from "./reshape.ts";

/**
 * Images with every pixel repeated down and right.
 *
 * @param x Images [B, C, H, W].
 * @param factor How many times (default 2).
 * @returns Images [B, C, factor · H, factor · W].
 * @throws {TypeError} If `x` does not have four axes.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { tensor } from "../lib/tensor.ts";
 * import { upsampleNearest } from "./upsample.ts";
 * const image = upsampleNearest(tensor([[[[1, 2]]]]));
 * assertEquals(await image.toArray(), [[[[1, 1, 2, 2], [1, 1, 2, 2]]]]);
 * ```
 */
export function upsampleNearest(x: Tensor, factor = 2): Tensor {
  checkRank("upsampleNearest", "x", x, 4);
  checkWhole("upsampleNearest", "factor", factor, 1);
  const [batch, channels, height, width] = x.shape as [number, number, number, number];
  const spaced = reshape(x, [batch, channels, height, 1, width, 1]);
  const spread = broadcastTo(spaced, [batch, channels, height, factor, width, factor]);
  return reshape(spread, [batch, channels, height * factor, width * factor]);
}
