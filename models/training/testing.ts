/** What tests of training look at: everything that a checkpoint holds. */
import { readSafetensors, type SafetensorsTensor } from "../../lib/formats/safetensors.ts";
import { findCheckpoint } from "./checkpoints.ts";

/** The step and all tensors of the last checkpoint of a training, as `params.w`. */
export async function lastState(
  run: string,
  stage: string,
): Promise<{ step: number; tensors: Record<string, SafetensorsTensor> }> {
  const found = await findCheckpoint(run, stage);
  if (!found) throw new Error(`lastState: expected checkpoints of the ${stage} in ${run}`);
  const tensors: Record<string, SafetensorsTensor> = {};
  for (const file of Object.keys(found.info.files)) {
    const content = await readSafetensors(`${found.folder}/${file}`);
    for (const [name, value] of Object.entries(content.tensors)) {
      tensors[`${file.replace(".safetensors", "")}.${name}`] = value;
    }
  }
  return { step: found.info.step, tensors };
}
