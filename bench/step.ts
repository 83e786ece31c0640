/**
 * One training step of a small pre-norm transformer, all of it compiled into one program: forward,
 * backward and Adam. Peers run the same step with the same losses.
 */
import {
  adamw,
  add,
  attention,
  crossEntropy,
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
import { type Contestant, finished, onGpu, type Row, run } from "./harness.ts";
import { jaxStep } from "./peers/jax.ts";
import { torch } from "./peers/torch.ts";
import { initialValues, parameterShapes, randomIds, sizes } from "./transformer.ts";

/** Steps whose losses are compared before the timing. */
const firstSteps = 3;

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
    async result() {
      const losses = [];
      for (let i = 0; i < firstSteps; i++) losses.push(await step().item());
      return Float32Array.from(losses);
    },
    async run() {
      const start = performance.now();
      const value = step();
      await finished();
      const ms = performance.now() - start;
      value.dispose();
      return ms;
    },
  };
  return { step, contestant };
}

/** The rows of this benchmark: losses of the first steps are compared, then steps are timed. */
export async function rows(): Promise<Row[]> {
  return await run({
    bench: "step",
    case: "2 layers, D 128, N 64, B 32",
    unit: "ms",
    ours: trainer().contestant,
    peers: [
      await torch({ case: "step", times: firstSteps }),
      ...onGpu() ? [] : [await torch({ case: "step", times: firstSteps }, { threads: 1 })],
      await jaxStep(firstSteps),
    ],
    tolerance: 1e-4,
  });
}
