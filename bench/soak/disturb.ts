/** What a soak test does to a run: it damages its newest checkpoint. */
import { checkpointNames, listCheckpoints } from "../../models/training/checkpoints.ts";

/**
 * Cuts off or flips bits of a file of the model's newest checkpoint, if there is an earlier one.
 *
 * @param run The run's folder, in which nothing is being written.
 * @param random Gives numbers in 0..1.
 * @returns The damaged file, or undefined if there is only one checkpoint.
 */
export async function damageNewest(
  run: string,
  random: () => number,
): Promise<string | undefined> {
  const [newest, before] = await listCheckpoints(run, "model");
  if (!newest || !before) return undefined;
  const files = [...Deno.readDirSync(newest.folder)].map(({ name }) => name).sort();
  const path = `${newest.folder}/${files[Math.floor(random() * files.length)]!}`;
  const bytes = await Deno.readFile(path);
  const at = Math.floor(random() * (bytes.length - 2));
  if (random() < 0.5) await Deno.truncate(path, at);
  else {
    bytes[at]! ^= 1 << Math.floor(8 * random());
    await Deno.writeFile(path, bytes);
  }
  return path;
}

/** Whether a checkpoint is being written. */
export async function isWriting(run: string): Promise<boolean> {
  return (await checkpointNames(run, { temporary: true })).some((name) => name.endsWith(".tmp"));
}
