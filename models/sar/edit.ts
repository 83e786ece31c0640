/**
 * Editing: known tokens form the first set and unknown ones the rest, so that one sampler inpaints, outpaints and
 * changes classes, for a mask of any shape.
 */
import { foldIn, type Key } from "../../lib/random/threefry.ts";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { type FmtConfig, tokenCount } from "../fmt/config.ts";
import type { FmtParameters } from "../fmt/network.ts";
import { sample, type SampleOptions } from "../fmt/sample.ts";
import { makeIntervals, type ScheduleName } from "./intervals.ts";
import { type Grid, makeOrder, nextScale, type Order } from "./order.ts";

/** In what order and how many sets unknown tokens are drawn. */
export interface EditPlanOptions {
  /** Order of the grid's cells, of which the unknown ones count (default `random`: another for each image). */
  readonly order?: Order;
  /** How they are cut into sets (default `cosine`). */
  readonly schedule?: Exclude<ScheduleName, "mar"> | "next-scale";
  /** Number of sets of unknown tokens, at most as many as there are (default 8); `next-scale` has its own. */
  readonly steps?: number;
  /** The random key, for `random` orders and schedules. */
  readonly key?: Key;
  /** Number of the first image (default 0): a batch gives the same images as a part of a larger one. */
  readonly firstImage?: number;
}

/** What to draw in place of the unknown tokens, and how: the options of `sample` but for those that follow. */
export interface EditOptions
  extends EditPlanOptions, Omit<SampleOptions, "order" | "intervals" | "given"> {}

/**
 * Plans an edit: for each image an order in which the known cells come first, and the sizes of the sets.
 *
 * @param keep For each cell whether its token is known [N].
 * @param grid Height and width, N = H·W.
 * @param images Number of images B.
 * @param options Order, schedule and steps of the unknown cells.
 * @returns `order` [B·N], `intervals` [K], of which the first is that of the known cells if there are any, and `kept`,
 * the number of known cells.
 * @throws {TypeError} If the mask does not fit the grid. {TypeError | RangeError} As `makeOrder` and `makeIntervals`.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { planEdit } from "./edit.ts";
 *
 * const keep = [0, 1, 0, 1, 0, 0];
 * const plan = planEdit(keep, { height: 2, width: 3 }, 1, { order: "raster", schedule: "uniform", steps: 2 });
 * assertEquals([...plan.order], [1, 3, 0, 2, 4, 5]);
 * assertEquals([...plan.intervals], [2, 2, 2]);
 * ```
 */
export function planEdit(
  keep: ArrayLike<number | boolean>,
  grid: Grid,
  images: number,
  options: EditPlanOptions = {},
): { order: Int32Array; intervals: Int32Array; kept: number } {
  const { order = "random", schedule = "cosine", steps = 8, key, firstImage = 0 } = options;
  const count = grid.height * grid.width;
  if (keep.length !== count) {
    throw new TypeError(
      `planEdit: expected the mask to have ${count} cells but found ${keep.length}`,
    );
  }
  const known = Array.from({ length: count }, (_, cell) => cell).filter((cell) => keep[cell]);
  const isUnknown = (cell: number) => !keep[cell];
  const unknown = count - known.length;
  const sizes = unknown === 0
    ? []
    : schedule === "next-scale"
    ? unknownByScale(grid, isUnknown)
    : makeIntervals(schedule, unknown, Math.min(steps, unknown), key && foldIn(key, 0));
  const orderKey = key && foldIn(key, 1);
  const orders = Array.from({ length: images }, (_, i) => {
    const seed = order === "random" && orderKey ? foldIn(orderKey, firstImage + i) : undefined;
    return [...known, ...makeOrder(order, grid, seed).filter(isUnknown)];
  });
  return {
    order: Int32Array.from(orders.flat()),
    intervals: Int32Array.from([...(known.length > 0 ? [known.length] : []), ...sizes]),
    kept: known.length,
  };
}

/** How many of the cells of each scale are unknown, but for scales without any. */
function unknownByScale(grid: Grid, isUnknown: (cell: number) => boolean): number[] {
  const { order, intervals } = nextScale(grid);
  let start = 0;
  return Array.from(intervals, (size) => order.slice(start, start += size).filter(isUnknown).length)
    .filter((size) => size > 0);
}

