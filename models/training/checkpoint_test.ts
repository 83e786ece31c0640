/** Tests of checkpoints: what is written is read back, what is damaged is named and passed over. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { closeDevices, openDevice } from "../../lib/device.ts";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { Parameter } from "../layers/parameter.ts";
import {
  findCheckpoint,
  listCheckpoints,
  loadLast,
  loadWeights,
  saveCheckpoint,
} from "./checkpoints.ts";

interface State {
  readonly params: { readonly w: Tensor };
  readonly extra: readonly Tensor[];
  readonly scale: Tensor;
}

/** A state of every type that checkpoints can hold. */
const stateAt = (step: number): State => ({
  params: { w: tensor([step, 2, 3, 4], { shape: [2, 2] }) },
  extra: [tensor([step], { dtype: "i32" }), tensor([1, 7], { dtype: "u32" }), tensor([true])],
  scale: tensor(step + 0.5),
});

async function save(run: string, step: number, loss: number | null, kept = {}): Promise<string> {
  const progress = { stage: "model", step, seed: 1, position: { epoch: 0 }, loss, config: {} };
  const keep = { keepCheckpoints: 2, keepBest: true, ...kept };
  return await saveCheckpoint(run, stateAt(step), progress, keep);
}

const steps = async (run: string) =>
  (await listCheckpoints(run, "model")).map(({ step }) => step).reverse();

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  await openDevice("wasm");
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    closeDevices();
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("a state of any structure and types is read back as it was", () =>
  inFolder(async (run) => {
    assertEquals(await loadLast(run, "model", stateAt(0)), undefined);
    await save(run, 12, 0.5);
    const { state, info } = (await loadLast(run, "model", stateAt(0)))!;
    assertEquals([info.step, info.seed, info.loss], [12, 1, 0.5]);
    assertEquals(await state.params.w.toArray(), [[12, 2], [3, 4]]);
    assertEquals(state.extra.map(({ dtype }) => dtype), ["i32", "u32", "bool"]);
    assertEquals(await Promise.all(state.extra.map((x) => x.toArray())), [[12], [1, 7], [true]]);
    assertEquals([state.scale.shape, await state.scale.item()], [[], 12.5]);
    const other = { ...stateAt(0), extra: [tensor([1, 2])] };
    await assertRejects(
      () => loadLast(run, "model", other),
      TypeError,
      "expected parameters of the model but found 1",
    );
  }));

Deno.test("the last checkpoints are kept, and the one with the lowest loss", () =>
  inFolder(async (run) => {
    const losses = [null, 3, 1, 2, 4, 5, 1];
    for (const [i, loss] of losses.slice(0, 6).entries()) await save(run, i + 1, loss);
    assertEquals(await steps(run), [3, 5, 6]);
    assertEquals((await findCheckpoint(run, "model", { which: "best" }))!.info.step, 3);
    assertEquals((await findCheckpoint(run, "model", { which: 5 }))!.info.step, 5);
    await assertRejects(
      () => findCheckpoint(run, "model", { which: 4 }),
      RangeError,
      "at step 3, 5, 6 but found 4",
    );
    const weights = { w: new Parameter([2, 2], "zeros") };
    const best = await loadWeights(run, "model", weights, "best");
    assertEquals(await best.w.toArray(), [[3, 2], [3, 4]]);
    await save(run, 7, 1);
    assertEquals(await steps(run), [6, 7]); // of equal losses the newest is the best
    await save(run, 8, 9, { keepCheckpoints: 1, keepBest: false });
    assertEquals(await steps(run), [8]);
  }));

Deno.test("a damaged checkpoint is named, and the one before it is used", () =>
  inFolder(async (run) => {
    const names = [
      "checkpoint.json",
      "extra.safetensors",
      "params.safetensors",
      "scale.safetensors",
    ];
    const found = async () => {
      const warnings: string[] = [];
      const warn = (message: string) => warnings.push(message);
      const last = await loadLast(run, "model", stateAt(0), warn);
      return { step: last!.info.step, warnings };
    };
    await save(run, 1, 5);
    const newest = await save(run, 2, 6);
    assertEquals([...Deno.readDirSync(newest)].map(({ name }) => name).sort(), names);
    for (const name of names) {
      const path = `${newest}/${name}`;
      const whole = await Deno.readFile(path);
      assertEquals((await found()).step, 2);
      const flipped = whole.slice();
      flipped[Math.floor(0.6 * whole.length)]! ^= 4;
      for (const bytes of [whole.slice(0, -20), flipped, new Uint8Array(), undefined]) {
        if (bytes) await Deno.writeFile(path, bytes);
        else await Deno.remove(path);
        const { step, warnings } = await found();
        assertEquals(step, 1, `${name}, ${bytes?.length} of ${whole.length} bytes`);
        assertStringIncludes(warnings[0]!, `Damaged checkpoint ${newest}: ${name}: `);
        assertStringIncludes(warnings[1]!, "model-00000001 instead");
      }
      await Deno.writeFile(path, whole);
    }
    await Deno.rename(newest, newest.replace(/2$/, "3"));
    assertStringIncludes((await found()).warnings[0]!, "is of model, step 2");
    // The next one is written in its place, or before it.
    await save(run, 2, 6);
    assertEquals([await steps(run), (await found()).step], [[1, 2], 2]);

    for (const { folder } of await listCheckpoints(run, "model")) {
      await Deno.truncate(`${folder}/params.safetensors`, 50);
    }
    await assertRejects(found, Error, "params.safetensors: expected 112 bytes but found 50");
    const weights = { w: new Parameter([2, 2], "zeros") };
    await assertRejects(() => loadWeights(run, "model", weights), RangeError, "expected 112 bytes");
  }));

Deno.test("a checkpoint of a step that there is one of replaces it", () =>
  inFolder(async (run) => {
    for (const loss of [1, 2]) {
      await save(run, 4, loss);
      assertEquals((await findCheckpoint(run, "model"))!.info.loss, loss);
    }
    assertEquals([...Deno.readDirSync(`${run}/checkpoints`)].length, 1);
    // What a killed writer left goes with the next.
    await Deno.mkdir(`${run}/checkpoints/model-00000005.${crypto.randomUUID()}.tmp`);
    await save(run, 6, 1);
    assert([...Deno.readDirSync(`${run}/checkpoints`)].every(({ name }) => !name.endsWith("tmp")));
  }));
