/** jax-js as a peer: its WebGPU backend where we measure on a GPU, else its wasm backend. */
import { type Contestant, onGpu } from "../harness.ts";
import { sample, wave } from "../inputs.ts";
import { initialValues, parameterShapes, randomIds, sizes } from "../transformer.ts";

const version = "0.1.25";
const backend = () => onGpu() ? "webgpu" : "wasm";
/** What rows call it. */
export const jaxName = () => `jax-js ${version} (${backend()})`;
// A specifier that is not a literal: the package is no dependency of the project.
const specifier = ["npm:@jax-js/jax", version].join("@");

/** Its module and its arrays, of which we know no types. */
// deno-lint-ignore no-explicit-any
export type Jax = any;
let loaded: Promise<Jax> | undefined;

/** Loads it; undefined if it is not installed. */
export function loadJax(): Promise<Jax> {
  return loaded ??= import(specifier).then(async (jax) => {
    await jax.init();
    jax.defaultDevice(backend());
    return jax;
  }).catch(() => undefined);
}

/** A jitted function of arrays as a contestant; its result stays on the device. */
async function contestant(
  make: (jax: Jax) => () => Jax,
  calls = 1,
): Promise<Contestant | string> {
  const jax = await loadJax();
  if (!jax) return jaxName();
  const work = make(jax);
  return {
    name: jaxName(),
    result: async () => sample(await work().data()),
    run: async () => {
      const start = performance.now();
      const results = Array.from({ length: calls }, work); // lazy: one disposed of would not be computed
      for (const result of results) await result.blockUntilReady();
      const ms = (performance.now() - start) / calls;
      for (const result of results) result.dispose();
      return ms;
    },
  };
}

/** A square matrix product. */
export function jaxGemm(size: number, calls = 1): Promise<Contestant | string> {
  return contestant(({ numpy: np, jit }) => {
    const a = np.array(wave(size * size, 1)).reshape([size, size]);
    const b = np.array(wave(size * size, 2)).reshape([size, size]);
    const product = jit((a: Jax, b: Jax) => np.matmul(a, b));
    return () => product(a.ref, b.ref);
  }, calls);
}

/** A row-wise op on [4096, 768]. */
export function jaxRows(op: string): Promise<Contestant | string> {
  return contestant(({ numpy: np, nn, jit }) => {
    const x = np.array(wave(4096 * 768, 1)).reshape([4096, 768]);
    const w = np.array(wave(768, 2)), b = np.array(wave(768, 3));
    const work: Record<string, (x: Jax, w: Jax, b: Jax) => Jax> = {
      "gelu(x*w+b)": (x, w, b) => nn.gelu(x.mul(w).add(b), { approximate: true }),
      "softmax": (x, w, b) => {
        w.dispose();
        b.dispose();
        return nn.softmax(x, -1);
      },
      "layer norm": (x, w, b) => nn.standardize(x, -1).mul(w).add(b),
    };
    const program = jit(work[op]!);
    return () => program(x.ref, w.ref, b.ref);
  });
}

/** The training step of step.ts, the whole of it under jit; the results are the first losses. */
export async function jaxStep(firstSteps: number): Promise<Contestant | string> {
  const jax = await loadJax();
  if (!jax) return jaxName();
  const { numpy: np, nn, jit, valueAndGrad } = jax;
  const { batch, tokens, vocabulary, width, heads, layers } = sizes;
  const shapes = parameterShapes();
  const names = shapes.map(([name]) => name);
  const norm = (x: Jax, g: Jax, b: Jax) => nn.standardize(x, -1).mul(g).add(b);
  const loss = (p: Record<string, Jax>, ids: Jax, targets: Jax) => {
    let x = np.matmul(nn.oneHot(ids, vocabulary), p.tok).reshape([batch, tokens, width]).add(p.pos)
      .reshape([batch * tokens, width]);
    for (let layer = 0; layer < layers; layer++) {
      const own = (name: string) => p[`${layer}.${name}`];
      const h = norm(x.ref, own("ln1_g"), own("ln1_b"));
      const split = (h: Jax, w: string, b: string) =>
        np.matmul(h, own(w)).add(own(b)).reshape([batch, tokens, heads, width / heads])
          .transpose([0, 2, 1, 3]);
      const q = split(h.ref, "Wq", "bq"), k = split(h.ref, "Wk", "bk"), v = split(h, "Wv", "bv");
      const scores = np.matmul(q, k.transpose([0, 1, 3, 2])).mul(Math.sqrt(heads / width));
      const a = np.matmul(nn.softmax(scores, -1), v).transpose([0, 2, 1, 3])
        .reshape([batch * tokens, width]);
      x = x.add(np.matmul(a, own("Wo")).add(own("bo")));
      const inner = nn.gelu(
        np.matmul(norm(x.ref, own("ln2_g"), own("ln2_b")), own("W1")).add(own("b1")),
        { approximate: true },
      );
      x = x.add(np.matmul(inner, own("W2")).add(own("b2")));
    }
    const logits = np.matmul(norm(x, p.lnf_g, p.lnf_b), p.Wh).add(p.bh);
    return nn.logSoftmax(logits, -1).mul(nn.oneHot(targets, vocabulary)).sum()
      .mul(-1 / (batch * tokens));
  };
  const step = jit((p: Jax, m: Jax, v: Jax, ids: Jax, targets: Jax, c1: Jax, c2: Jax) => {
    const held = Object.fromEntries(names.map((name) => [name, p[name].ref]));
    const [value, gradients] = valueAndGrad(loss)(held, ids, targets);
    const next: Jax = { p: {}, m: {}, v: {} };
    for (const name of names) {
      const g = gradients[name];
      next.m[name] = m[name].mul(0.9).add(g.ref.mul(0.1));
      next.v[name] = v[name].mul(0.999).add(g.ref.mul(g).mul(0.001));
      const denominator = np.sqrt(next.v[name].ref.div(c2.ref)).add(1e-8);
      next.p[name] = p[name].sub(next.m[name].ref.div(c1.ref).mul(1e-3).div(denominator));
    }
    c1.dispose();
    c2.dispose();
    return [value, next.p, next.m, next.v];
  });
  const zeros = () => Object.fromEntries(shapes.map(([name, shape]) => [name, np.zeros(shape)]));
  const array = ([name, shape]: [string, number[]], i: number) =>
    [name, np.array(initialValues(name, shape, i)).reshape(shape)] as const;
  let state: Jax[] = [Object.fromEntries(shapes.map(array)), zeros(), zeros()];
  const ids = np.array(randomIds(1)), targets = np.array(randomIds(2));
  let count = 0;
  const once = async () => {
    count++;
    const correction = (beta: number) =>
      np.array(new Float32Array([1 - beta ** count])).reshape([]);
    const [value, ...next] = step(
      ...state,
      ids.ref,
      targets.ref,
      correction(0.9),
      correction(0.999),
    );
    state = next;
    const loss = (await value.data())[0];
    await state[0]["0.Wq"].blockUntilReady();
    return loss;
  };
  return {
    name: jaxName(),
    async result() {
      const losses = [];
      for (let i = 0; i < firstSteps; i++) losses.push(await once());
      return Float32Array.from(losses);
    },
    run: async () => {
      const start = performance.now();
      await once();
      return performance.now() - start;
    },
  };
}
