/**
 * One training step of a small pre-norm transformer, all of it compiled into one program: forward,
 * backward and Adam. Peers run the same step with the same losses.
 */
import {
  adamw,
  add,
  attention,
  crossEntropy,
  currentDevice,
  embedding,
  full,
  gelu,
  jit,
  layerNorm,
  matmul,
  mean,
  reshape,
  type Tensor,
  tensor,
  transpose,
  valueAndGrad,
} from "../mod.ts";
import { type Contestant, type Row, run } from "./harness.ts";
import { jaxStep } from "./peers/jax.ts";
import { torch } from "./peers/torch.ts";

/** The model's sizes: B, N, V, D, H, FFN, layers. */
export const sizes = {
  batch: 32,
  tokens: 64,
  vocabulary: 256,
  width: 128,
  heads: 4,
  hidden: 512,
  layers: 2,
};

/** Names and shapes of the parameters; their order numbers their random streams. */
export function parameterShapes({ tokens, vocabulary, width, hidden, layers } = sizes) {
  const shapes: [string, number[]][] = [["tok", [vocabulary, width]], ["pos", [tokens, width]]];
  for (let layer = 0; layer < layers; layer++) {
    const own: [string, number[]][] = [
      ["ln1_g", [width]],
      ["ln1_b", [width]],
      ["Wq", [width, width]],
      ["bq", [width]],
      ["Wk", [width, width]],
      ["bk", [width]],
      ["Wv", [width, width]],
      ["bv", [width]],
      ["Wo", [width, width]],
      ["bo", [width]],
      ["ln2_g", [width]],
      ["ln2_b", [width]],
      ["W1", [width, hidden]],
      ["b1", [hidden]],
      ["W2", [hidden, width]],
      ["b2", [width]],
    ];
    shapes.push(...own.map(([name, shape]): [string, number[]] => [`${layer}.${name}`, shape]));
  }
  shapes.push(["lnf_g", [width]], ["lnf_b", [width]], ["Wh", [width, vocabulary]], [
    "bh",
    [vocabulary],
  ]);
  return shapes;
}

/** Element i of the stream of a seed, in 0..1 (mulberry32). */
export function uniform(seed: number, i: number): number {
  const a = (seed + Math.imul(i + 1, 0x6D2B79F5)) | 0;
  let t = Math.imul(a ^ (a >>> 15), a | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}

/** The initial values of a parameter. */
export function initialValues(name: string, shape: readonly number[], index: number): Float32Array {
  const values = new Float32Array(shape.reduce((a, b) => a * b, 1));
  if (name.endsWith("_g")) return values.fill(1);
  if (shape.length === 1) return values;
  const scale = name === "tok" || name === "pos" ? 0.1 : 1 / Math.sqrt(shape[0]!);
  return values.map((_, i) => (2 * uniform(1000 + index, i) - 1) * scale);
}

/** Token ids or targets, by the seed of their stream. */
export function randomIds(seed: number): Int32Array {
  const { batch, tokens, vocabulary } = sizes;
  return Int32Array.from(
    { length: batch * tokens },
    (_, i) => Math.floor(uniform(seed, i) * vocabulary),
  );
}

type Params = Record<string, Tensor>;

function loss(params: Params, ids: Tensor, targets: Tensor): Tensor {
  const { batch, tokens, width, heads, layers } = sizes;
  const linear = (x: Tensor, w: string, b: string) => add(matmul(x, params[w]!), params[b]!);
  let x = add(embedding(params.tok!, ids), params.pos!); // [B, N, D]
  for (let layer = 0; layer < layers; layer++) {
    const name = (suffix: string) => `${layer}.${suffix}`;
    const norm = (x: Tensor, which: string) =>
      layerNorm(x, params[name(`${which}_g`)]!, params[name(`${which}_b`)]!);
    const h = norm(x, "ln1");
    const split = (w: string, b: string) =>
      // [B, H, N, D/H]
      transpose(reshape(linear(h, name(w), name(b)), [batch, tokens, heads, width / heads]), [
        0,
        2,
        1,
        3,
      ]);
    const a = attention(split("Wq", "bq"), split("Wk", "bk"), split("Wv", "bv"));
    x = add(
      x,
      linear(reshape(transpose(a, [0, 2, 1, 3]), [batch, tokens, width]), name("Wo"), name("bo")),
    );
    const inner = gelu(linear(norm(x, "ln2"), name("W1"), name("b1")), { approximate: true });
    x = add(x, linear(inner, name("W2"), name("b2")));
  }
  const logits = linear(layerNorm(x, params.lnf_g!, params.lnf_b!), "Wh", "bh"); // [B, N, V]
  return mean(crossEntropy(logits, targets));
}

/** Our step: every call trains once; `losses` holds what was read back. */
export function trainer(): { step(): Tensor; contestant: Contestant } {
  const { batch, tokens } = sizes;
  let params: Params = Object.fromEntries(
    parameterShapes().map(([name, shape], i) => [
      name,
      tensor(initialValues(name, shape, i), { shape }),
    ]),
  );
  let state = adamw.init(params);
  const ids = tensor(randomIds(1), { shape: [batch, tokens] });
  const targets = tensor(randomIds(2), { shape: [batch, tokens] });
  const program = jit((p: Params, s: typeof state, ids: Tensor, targets: Tensor) => {
    const [value, gradients] = valueAndGrad(loss)(p, ids, targets);
    const [updated, next] = adamw.update(p, gradients, s, { learningRate: full([], 1e-3) });
    return { value, params: updated, state: next };
  }, { donate: [0, 1] });
  const step = () => {
    const result = program(params, state, ids, targets);
    [params, state] = [result.params, result.state];
    return result.value;
  };
  const contestant: Contestant = {
    name: "tessera",
    result: async () => Float32Array.of(await step().item()),
    async run() {
      const start = performance.now();
      const value = step();
      if (currentDevice().name === "wasm") {
        const ms = performance.now() - start; // a run is synchronous there
        value.dispose();
        return ms;
      }
      await value.item();
      return performance.now() - start;
    },
  };
  return { step, contestant };
}

/** The rows of this benchmark: losses of the first steps are compared, then steps are timed. */
export async function rows(): Promise<Row[]> {
  return await run({
    bench: "step",
    case: "2 layers, D 128, N 64, B 32",
    device: currentDevice().name,
    unit: "ms",
    ours: trainer().contestant,
    peers: [await torch({ case: "step" }, 2), await torch({ case: "step" }, 1), await jaxStep()],
    tolerance: 1e-4,
  });
}
