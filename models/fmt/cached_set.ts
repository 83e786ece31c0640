/** The network over the rows of one set, with caches of keys and values: what sampling runs at every step. */
import type { Tensor } from "../../lib/tensor.ts";
import { add, sub } from "../../ops/arithmetic.ts";
import { broadcastTo } from "../../ops/broadcast.ts";
import { equal } from "../../ops/compare.ts";
import { iota, zeros } from "../../ops/create.ts";
import { dynamicSlice } from "../../ops/gather.ts";
import { reshape } from "../../ops/reshape.ts";
import { updateSlice } from "../../ops/scatter/scatter.ts";
import { where } from "../../ops/where.ts";
import type { KeysValues } from "../layers/attention.ts";
import type { FmtBodyConfig } from "./config.ts";
import { addLevels, embedLabels, embedQueries, rotationOf } from "./embed.ts";
import { type CachePart, decode, encode, type FmtBody } from "./network.ts";

/** Keys and values of every layer [R, H, C, D] that have been computed so far. */
export type Caches = Record<CachePart, KeysValues[]>;

/** Which rows a step works on. R rows of the batch; C slots. */
export interface SetInputs {
  /** Class ids i32 [R]. */
  readonly labels: Tensor;
  /** Grid index of each slot i32 [1 or R, C]; N for the condition. */
  readonly positions: Tensor;
  /** First slot that the encoder takes in, i32 scalar. */
  readonly encodeStart: Tensor;
  /** First slot that the decoder predicts, i32 scalar. */
  readonly decodeStart: Tensor;
  /** First slot after the set, i32 scalar. */
  readonly setEnd: Tensor;
}

/** Empty caches. */
export function emptyCaches(model: FmtBodyConfig, rows: number, slots: number): Caches {
  const shape = [rows, model.heads, slots, model.dim / model.heads];
  const layers = (count: number) =>
    Array.from({ length: count }, () => ({ k: zeros(shape), v: zeros(shape) }));
  return {
    encoder: layers(model.encoderLayers),
    decoder: layers(model.decoderLayers),
    cross: layers(model.decoderLayers),
  };
}

/**
 * Runs the encoder on the set before (or the condition) and the decoder on the queries of this set. Encoder keys and
 * values, decoder keys and values and those of cross-attention are all append-only, so the states are those of the
 * whole sequence at once.
 *
 * @param model The configuration.
 * @param params Its parameters.
 * @param before Keys and values so far.
 * @param embedded The tokens from `encodeStart` on [R, window, d]; where the condition stands, they do not count.
 * @param inputs Which rows.
 * @returns `hidden` [R, window, d] from `decodeStart` on, ready for the output head, and the grown caches.
 */
export function runSet(
  model: FmtBodyConfig,
  params: FmtBody,
  before: Caches,
  embedded: Tensor,
  { labels, positions, encodeStart, decodeStart, setEnd }: SetInputs,
): { hidden: Tensor; caches: Caches } {
  const [rows, window] = embedded.shape as [number, number];
  const known = broadcastTo(decodeStart, [1, window]); // condition and tokens before this set
  const place = sub(decodeStart, 1);

  const caches: Caches = { encoder: [], decoder: [], cross: [] };
  const remember = (part: CachePart, layer: number, fresh: KeysValues): KeysValues => {
    const start = part === "decoder" ? place : encodeStart;
    const { k, v } = before[part][layer]!;
    return caches[part][layer] = {
      k: updateSlice(k, fresh.k, start, { axis: 2 }),
      v: updateSlice(v, fresh.v, start, { axis: 2 }),
    };
  };

  const isCondition = reshape(equal(add(iota([window]), encodeStart), 0), [1, window, 1]);
  const encodedPositions = dynamicSlice(positions, encodeStart, window, { axis: 1 });
  const x = where(
    isCondition,
    embedLabels(params, labels),
    addLevels(model, params, embedded, encodedPositions),
  );
  const memoryRotation = rotationOf(model, encodedPositions);
  const { memory } = encode(model, params, x, {
    rotation: memoryRotation,
    visible: known,
    remember,
  });
  const queryPositions = dynamicSlice(positions, decodeStart, window, { axis: 1 });
  const queries = embedQueries(model, params, queryPositions, rows);
  const { hidden } = decode(model, params, queries, memory, {
    rotation: rotationOf(model, queryPositions),
    memoryRotation,
    visible: broadcastTo(sub(setEnd, 1), [1, window]),
    crossVisible: known,
    remember,
  });
  return { hidden, caches };
}
