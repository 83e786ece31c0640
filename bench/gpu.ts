/**
 * What needs a GPU: large products, attention, training and sampling of the SAR paper's models, beside PyTorch on
 * the same GPU (f32 without TF32, and bf16 from outside our formats) and jax-js. Where no GPU is at hand, rows
 * say what would be measured.
 */
import {
  attention,
  currentDevice,
  type DType,
  fmt,
  type FmtConfig,
  fmtPresets,
  jit,
  mul,
  square,
  sum,
  type Tensor,
  tensor,
  valueAndGrad,
  visibleCounts,
} from "../mod.ts";
import { gemm } from "./gemm.ts";
import {
  comparison,
  type Contestant,
  measurement,
  onGpu,
  type Row,
  run,
  timeJitted,
} from "./harness.ts";
import { sample, waveTensor } from "./inputs.ts";
import { jaxGemm } from "./peers/jax.ts";
import { jaxFmtTraining } from "./peers/jax_fmt.ts";
import { torch } from "./peers/torch.ts";
import { greedy, sampler, samplingCase, withoutCache } from "./sampling.ts";
import { decidedParameters, firstSteps, fmtCase, fmtStage, trainer } from "./training.ts";

/** The tolerance of peers whose results are not compared: bf16 is too coarse, and turns choices of tokens. */
const onlyTimed = Infinity;
/** Turns that would take less than a launch is worth hold more calls, up to so many. */
const mostCalls = 64;
const gigaflopsPerTurn = 500;

const callsFor = (gigaflops: number) =>
  Math.max(1, Math.min(mostCalls, Math.round(gigaflopsPerTurn / gigaflops)));

/** How often each contestant is timed, and how often it runs before that. */
type Turns = readonly [repetitions: number, warmUps: number];

/** Something to measure: the name and unit of its first row, and how to get its rows. */
interface Plan {
  readonly name: string;
  readonly unit: string;
  readonly turns?: Turns;
  rows(name: string, turns: Turns): Promise<Row[]>;
}

const usualTurns: Turns = [20, 5];
/** Images take long. */
const fewTurns: Turns = [20, 2];
/** For seeing that it runs. */
const smokeTurns: Turns = [2, 1];

/** A square product. */
async function productRows(
  name: string,
  turns: Turns,
  size: number,
  dtype: "f32" | "f16",
  calls = callsFor(2 * size ** 3 / 1e9),
) {
  const work = 2 * size ** 3 / 1e9;
  const peers = dtype === "f32"
    ? [
      await torch({ case: "gemm", size }, { calls }),
      await torch({ case: "gemm", size, dtype: "bfloat16" }, { calls, tolerance: onlyTimed }),
      await jaxGemm(size, calls),
    ]
    : [await torch({ case: "gemm", size, dtype: "float16" }, { calls })];
  return await run({
    bench: "gpu",
    case: name,
    unit: "GFLOP/s",
    work,
    ours: gemm(size, dtype, calls),
    peers,
    tolerance: dtype === "f32" ? 1e-4 : 1e-2,
  }, ...turns);
}

/** Attention with its gradients, where rows of 16 sets see their own and those before. */
async function attentionRows(
  name: string,
  turns: Turns,
  [batch, heads, tokens, width]: readonly [number, number, number, number],
) {
  const { decoder } = visibleCounts(new Array<number>(16).fill(tokens / 16));
  const shape = [batch, heads, tokens, width];
  const qkv = [1, 2, 3].map((seed) => waveTensor(shape, seed));
  const visible = tensor(decoder, { shape: [1, tokens] });
  const program = jit((qkv: Tensor[]) => {
    const half = ([q, k, v]: Tensor[]) => mul(sum(square(attention(q!, k!, v!, { visible }))), 0.5);
    return valueAndGrad(half)(qkv)[1];
  });
  const gradients = () => {
    const [dq, dk, dv] = program(qkv);
    dk!.dispose();
    dv!.dispose();
    return dq!;
  };
  const given = { case: "attention", batch, heads, width, visible: [...decoder] };
  const calls = 8;
  const ours: Contestant = {
    name: "tessera",
    result: async () => sample(await gradients().data()),
    run: () => timeJitted(gradients, calls),
  };
  return await run({
    bench: "gpu",
    case: name,
    unit: "ms",
    ours,
    peers: [
      await torch(given, { calls }),
      await torch({ ...given, dtype: "bfloat16" }, { calls, tolerance: onlyTimed }),
    ],
    tolerance: 1e-3,
  }, ...turns);
}

/** A training step, what it asks of the queue, and the most memory that was in use. */
async function trainingRows(name: string, turns: Turns, model: FmtConfig, batchSize: number) {
  const stage = fmtStage(model, "random-16-random", batchSize);
  const params = decidedParameters(model);
  const weights = await Deno.makeTempFile({ suffix: ".safetensors" });
  const given = await fmtCase(model, stage, params, weights);
  const { contestant } = await trainer(stage, { params, sameBatch: true });
  const asked = { case: "fmt training", times: firstSteps, ...given };
  const peers = [
    await torch(asked),
    await torch({ ...asked, dtype: "bfloat16" }, { tolerance: onlyTimed }),
    await jaxFmtTraining(given, firstSteps),
  ];
  await Deno.remove(weights);
  const rows = await run({
    bench: "gpu",
    case: name,
    unit: "ms",
    ours: contestant,
    peers,
    tolerance: 1e-3,
  }, ...turns);
  return [...rows, ...await askedOfQueue(name, contestant)];
}

