/** Checks the network, its masks, loss and gradients against a training fixture. */
import { tensor } from "../../lib/tensor.ts";
import { treeEntries } from "../../lib/tree.ts";
import { jit } from "../../lib/transforms/jit.ts";
import { valueAndGrad } from "../../lib/transforms/vjp.ts";
import { crossEntropy } from "../../ops/cross_entropy.ts";
import { visibleCounts } from "../sar/masks.ts";
import { compare, compareTensor, type Comparison, tolerances } from "../comparison.ts";
import { tokenCount } from "./config.ts";
import { arrayOf, type FmtFixture, integersOf } from "./fixture.ts";
import { fmtLoss, fmtStates, type FmtTrainingInputs } from "./fmt.ts";
import { type FmtParameters, outputLogits } from "./network.ts";

/**
 * Compares every stored output and gradient of a training fixture on the current device.
 *
 * @param fixture The fixture.
 * @returns A row for each quantity.
 */
export async function verifyTraining(fixture: FmtFixture): Promise<Comparison[]> {
  const { model, params, outputs, gradients } = fixture;
  const inputs = trainingInputs(fixture);
  const rows: Comparison[] = [
    compare("target", await inputs.targets.data(), arrayOf(outputs, "target"), 0),
    ...maskRows(fixture),
  ];
  const run = jit((params: FmtParameters, inputs: FmtTrainingInputs) => {
    const states = fmtStates(model, params, inputs);
    const logits = outputLogits(params, states.hidden);
    const loss = fmtLoss(model, params, inputs);
    return { logits, ce: crossEntropy(logits, inputs.targets), loss, states };
  });
  const { logits, ce, loss, states } = run(params, inputs);
  rows.push(
    await compareTensor("logits", logits, arrayOf(outputs, "logits"), tolerances.logits),
    await compareTensor("ce", ce, arrayOf(outputs, "ce"), tolerances.logits),
    await compareTensor("loss", loss, arrayOf(outputs, "loss"), tolerances.loss),
  );
  const traces = {
    memory: states.memory,
    ...Object.fromEntries(states.encoder.map((x, i) => [`encoder.${i}`, x])),
    ...Object.fromEntries(states.decoder.map((x, i) => [`decoder.${i}`, x])),
  };
  for (const [name, trace] of Object.entries(traces)) {
    const stored = outputs[`trace.${name}`];
    if (stored) rows.push(await compareTensor(`trace.${name}`, trace, stored, tolerances.logits));
  }
  if (gradients) {
    const differentiate = jit((params: FmtParameters, inputs: FmtTrainingInputs) =>
      valueAndGrad((params: FmtParameters) => fmtLoss(model, params, inputs))(params)[1]
    );
    for (const [name, gradient] of treeEntries(differentiate(params, inputs))) {
      const stored = arrayOf(gradients, name);
      const largest = (stored.data as Float32Array).reduce((a, x) => Math.max(a, Math.abs(x)), 0);
      const tolerance = tolerances.gradient + tolerances.relativeGradient * largest;
      rows.push(await compareTensor(`grad ${name}`, gradient, stored, tolerance));
    }
  }
  return rows;
}

function trainingInputs({ model, inputs }: FmtFixture): FmtTrainingInputs {
  const count = tokenCount(model);
  const tokens = integersOf(inputs, "tokens");
  const order = integersOf(inputs, "order");
  const visible = visibleCounts(integersOf(inputs, "intervals"));
  const known = visible.encoder.length - 1;
  const images = tokens.length / count;
  const targets = tokens.map((_, i) => {
    const first = i - i % count;
    return tokens[first + order[(i - first) + (order.length === count ? 0 : first)]!]!;
  });
  const rows = (data: Int32Array) => tensor(data, { shape: [1, data.length] });
  return {
    labels: tensor(integersOf(inputs, "labels")),
    tokens: tensor(targets.filter((_, i) => i % count < known), { shape: [images, known] }),
    positions: tensor(order, { shape: [order.length / count, count] }),
    targets: tensor(targets, { shape: [images, count] }),
    encoderVisible: rows(visible.encoder),
    decoderVisible: rows(visible.decoder),
    crossVisible: rows(visible.cross),
    lossWeight: tensor(arrayOf(inputs, "loss_mask").data as Float32Array),
  };
}

function maskRows({ inputs, outputs }: FmtFixture): Comparison[] {
  const { encoder, decoder, cross } = visibleCounts(integersOf(inputs, "intervals"));
  const masks = {
    m_e: mask(encoder, encoder.length),
    m_ds: mask(decoder, decoder.length),
    m_dc: mask(cross, encoder.length),
  };
  return Object.entries(masks).map(([name, found]) =>
    compare(name, found, arrayOf(outputs, name), 0)
  );
}

/** The mask [rows, columns] of 0 and 1 that visible counts stand for, as bytes in row-major order. */
export function mask(visible: Int32Array, columns: number): Uint8Array {
  return Uint8Array.from(
    { length: visible.length * columns },
    (_, i) => i % columns < visible[Math.floor(i / columns)]! ? 1 : 0,
  );
}
