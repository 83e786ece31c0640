/** Images encoded and decoded, by any kind of tokenizer. */
import type { Tensor } from "../../lib/tensor.ts";
import type { ParametersOf } from "../model.ts";
import { type Tokenizer, tokenizerKind, tokenLayout } from "./tokenizer.ts";

/**
 * Encodes and decodes images.
 *
 * @param model The tokenizer.
 * @param params Its parameters.
 * @param images Images [B, C, H, W] in -1..1.
 * @returns The images again, about -1..1, not clamped, and their tokens: codes i32 [B, N] or vectors [B, N, channels].
 * @throws {RangeError} If no whole tokens cover the images.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { zeros } from "../../ops/create.ts";
 * import { key } from "../../ops/random.ts";
 * import { init } from "../model.ts";
 * import { multiscaleVq } from "../var/config.ts";
 * import { reconstruct } from "./reconstruct.ts";
 *
 * const model = multiscaleVq();
 * const { images, tokens } = reconstruct(model, init(model, key(0)), zeros([2, 1, 28, 28]));
 * assertEquals([images.shape, tokens.shape], [[2, 1, 28, 28], [2, 1 + 4 + 16 + 49]]);
 * ```
 */
export function reconstruct<M extends Tokenizer>(
  model: M,
  params: ParametersOf<M>,
  images: Tensor,
): { images: Tensor; tokens: Tensor } {
  const [, channels, height, width] = images.shape as [number, number, number, number];
  const { grid } = tokenLayout(model, { height, width, channels });
  const kind = tokenizerKind<Tokenizer>(model);
  const own = params as ParametersOf<Tokenizer>;
  const tokens = kind.encode(model, own, images);
  return { images: kind.decode(model, own, tokens, grid), tokens };
}
