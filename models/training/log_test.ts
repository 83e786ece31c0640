/** Tests of the log of a training: what is in it, also for TensorBoard, and that no step is in it twice. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { readEvents } from "../../tests/tfevents.ts";
import { decodePng, encodePng, type Image } from "../../lib/formats/png.ts";
import { listPictures, openLog } from "./log.ts";
import { type Metrics, readMetrics } from "./metrics.ts";

const line = (step: number, more: Partial<Metrics> = {}): Metrics => ({
  stage: "model",
  step,
  loss: 10 / step,
  learningRate: 1e-3,
  gradientNorm: 2,
  skipped: 0,
  ms: 5,
  deviceBytes: 1000,
  hostBytes: 2000,
  time: 1.7e9 + step,
  ...more,
});

const gray = (value: number): Image => ({
  width: 2,
  height: 2,
  channels: 1,
  data: new Uint8Array(4).fill(value),
});

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** What TensorBoard finds: `tag@step`, and the value or the pixels. */
async function events(folder: string): Promise<Map<string, number | Image>> {
  const files = [...Deno.readDirSync(folder)].filter(({ name }) => name.includes("tfevents"));
  assertEquals(files.length, 1);
  const found = new Map<string, number | Image>();
  for (
    const { step, summary } of readEvents(await Deno.readFile(`${folder}/${files[0]!.name}`))
  ) {
    for (const { tag, simpleValue, image } of summary?.value ?? []) {
      const key = `${tag}@${step}`;
      assert(!found.has(key), `${key} is there twice`);
      found.set(key, image ? decodePng(image.encodedImageString) : simpleValue!);
    }
  }
  return found;
}

Deno.test("metrics and pictures are there for TensorBoard, too", () =>
  inFolder(async (folder) => {
    const log = await openLog(folder, "model", 0);
    await log.add(line(10, { setLoss: [0.5, 1.5] }));
    await log.add(line(20, { loss: NaN }));
    await log.addPicture(20, gray(7));
    assertEquals((await readMetrics(`${folder}/metrics.jsonl`)).length, 2);
    assertEquals(await Deno.readFile(`${folder}/samples/step-000020.png`), encodePng(gray(7)));
    const found = await events(folder);
    assertEquals([found.get("model/loss@10"), found.get("model/loss@20")], [1, NaN]);
    assertEquals(found.get("model/hostBytes@10"), 2000);
    assertEquals(found.get("model/setLoss/set 2@10"), 1.5);
    assertEquals(found.get("model/samples@20"), gray(7));
    assert(![...found.keys()].some((key) => /stage|step|time/.test(key)), "what is no metric");
  }));

Deno.test("a training that goes on writes no step twice", () =>
  inFolder(async (folder) => {
    const tokenizer = await openLog(folder, "tokenizer", 0);
    await tokenizer.add(line(50, { stage: "tokenizer" }));
    const first = await openLog(folder, "model", 0);
    for (const step of [10, 20, 30]) {
      await first.add(line(step));
      await first.addPicture(step, gray(step));
    }
    // Killed while it wrote: half a line, half a record.
    await Deno.writeTextFile(`${folder}/metrics.jsonl`, '{"stage":"mod', { append: true });
    const file = [...Deno.readDirSync(folder)].find(({ name }) => name.includes("tfevents"))!.name;
    await Deno.writeFile(`${folder}/${file}`, new Uint8Array(5), { append: true });

    const second = await openLog(folder, "model", 20);
    assertEquals((await listPictures(folder, "model")).map(({ step }) => step), [10, 20]);
    await second.add(line(30, { loss: 0.25 }));
    await second.addPicture(30, gray(31));
    const found = await events(folder);
    const losses = [...found].filter(([key]) => /loss@/.test(key));
    assertEquals(losses, [
      ["tokenizer/loss@50", Math.fround(10 / 50)],
      ["model/loss@10", 1],
      ["model/loss@20", 0.5],
      ["model/loss@30", 0.25],
    ]);
    assertEquals(found.get("model/samples@10"), gray(10));
    assertEquals(found.get("model/samples@30"), gray(31));

    await openLog(folder, "tokenizer", 0);
    assertEquals([...(await events(folder)).keys()], [], "all of it is about to be made again");
  }));

Deno.test("what cannot be written is said once, and is made up for", () =>
  inFolder(async (folder) => {
    const warnings: string[] = [];
    const log = await openLog(folder, "model", 0, (warning) => warnings.push(warning));
    const said = () => warnings.splice(0).map((warning) => warning.replace(`${folder}/`, ""));
    const { name } = [...Deno.readDirSync(folder)].find(({ name }) => name.includes("tfevents"))!;
    await log.add(line(10));
    await Deno.remove(`${folder}/${name}`);
    await Deno.symlink("/dev/full", `${folder}/${name}`); // a device that has no space left, ever
    await log.add(line(20));
    const [ofEvents, ...others] = said();
    assertMatch(
      ofEvents!,
      /^Could not write events.out.tfevents: No space left on device .* goes on without it$/,
    );
    assertEquals(others, []);
    await log.add(line(30));
    assertEquals([...(await events(folder)).keys()].filter((key) => /loss/.test(key)), [
      "model/loss@10",
      "model/loss@20",
      "model/loss@30",
    ]);

    await Deno.rename(`${folder}/metrics.jsonl`, `${folder}/kept`);
    await Deno.mkdir(`${folder}/metrics.jsonl`);
    await Deno.writeTextFile(`${folder}/samples`, "no folder");
    for (const step of [40, 50]) {
      await log.add(line(step));
      await log.addPicture(step, gray(step));
    }
    const [ofMetrics, ofPictures, ...more] = said();
    assertMatch(ofMetrics!, /^Could not write metrics.jsonl: Is a directory/);
    assertMatch(ofPictures!, /^Could not write samples: .*exists/);
    assertEquals(more, []);
    assertEquals((await events(folder)).get("model/samples@50"), gray(50));

    await Deno.remove(`${folder}/metrics.jsonl`);
    await Deno.rename(`${folder}/kept`, `${folder}/metrics.jsonl`);
    await Deno.writeTextFile(`${folder}/metrics.jsonl`, '{"stage":"mod', { append: true });
    await log.add(line(60));
    const steps = (await readMetrics(`${folder}/metrics.jsonl`)).map(({ step }) => step);
    assertEquals([steps, said()], [[10, 20, 30, 60], []]);
  }));
