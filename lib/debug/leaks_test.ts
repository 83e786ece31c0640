import { assertEquals, assertStringIncludes } from "@std/assert";
import { testOnDevices } from "../../tests/devices.ts";
import { add, mul } from "../../ops/mod.ts";
import { scope } from "../scope.ts";
import { type Tensor, tensor } from "../tensor.ts";
import { jit } from "../transforms/jit.ts";
import { showLive, watchMemory } from "./leaks.ts";

testOnDevices(
  "a watch counts what is held, by origin and step, and forgets what is not",
  async () => {
    const step = jit((p: Tensor) => [mul(p, 0.5), add(p, 1)] as const, { donate: [0] });
    let p: Tensor = tensor([1, 2, 3]);
    const log: Tensor[] = [];
    using watch = watchMemory();
    for (let i = 0; i < 5; i++) {
      const [next, forgotten] = step(p);
      p = next;
      log.push(forgotten);
      watch.nextStep();
    }
    const rows = watch.live().map(({ type, count, firstStep, lastStep }) =>
      `${count} of ${type} from ${firstStep} to ${lastStep}`
    );
    assertEquals(rows.sort(), ["1 of f32[3] from 4 to 4", "5 of f32[3] from 0 to 4"]);
    assertEquals(watch.live(3).reduce((sum, { count }) => sum + count, 0), 3);
    assertEquals(watch.live(3).reduce((sum, { bytes }) => sum + bytes, 0), 3 * 12);
    for (const x of log) x.dispose();
    assertEquals(watch.live().reduce((sum, { count }) => sum + count, 0), 1);
    assertStringIncludes(showLive(watch.live()), "f32[3]");
    assertEquals(await p.toArray(), [1 / 32, 2 / 32, 3 / 32]);
  },
);

testOnDevices("a scope leaves nothing behind", async () => {
  using watch = watchMemory();
  {
    using _ = scope();
    await add(tensor([1, 2]), tensor([3, 4])).data();
  }
  assertEquals(watch.live(), []);
}, ["wasm"]);
