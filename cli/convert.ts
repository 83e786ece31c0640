/** `convert`: LlamaGen's checkpoints to `.safetensors`. */
import { dirname } from "node:path";
import { sizeOf } from "../lib/shape.ts";
import { treeLeaves } from "../lib/tree.ts";
import type { Parameter } from "../models/layers/parameter.ts";
import { convertWeights } from "../models/llamagen/convert.ts";
import { parametersOf } from "../models/model.ts";
import type { Grid } from "../models/sar/order.ts";
import { checked, checkedFiles, UsageError } from "./usage.ts";

/** Options of `convert`. */
export interface ConvertOptions {
  readonly grid?: Grid;
  readonly part?: string;
}

/** Converts a file and says what it holds. */
export async function convert(from: string, to: string, options: ConvertOptions): Promise<void> {
  if (!to.endsWith(".safetensors")) {
    throw new UsageError(`expected a name that ends with .safetensors but found ${to}`);
  }
  await checked(() => Deno.mkdir(dirname(to), { recursive: true }));
  const model = await checkedFiles(() => convertWeights(from, to, options));
  const parameters = treeLeaves<Parameter>(parametersOf(model));
  const count = parameters.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
  console.log(
    `Wrote ${to}: ${model.kind}, ${parameters.length} tensors, ${
      count.toLocaleString("en-US")
    } parameters`,
  );
}
