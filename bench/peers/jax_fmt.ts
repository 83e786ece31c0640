/** The training step of a Fully Masked Transformer in jax-js, the whole of it under jit. */
import { placesOf, sineCosineTable } from "../../models/fmt/positions.ts";
import { type FmtConfig, readSafetensors, rotaryTable } from "../../mod.ts";
import type { Contestant } from "../harness.ts";
import type { FmtCase } from "../training.ts";
import { type Jax, jaxName, loadJax } from "./jax.ts";

type Arrays = Record<string, Jax>;

/**
 * Makes the step.
 *
 * @param given The training.
 * @param firstSteps Steps whose losses are compared.
 * @returns The peer, or its name if jax-js is not installed.
 */
export async function jaxFmtTraining(
  given: FmtCase,
  firstSteps: number,
): Promise<Contestant | string> {
  const jax = await loadJax();
  if (!jax) return jaxName();
  const { numpy: np, jit, valueAndGrad } = jax;
  const { weights, settings } = given;
  const { tensors } = await readSafetensors(weights);
  const names = Object.keys(tensors);
  const array = (name: string) => {
    const { data, shape } = tensors[name]!;
    return np.array(data).reshape(shape);
  };
  const all = (make: (name: string) => Jax): Arrays =>
    Object.fromEntries(names.map((name) => [name, make(name)]));
  const loss = await fmtLoss(jax, given);
  const { learningRate, beta1, beta2, epsilon, weightDecay, clip } = settings;
  const step = jit((p: Arrays, m: Arrays, v: Arrays, correction1: Jax, correction2: Jax) => {
    const [value, gradients] = valueAndGrad(loss)(all((name) => p[name].ref));
    const squares = names.map((name) => gradients[name].ref.mul(gradients[name].ref).sum());
    const norm = np.sqrt(squares.reduce((sum, square) => sum.add(square)));
    const scale = np.minimum(np.reciprocal(norm).mul(clip), 1);
    const next: { p: Arrays; m: Arrays; v: Arrays } = { p: {}, m: {}, v: {} };
    for (const name of names) {
      const g = gradients[name].mul(scale.ref);
      next.m[name] = m[name].mul(beta1).add(g.ref.mul(1 - beta1));
      next.v[name] = v[name].mul(beta2).add(g.ref.mul(g).mul(1 - beta2));
      const root = np.sqrt(next.v[name].ref.div(correction2.ref)).add(epsilon);
      const decay = tensors[name]!.shape.length > 1 ? 1 - learningRate * weightDecay : 1;
      next.p[name] = p[name].mul(decay)
        .sub(next.m[name].ref.div(correction1.ref).mul(learningRate).div(root));
    }
    for (const x of [scale, correction1, correction2]) x.dispose();
    return [value, next.p, next.m, next.v];
  });
  const zeros = () => all((name) => np.zeros(tensors[name]!.shape));
  let state = [all(array), zeros(), zeros()];
  let count = 0;
  const once = async () => {
    count++;
    const correction = (beta: number) => np.array(Float32Array.of(1 - beta ** count)).reshape([]);
    const [value, ...next] = step(...state, correction(beta1), correction(beta2));
    state = next;
    const loss: number = (await value.data())[0];
    await state[0]!["output.weight"].blockUntilReady();
    return loss;
  };
  return {
    name: jaxName(),
    async result() {
      const losses = [];
      for (let i = 0; i < firstSteps; i++) losses.push(await once());
      return Float32Array.from(losses);
    },
    async run() {
      const start = performance.now();
      await once();
      return performance.now() - start;
    },
  };
}