/** What a run asks of the queue in each of its steps, and the most memory that was in use. */
async function askedOfQueue(name: string, contestant: Contestant, steps = 1): Promise<Row[]> {
  const { counters } = currentDevice();
  const before = { ...counters };
  await contestant.run();
  const row = (what: string, unit: string, value: number) =>
    measurement("gpu", `${name}: ${what}`, unit, value);
  return [
    row("dispatches", "a step", (counters.dispatches - before.dispatches) / steps),
    row("submissions", "a step", (counters.submissions - before.submissions) / steps),
    row("most memory", "bytes", counters.bytesPeak),
  ];
}

/**
 * Guided sampling of one image, with a cache beside PyTorch's and beside ourselves without; and what its steps
 * ask of the queue.
 */
async function samplingRows(name: string, turns: Turns, model: FmtConfig, steps: number) {
  const params = decidedParameters(model);
  const weights = await Deno.makeTempFile({ suffix: ".safetensors" });
  const options = greedy(model, steps, 1);
  const given = await samplingCase(model, params, options, weights);
  const peers = [
    await torch(given, { tolerance: onlyTimed }),
    await torch({ ...given, dtype: "bfloat16" }, { tolerance: onlyTimed }),
  ];
  await Deno.remove(weights);
  const ours = sampler(model, params, options);
  const rows = await run({
    bench: "gpu",
    case: name,
    unit: "ms",
    ours,
    peers,
    tolerance: onlyTimed,
  }, ...turns);
  const own = measurement("gpu", name, "ms", rows[0]!.ours);
  const uncached = await withoutCache(model, params, options);
  const asked = await askedOfQueue(name, ours, options.intervals.length);
  return [...rows, comparison(own, "ourselves without a cache", uncached), ...asked];
}

const preset = (name: keyof typeof fmtPresets, side = 16) =>
  fmt({ ...fmtPresets[name], grid: { height: side, width: side } });

/** What the issue of the project's speed lists, at full size. */
const plans: readonly Plan[] = [
  ...[1024, 2048, 4096, 8192].flatMap((size) =>
    (["f32", "f16"] as const satisfies DType[]).map((dtype): Plan => ({
      name: `product of ${size}, ${dtype}`,
      unit: "GFLOP/s",
      rows: (...to) => productRows(...to, size, dtype),
    }))
  ),
  ...[[16, 256], [4, 1024], [1, 4096]].map(([batch, tokens]): Plan => ({
    name: `attention and gradients, ${batch} × 12 heads, ${tokens} tokens`,
    unit: "ms",
    rows: (...to) => attentionRows(...to, [batch!, 12, tokens!, 64]),
  })),
  ...[16, 64].map((batchSize): Plan => ({
    name: `FMT-B training step, batch ${batchSize}`,
    unit: "ms",
    rows: (...to) => trainingRows(...to, preset("FMT-B"), batchSize),
  })),
  ...(["FMT-L", "FMT-XL"] as const).flatMap((model) =>
    [[16, 64], [16, 16], [64, 64]].map(([side, steps]): Plan => ({
      name: `${model} sampling, ${side! * side!} tokens, ${steps} steps, guidance`,
      unit: "ms",
      turns: fewTurns,
      rows: (...to) => samplingRows(...to, preset(model, side), steps!),
    }))
  ),
];

const tiny = fmt({
  ...fmtPresets["FMT-B"],
  ...{ dim: 32, heads: 4, encoderLayers: 1, decoderLayers: 1, vocabulary: 64, classes: 10 },
  grid: { height: 4, width: 4 },
});

/** The same in so small that a software adapter runs it. */
const smokePlans: readonly Plan[] = [
  ...(["f32", "f16"] as const).map((dtype): Plan => ({
    name: `product of 64, ${dtype}`,
    unit: "GFLOP/s",
    rows: (...to) => productRows(...to, 64, dtype, 1),
  })),
  {
    name: "attention and gradients, 1 × 2 heads, 64 tokens",
    unit: "ms",
    rows: (...to) => attentionRows(...to, [1, 2, 64, 8]),
  },
  { name: "tiny training step", unit: "ms", rows: (...to) => trainingRows(...to, tiny, 2) },
  { name: "tiny sampling", unit: "ms", rows: (...to) => samplingRows(...to, tiny, 4) },
];

/**
 * The rows of this benchmark.
 *
 * @param options `smoke`: tiny sizes, on any WebGPU adapter.
 */
export async function rows({ smoke }: { smoke: boolean }): Promise<Row[]> {
  const all: Row[] = [];
  const runs = smoke ? currentDevice().name === "webgpu" : onGpu();
  for (const { name, unit, rows, turns = usualTurns } of smoke ? smokePlans : plans) {
    if (runs) console.error(`${(performance.now() / 1000).toFixed()} s: ${name}`);
    all.push(
      ...runs
        ? await rows(name, smoke ? smokeTurns : turns)
        : [{ ...measurement("gpu", `${name} (not measured)`, unit, null), device: "webgpu" }],
    );
  }
  return all;
}
