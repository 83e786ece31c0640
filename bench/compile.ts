/**
 * How long it takes to trace and compile the training step of a 36-layer FMT-XL (forward, backward,
 * clipping and AdamW) into a plan, before the driver's part. Nothing is allocated or run.
 */
import { canonicalize } from "../lib/compiler/canonical.ts";
import { compile } from "../lib/compiler/compile.ts";
import { makeSource } from "../lib/graph.ts";
import { compileOptions } from "../lib/realize.ts";
import { tracing } from "../lib/transforms/trace.ts";
import type { Parameter } from "../models/layers/parameter.ts";
import { fmt, fmtPresets } from "../models/fmt/config.ts";
import { fmtInputs, fmtLoss } from "../models/fmt/fmt.ts";
import type { FmtParameters } from "../models/fmt/network.ts";
import { parametersOf } from "../models/model.ts";
import { makeTrainingBatch } from "../models/sar/batch.ts";
import { parseRecipe } from "../models/sar/recipe.ts";
import {
  adamw,
  clipByGlobalNorm,
  currentDevice,
  type DType,
  Tensor,
  treeLeaves,
  treeMap,
  valueAndGrad,
} from "../mod.ts";
import { quantile, type Row, timed } from "./harness.ts";

const model = fmt({ ...fmtPresets["FMT-XL"] });
const batchSize = 8;

function compileStep(): void {
  const symbols: Tensor[] = [];
  const symbol = (shape: readonly number[], dtype: DType = "f32") => {
    const made = new Tensor(makeSource({ shape, dtype }));
    symbols.push(made);
    return made;
  };
  const tokens = new Int32Array(batchSize * model.grid.height * model.grid.width);
  const batch = makeTrainingBatch(parseRecipe("sar-ts"), model.grid, tokens, [0, 0]);
  const given = fmtInputs(batch, new Int32Array(batchSize));
  const results = tracing(() => {
    const like = (leaf: Parameter) => symbol(leaf.shape);
    const params = treeMap(like, parametersOf(model)) as FmtParameters;
    const state = {
      step: symbol([], "i32"),
      mean: treeMap((x: Tensor) => symbol(x.shape), params),
      variance: treeMap((x: Tensor) => symbol(x.shape), params),
    };
    const inputs = treeMap((x: Tensor) => symbol(x.shape, x.dtype), given);
    const [loss, gradients] = valueAndGrad((p: FmtParameters) => fmtLoss(model, p, inputs))(params);
    return [loss, adamw.update(params, clipByGlobalNorm(gradients, 1), state)];
  });
  const values = (tensors: readonly Tensor[]) => tensors.map((x) => x.value);
  const graph = canonicalize(values(treeLeaves(results)), values(symbols));
  compile(graph, { ...compileOptions(currentDevice()), donated: new Set(symbols.keys()) });
}

/** The rows of this benchmark. */
export function rows(): Promise<Row[]> {
  const samples = Array.from({ length: 5 }, () => timed(compileStep));
  const base = { bench: "compile", device: currentDevice().name, peer: null, unit: "ms" };
  const row = (name: string, ours: number): Row => ({
    ...base,
    case: `FMT-XL training step, ${name}`,
    ours,
    theirs: null,
    ratio: null,
  });
  return Promise.resolve([row("first", samples[0]!), row("median", quantile(samples, 0.5))]);
}
