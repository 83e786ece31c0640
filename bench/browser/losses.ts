/** The first losses of a small training, the same on every device and host. */
import { type DeviceChoice, fmt, openDevice } from "../../mod.ts";
import { decidedParameters, fmtStage, trainer } from "../training.ts";

/** Trains a small Fully Masked Transformer for a few steps on a device. */
export async function firstLosses(device: DeviceChoice): Promise<number[]> {
  await openDevice(device);
  const model = fmt({
    ...{ dim: 32, heads: 4, encoderLayers: 2, decoderLayers: 2, vocabulary: 64, classes: 10 },
    grid: { height: 4, width: 4 },
  });
  const stage = fmtStage(model, "random-16-random", 4);
  const { contestant } = await trainer(stage, { params: decidedParameters(model) });
  return [...await contestant.result()];
}