/** The loss as a function of the parameters by name. */
async function fmtLoss({ numpy: np, nn }: Jax, { model, inputs }: FmtCase) {
  const { dim, heads, grid, vocabulary, classes, normEpsilon, encoderLayers, decoderLayers } =
    model;
  const perHead = dim / heads, tokens = grid.height * grid.width;
  const rows = (name: string) => inputs[name] as number[][];
  const images = rows("targets").length, known = rows("tokens")[0]!.length;

  // Constants: rotary tables by place, biases that hide what is not visible, positions of the queries.
  const { cos, sin } = rotaryTable(grid.height, grid.width, perHead, model.ropeBase);
  const tables = { cos: await cos.toArray() as number[][], sin: await sin.toArray() as number[][] };
  const ofCondition = model.classRope === "identity" ? 1 : 0;
  const rotation = (positions: number[][]) => {
    const table = (of: (cell: number, pair: number, side: number) => number) =>
      np.array(
        Float32Array.from(positions.flatMap((row) =>
          row.flatMap((cell) =>
            Array.from({ length: perHead }, (_, i) => of(cell, Math.floor(i / 2), i % 2))
          )
        )),
      ).reshape([positions.length, 1, positions[0]!.length, perHead]);
    return {
      cos: table((cell, pair) => cell === tokens ? ofCondition : tables.cos[cell]![pair]!),
      sin: table((cell, pair, side) =>
        cell === tokens ? 0 : tables.sin[cell]![pair]! * (side === 0 ? -1 : 1)
      ),
    };
  };
  const positions = rows("positions");
  const queryRotation = rotation(positions);
  const memoryRotation = rotation(positions.map((row) => [tokens, ...row.slice(0, known)]));
  const bias = (name: string, columns: number) =>
    np.array(
      Float32Array.from(
        rows(name).flatMap((row) =>
          row.flatMap((visible) =>
            Array.from({ length: columns }, (_, column) => column < visible ? 0 : -1e9)
          )
        ),
      ),
    ).reshape([rows(name).length, 1, rows(name)[0]!.length, columns]);
  const encoderBias = bias("encoderVisible", 1 + known);
  const decoderBias = bias("decoderVisible", tokens);
  const crossBias = bias("crossVisible", 1 + known);
  const queries = np.array(queryPositions(model, positions.flat()))
    .reshape([positions.length, tokens, dim]);
  const ids = (values: number[]) => np.array(Int32Array.from(values));
  const tokenIds = ids(rows("tokens").flat()), targets = ids(rows("targets").flat());
  const queryIds = ids(positions.flat());
  const labels = ids(inputs.labels as number[]);
  const weight = inputs.lossWeight as number[];
  const total = images * weight.reduce((sum, x) => sum + x, 0);
  const weights = np.array(Float32Array.from(weight)).reshape([1, tokens, 1]);

  return (p: Arrays) => {
    const linear = (name: string, x: Jax) => np.matmul(x, p[`${name}.weight`].transpose());
    const lookUp = (name: string, ids: Jax, length: number) =>
      np.matmul(nn.oneHot(ids.ref, length), p[`${name}.weight`]);
    const norm = (name: string, x: Jax) => {
      const square = np.mean(x.ref.mul(x.ref), -1, { keepdims: true });
      return x.div(np.sqrt(square.add(normEpsilon))).mul(p[`${name}.weight`]);
    };
    const split = (x: Jax, parts: number): Jax[] => {
      const [batch, n] = x.shape;
      const y = x.reshape([batch, n, parts, heads, perHead]).transpose([2, 0, 3, 1, 4]);
      return np.split(y, parts, 0).map((part: Jax) => part.reshape([batch, heads, n, perHead]));
    };
    const rotate = (x: Jax, { cos, sin }: typeof queryRotation) => {
      const pairs = x.ref.reshape([...x.shape.slice(0, -1), perHead / 2, 2]);
      const swapped = np.flip(pairs, -1).reshape(x.shape);
      return x.mul(cos.ref).add(swapped.mul(sin.ref));
    };
    const attend = (name: string, q: Jax, k: Jax, v: Jax, bias: Jax) => {
      const scores = np.matmul(q, k.transpose([0, 1, 3, 2])).mul(perHead ** -0.5).add(bias.ref);
      const out = np.matmul(nn.softmax(scores, -1), v).transpose([0, 2, 1, 3]);
      const [batch, n] = out.shape;
      return linear(`${name}.wo`, out.reshape([batch, n, dim]));
    };
    const attendSelf = (layer: string, x: Jax, turn: typeof queryRotation, bias: Jax) => {
      const name = `${layer}.attention`;
      const qkv = linear(`${name}.wqkv`, norm(`${layer}.attention_norm`, x.ref));
      const [q, k, v] = split(qkv, 3);
      return x.add(attend(name, rotate(q, turn), rotate(k, turn), v, bias));
    };
    const feedForward = (layer: string, x: Jax) => {
      const h = norm(`${layer}.ffn_norm`, x.ref), name = `${layer}.feed_forward`;
      const gate = nn.silu(linear(`${name}.w1`, h.ref));
      return x.add(linear(`${name}.w2`, gate.mul(linear(`${name}.w3`, h))));
    };

    const condition = lookUp("cls_embedding.embedding_table", labels, classes + 1)
      .reshape([images, 1, dim]);
    const embedded = lookUp("tok_embeddings", tokenIds, vocabulary).reshape([images, known, dim]);
    let memory = np.concatenate([condition, embedded], 1);
    for (let i = 0; i < encoderLayers; i++) {
      memory = attendSelf(`encoder.${i}`, memory, memoryRotation, encoderBias);
      memory = feedForward(`encoder.${i}`, memory);
    }
    if (model.encoderFinalNorm) memory = norm("encoder_norm", memory);
    let x = np.zeros([images, tokens, dim]).add(p.mask_embedding).add(
      model.queryPosition === "learned"
        ? lookUp("pos_embedding", queryIds, tokens).reshape([positions.length, tokens, dim])
        : queries.ref,
    );
    for (let i = 0; i < decoderLayers; i++) {
      const layer = `decoder.${i}`, name = `${layer}.cross_attention`;
      x = attendSelf(layer, x, queryRotation, decoderBias);
      const [k, v] = split(linear(`${name}.wkv`, memory.ref), 2);
      const [q] = split(linear(`${name}.wq`, norm(`${layer}.cross_norm`, x.ref)), 1);
      const seen = attend(
        name,
        rotate(q, queryRotation),
        rotate(k, memoryRotation),
        v,
        crossBias,
      );
      x = feedForward(layer, x.add(seen));
    }
    memory.dispose();
    const logits = linear("output", norm("norm", x));
    const chosen = nn.oneHot(targets.ref, vocabulary).reshape([images, tokens, vocabulary]);
    return nn.logSoftmax(logits, -1).mul(chosen).mul(weights.ref).sum().mul(-1 / total);
  };
}

/** What is added to queries where that is not learned, one row for each position. */
function queryPositions(model: FmtConfig, positions: readonly number[]): Float32Array {
  const { dim, queryPosition, queryPositionScale, initScale } = model;
  const amplitude = queryPosition === "sincos" ? Math.SQRT2 * queryPositionScale * initScale : 0;
  const table = sineCosineTable(placesOf(model), dim, amplitude);
  return Float32Array.from(
    { length: positions.length * dim },
    (_, i) => table[positions[Math.floor(i / dim)]! * dim + i % dim]!,
  );
}