/**
 * Draws new tokens for the cells that are not kept, given those that are. With other `labels` than those of the images
 * it edits classes; with tokens from `placeTokens` it outpaints.
 *
 * @param model The configuration.
 * @param params Its parameters.
 * @param tokens Tokens by grid index [B·N]; what stands at cells that are not kept is not read.
 * @param keep For each cell whether its token is kept, the same for all images [N].
 * @param options Classes, order, steps, and how tokens are drawn.
 * @returns Tokens i32 [B, N] by grid index; those that are kept are the same as before.
 * @throws {TypeError} If tokens or mask do not fit the grid. {TypeError | RangeError} As `sample`.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice } from "../../lib/device.ts";
 * import { key } from "../../ops/random.ts";
 * import { fmt } from "../fmt/config.ts";
 * import { init } from "../model.ts";
 * import { editTokens } from "./edit.ts";
 *
 * await openDevice("reference");
 * const grid = { height: 2, width: 3 };
 * const model = fmt({ grid, dim: 8, heads: 2, encoderLayers: 1, decoderLayers: 1, vocabulary: 5, classes: 2 });
 * const options = { labels: [1], key: [0, 1], steps: 2 } as const;
 * const edited = await editTokens(model, init(model, key(0)), [4, 3, 2, 1, 0, 4], [1, 1, 0, 0, 1, 1], options);
 * const [a, b, , , c, d] = await edited.data();
 * assertEquals([a, b, c, d], [4, 3, 0, 4]);
 * ```
 */
export async function editTokens(
  model: FmtConfig,
  params: FmtParameters,
  tokens: ArrayLike<number>,
  keep: ArrayLike<number | boolean>,
  options: EditOptions,
): Promise<Tensor> {
  const images = options.labels.length;
  const count = tokenCount(model);
  if (tokens.length !== images * count) {
    throw new TypeError(
      `editTokens: expected ${images} × ${count} tokens but found ${tokens.length}`,
    );
  }
  const { order, intervals, kept } = planEdit(keep, model.grid, images, options);
  if (kept === count) return tensor(Int32Array.from(tokens), { shape: [images, count] });
  const given = Array.from(
    { length: images },
    (_, i) =>
      Array.from(order.subarray(i * count, i * count + kept), (cell) => tokens[i * count + cell]!),
  );
  const key = options.key && foldIn(options.key, 2);
  return await sample(model, params, { ...options, key, order, intervals, given: given.flat() });
}

/**
 * Places small grids of tokens inside a larger one, to be outpainted.
 *
 * @param tokens Tokens by grid index of the small grid [B·n].
 * @param from The small grid.
 * @param to The large grid.
 * @param at Row and column of the large grid where the small one begins.
 * @returns `tokens` [B·N] and `keep` [N], 1 where the small grid lies.
 * @throws {RangeError} If it does not fit.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { placeTokens } from "./edit.ts";
 *
 * const placed = placeTokens([7, 8], { height: 1, width: 2 }, { height: 2, width: 3 }, { row: 1, column: 1 });
 * assertEquals([...placed.tokens], [0, 0, 0, 0, 7, 8]);
 * assertEquals([...placed.keep], [0, 0, 0, 0, 1, 1]);
 * ```
 */
export function placeTokens(
  tokens: ArrayLike<number>,
  from: Grid,
  to: Grid,
  at: { readonly row: number; readonly column: number },
): { tokens: Int32Array; keep: Uint8Array } {
  const isInside = at.row >= 0 && at.column >= 0 && at.row + from.height <= to.height &&
    at.column + from.width <= to.width;
  if (!isInside) {
    throw new RangeError(
      `placeTokens: expected ${from.height}×${from.width} at ${at.row}, ${at.column} to lie` +
        ` within ${to.height}×${to.width}`,
    );
  }
  const small = from.height * from.width, large = to.height * to.width;
  const images = tokens.length / small;
  const placed = new Int32Array(images * large);
  const keep = new Uint8Array(large);
  for (let i = 0; i < tokens.length; i++) {
    const row = Math.floor(i % small / from.width), column = i % from.width;
    const cell = (at.row + row) * to.width + at.column + column;
    placed[Math.floor(i / small) * large + cell] = tokens[i]!;
    keep[cell] = 1;
  }
  return { tokens: placed, keep };
}

/**
 * The cells of a grid that a mask of pixels leaves: those none of whose pixels is to be replaced.
 *
 * @param replace For each pixel whether it is to be replaced, row by row [height·width].
 * @param width Pixels in a row, a multiple of the grid's width.
 * @param grid The grid of tokens.
 * @returns 1 for each cell that is kept [N].
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { keptCells } from "./edit.ts";
 *
 * const replace = [0, 0, 0, 1, 0, 0, 0, 0];
 * assertEquals([...keptCells(replace, 4, { height: 1, width: 2 })], [1, 0]);
 * ```
 */
export function keptCells(
  replace: ArrayLike<number | boolean>,
  width: number,
  grid: Grid,
): Uint8Array {
  const keep = new Uint8Array(grid.height * grid.width).fill(1);
  const cellWidth = width / grid.width, cellHeight = replace.length / width / grid.height;
  for (let pixel = 0; pixel < replace.length; pixel++) {
    if (!replace[pixel]) continue;
    const row = Math.floor(Math.floor(pixel / width) / cellHeight);
    keep[row * grid.width + Math.floor(pixel % width / cellWidth)] = 0;
  }
  return keep;
}
