/** Tests of checkpoints: what is damaged is refused. */
import { assertEquals, assertRejects } from "@std/assert";
import { openDevice } from "../../lib/device.ts";
import { tensor } from "../../lib/tensor.ts";
import { adamw } from "../../ops/optimizers/adamw.ts";
import { Parameter } from "../layers/parameter.ts";
import { loadState, saveState } from "./checkpoint.ts";

Deno.test("a state is read back; one without a whole number of steps is refused", async () => {
  await openDevice("reference");
  const path = await Deno.makeTempFile();
  const params = { w: tensor([1, 2]) };
  const state = { params, optimizer: adamw.init(params) };
  const load = () =>
    loadState<typeof params>(
      path,
      { parameters: () => ({ w: new Parameter([2], "ones") }) },
      false,
    );
  await saveState(path, state, { step: 12, seed: 0 });
  const found = await load();
  assertEquals([found.step, await found.state.optimizer.step.item()], [12, 12]);
  for (const step of [NaN, -1, 1.5, Infinity, 2 ** 31]) {
    await saveState(path, state, { step, seed: 0 });
    await assertRejects(load, RangeError, `metadata.step to be a whole number but found ${step}`);
  }
  await Deno.remove(path);
});
