/** What enters the Fully Masked Transformer: embedded condition, tokens and queries, and rotary angles. */
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { add } from "../../ops/arithmetic.ts";
import { broadcastTo } from "../../ops/broadcast.ts";
import { cast } from "../../ops/cast.ts";
import { concat } from "../../ops/concat.ts";
import { full } from "../../ops/create.ts";
import { embedding, take } from "../../ops/gather.ts";
import { expandDims } from "../../ops/reshape.ts";
import { rotaryTableAt } from "../../ops/rotary.ts";
import type { Rotation } from "../layers/attention.ts";
import { type FmtBodyConfig, tokenCount } from "./config.ts";
import type { FmtBody, FmtParameters } from "./network.ts";
import { placesOf, sineCosineTable } from "./positions.ts";

/** Tokens i32 [B, n] to [B, n, d]. */
export function embedTokens(
  { tok_embeddings }: Pick<FmtParameters, "tok_embeddings">,
  tokens: Tensor,
): Tensor {
  return embedding(tok_embeddings.weight, tokens);
}

/**
 * Adds to each row the embedding of its scale, where there are several.
 *
 * @param x Rows [B, n, d].
 * @param positions Place of each i32 [1 or B, n]; the place N stands for a condition row.
 * @returns A tensor like `x`.
 */
export function addLevels(
  model: FmtBodyConfig,
  { level_embedding }: FmtBody,
  x: Tensor,
  positions: Tensor,
): Tensor {
  if (!level_embedding) return x;
  const levels = [...placesOf(model).map(({ level }) => level), 0];
  return add(
    x,
    embedding(level_embedding.weight, take(tensor(levels, { dtype: "i32" }), positions)),
  );
}

/** Labels i32 [B] to condition rows [B, 1, d]; the id C is the null class. */
export function embedLabels({ cls_embedding }: FmtBody, labels: Tensor): Tensor {
  return expandDims(embedding(cls_embedding.embedding_table.weight, labels), 1);
}

/**
 * The decoder's queries: one learned vector plus the position of each, and its scale where there are several.
 *
 * @param positions Grid indices i32 [1 or B, n].
 * @param batch Number of images B.
 * @returns A tensor [B, n, d].
 */
export function embedQueries(
  model: FmtBodyConfig,
  params: FmtBody,
  positions: Tensor,
  batch: number,
): Tensor {
  const shape = [batch, positions.shape[1]!, model.dim];
  const table = positionTable(model, params);
  const queries = table
    ? add(cast(embedding(table, positions), params.mask_embedding.dtype), params.mask_embedding)
    : params.mask_embedding;
  return broadcastTo(addLevels(model, params, queries, positions), shape);
}

function positionTable(model: FmtBodyConfig, params: FmtBody): Tensor | undefined {
  switch (model.queryPosition) {
    case "learned":
      return params.pos_embedding!.weight;
    case "sincos": {
      // The mean square of sines and cosines is 1/2.
      const amplitude = Math.SQRT2 * model.queryPositionScale * model.initScale;
      return tensor(sineCosineTable(placesOf(model), model.dim, amplitude), {
        shape: [tokenCount(model), model.dim],
      });
    }
    case "none":
      return undefined;
  }
}

/**
 * The rotary angles of some rows.
 *
 * @param positions Grid indices i32 [1 or B, n]; the index N stands for a condition row.
 * @returns Cosines and sines [1 or B, n, D/2].
 */
export function rotationOf(model: FmtBodyConfig, positions: Tensor): Rotation {
  const perHead = model.dim / model.heads;
  const { cos, sin } = rotaryTableAt(placesOf(model), perHead, model.ropeBase);
  const turn = (table: Tensor, condition: number) =>
    take(concat([table, full([1, perHead / 2], condition)]), positions);
  return { cos: turn(cos, model.classRope === "identity" ? 1 : 0), sin: turn(sin, 0) };
}
