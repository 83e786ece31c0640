/** The first losses of a small training, the same on every device and host. */
import {
  adamw,
  type DeviceChoice,
  fmt,
  fmtInputs,
  fmtLoss,
  jit,
  makeTrainingBatch,
  mul,
  normal,
  openDevice,
  parseRecipe,
  randomKey,
  stack,
  type Tensor,
  valueAndGrad,
} from "../../mod.ts";
import { fmtParameters } from "../../models/fmt/network.ts";
import { createParameters } from "../../models/layers/parameter.ts";

/**
 * Trains a small Fully Masked Transformer on a device.
 *
 * @param device Which, as `openDevice` takes it.
 * @param steps How many steps.
 * @returns The loss of each.
 */
export async function firstLosses(device: DeviceChoice, steps = 4): Promise<number[]> {
  await openDevice(device);
  const grid = { height: 4, width: 4 }, images = 4;
  const model = fmt({
    ...{ dim: 32, heads: 4, encoderLayers: 2, decoderLayers: 2, vocabulary: 64, classes: 10 },
    grid,
  });
  const created = createParameters(fmtParameters(model), randomKey(0));
  // An output head that is not zero, so that the losses depend on everything.
  const head = mul(normal(randomKey(1), created.output.weight.shape), model.dim ** -0.5);
  let params = { ...created, output: { weight: head } };
  let state = adamw.init(params);
  const tokens = Int32Array.from({ length: 16 * images }, (_, i) => (i * i + 7 * i) % 64);
  const batch = makeTrainingBatch(parseRecipe("random-16-random"), grid, tokens, [0, 1]);
  const inputs = fmtInputs(batch, Array.from({ length: images }, (_, i) => i));
  const step = jit((p: typeof params, s: typeof state) => {
    const [loss, gradients] = valueAndGrad((p: typeof params) => fmtLoss(model, p, inputs))(p);
    const [updated, next] = adamw.update(p, gradients, s, { learningRate: 1e-3 });
    return { loss, params: updated, state: next };
  }, { donate: [0, 1] });
  const losses: Tensor[] = [];
  for (let i = 0; i < steps; i++) {
    const result = step(params, state);
    [params, state] = [result.params, result.state];
    losses.push(result.loss);
  }
  return [...await stack(losses).data()];
}
