/**
 * The training step of a Fully Masked Transformer against its number of tokens and its width, one image.
 * Memory should grow in step with the tokens, and time with the arithmetic that the masks leave: both are
 * set beside those of the smallest step.
 */
import { memoryReport } from "../lib/debug/memory_report.ts";
import { tokenCount } from "../models/fmt/config.ts";
import { fmt, type FmtConfig, makeTrainingBatch, parseRecipe, planCost } from "../mod.ts";
import { comparison, measurement, quantile, type Row, takeTurns } from "./harness.ts";
import { decidedParameters, fmtStage, trainer } from "./training.ts";

const layers = 2;
const recipe = "fixed-random-16-uniform";
const sides = [8, 16, 32, 64];
const widths = [64, 128, 256, 512];
/** Multiplications and additions for each element of q and each column: two products forward, five backward. */
const flopsPerPair = 14;

const model = (side: number, dim: number) =>
  fmt({
    grid: { height: side, width: side },
    dim,
    heads: dim / 32,
    vocabulary: 512,
    classes: 10,
    encoderLayers: layers,
    decoderLayers: layers,
  });

/** How many of a plan's operations belong to pairs that attention's masks hide. */
function hiddenFlops({ grid, dim }: FmtConfig): number {
  const tokens = new Int32Array(grid.height * grid.width);
  const { encoderVisible, decoderVisible, crossVisible } = makeTrainingBatch(
    parseRecipe(recipe),
    grid,
    tokens,
    [0, 0],
  );
  const hidden = (visible: Int32Array, columns: number) =>
    visible.reduce((sum, seen) => sum + columns - seen, 0);
  const pairs = hidden(encoderVisible, encoderVisible.length) +
    hidden(decoderVisible, tokens.length) + hidden(crossVisible, encoderVisible.length);
  return flopsPerPair * dim * layers * pairs;
}

async function measure(model: FmtConfig) {
  const { plan, contestant } = await trainer(fmtStage(model, recipe, 1), {
    params: decidedParameters(model),
  });
  const tokens = tokenCount(model);
  const [times] = await takeTurns([contestant], 20, 2);
  const ms = quantile(times!, 0.5);
  return {
    name: `${tokens} tokens, width ${model.dim}`,
    width: model.dim,
    ms,
    bytesPerToken: memoryReport(plan).packed / tokens,
    speed: (planCost(plan).flops - hiddenFlops(model)) / 1e6 / ms,
  };
}

/** The rows of a series of models, of which the first is the measure of the others. */
async function series(models: readonly FmtConfig[]): Promise<Row[]> {
  const all: Row[] = [];
  let first: Awaited<ReturnType<typeof measure>> | undefined;
  for (const model of models) {
    const found = await measure(model);
    first ??= found;
    const { name, ms, bytesPerToken, speed } = found;
    const row = (what: string, unit: string, value: number) =>
      measurement("scaling", `${name}${what}`, unit, value);
    const memory = row(": temporaries", "bytes/token", bytesPerToken);
    all.push(
      row("", "ms", ms),
      first.width === model.dim ? comparison(memory, first.name, first.bytesPerToken) : memory,
      comparison(row(": speed of what is seen", "GFLOP/s", speed), first.name, first.speed, true),
    );
  }
  return all;
}

/** The rows of this benchmark. */
export async function rows(): Promise<Row[]> {
  return [
    ...await series(sides.map((side) => model(side, 128))),
    ...await series(widths.map((width) => model(16, width))),
  ];
}
