import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import * as ops from "../../../ops/mod.ts";
import { use } from "../../device.ts";
import { type Tensor, tensor } from "../../tensor.ts";
import { jit } from "../../transforms/jit.ts";
import { openWasm } from "./mod.ts";
import { assertSameAsReference, noise, wasmTest } from "./testing.ts";

wasmTest("blocks that are released serve requests of the same size", async () => {
  const device = await openWasm({ threads: 1 });
  const first = device.allocate(4000, "first");
  const before = device.counters.allocations;
  device.release(first);
  const second = device.allocate(4000, "second");
  assertEquals(device.counters.allocations, before);
  device.allocate(4000, "third");
  assertEquals(device.counters.allocations, before + 1);
  assertEquals([device.counters.bytesLive, device.counters.bytesPeak], [8000, 8000]);
  device.release(second);
  assertEquals(device.counters.bytesLive, 4000);
  device.close();
});

wasmTest("bools are words in memory and bytes outside", async () => {
  const device = await openWasm({ threads: 1 });
  const type = { shape: [3], dtype: "bool" as const };
  const buffer = device.allocate(12, "bools");
  device.write(buffer, type, Uint8Array.of(1, 0, 1));
  assertEquals(await device.read(buffer, { shape: [3], dtype: "u32" }), Uint32Array.of(1, 0, 1));
  assertEquals(await device.read(buffer, type), Uint8Array.of(1, 0, 1));
  device.close();
});

wasmTest("f16 and too large tensors are refused by name", async () => {
  const device = await openWasm({ threads: 1 });
  assertThrows(() => device.allocate(2 ** 32, "literal f32[2, 536870912]"), RangeError, "literal");
  const buffer = device.allocate(4, "half");
  const type = { shape: [2], dtype: "f16" as const };
  assertThrows(() => device.write(buffer, type, new Float16Array(2)), TypeError, "f16[2]");
  use(device);
  const f = jit((x: Tensor) => ops.cast(ops.cast(x, "f16"), "f32"));
  assertThrows(() => f(tensor([1, 2])), TypeError, "f16");
  device.close();
});

wasmTest("a program computes the same while its arguments move in memory", async () => {
  const device = await openWasm({ threads: 2 });
  use(device);
  const f = jit((x: Tensor, y: Tensor) => ops.sum(ops.matmul(ops.add(x, 1), ops.exp(y))));
  const x = await made(tensor(noise([20, 30], 1).data, { shape: [20, 30] }));
  const y = await made(tensor(noise([30, 40], 2).data, { shape: [30, 40] }));
  const expected = await f(x, y).item();
  for (let i = 0; i < 5; i++) {
    device.allocate(2 ** (20 + i), "in the way"); // the memory grows
    const [u, v] = [await made(x), await made(y)];
    assertEquals(await f(u, v).item(), expected);
  }
  device.close();
});

/** A copy with memory of its own. */
async function made(x: Tensor): Promise<Tensor> {
  const copy = ops.mul(x, 1);
  await copy.data();
  return copy;
}

/** A graph of ops on [2..4 axes] drawn by a generator of choices. */
function drawGraph(inputs: readonly Tensor[], pick: (most: number) => number): Tensor[] {
  const values = [...inputs];
  const some = () => values[pick(values.length - 1)]!;
  const like = (x: Tensor) => {
    const others = values.filter((y) => y !== x && y.shape.join() === x.shape.join());
    return others.length > 0 ? others[pick(others.length - 1)]! : ops.sin(x);
  };
  for (let i = 0; i < 12; i++) {
    const x = some(), axis = pick(x.rank - 1);
    const steps = [
      () => ops.add(x, like(x)),
      () => ops.mul(x, like(x)),
      () => ops.sub(x, ops.mean(x, { axes: axis, keepDims: true })),
      () => ops.tanh(x),
      () => ops.maximum(x, ops.sin(like(x))),
      () => ops.where(ops.less(inputs[0]!, 0), ops.cos(inputs[0]!), inputs[0]!),
      () => ops.softmax(x, { axis }),
      () => ops.transpose(x, x.shape.map((_, a) => (a + 1) % x.rank)),
      () => ops.reshape(x, [x.size / x.shape.at(-1)!, x.shape.at(-1)!]),
      () => ops.concat([x, ops.neg(x)], { axis }),
      () => ops.flip(x, axis),
      () => ops.tanh(ops.sum(x, { axes: axis, keepDims: true })),
      () => ops.broadcastTo(ops.max(x, { axes: axis, keepDims: true }), x.shape),
      () => ops.slice(x, [[0, Math.ceil(x.shape[0]! / 2)]]),
      () => ops.tanh(ops.matmul(x, ops.swapAxes(x, -1, -2))),
    ];
    const next = steps[pick(steps.length - 1)]!();
    if (next.size > 0 && next.size < 20_000) values.push(next);
  }
  return values.slice(-3);
}

wasmTest("graphs of any ops equal the reference when they are fused", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 2, max: 9 }), { minLength: 2, maxLength: 3 }),
      fc.infiniteStream(fc.nat(255)),
      async (shape, choices) => {
        const drawn: number[] = [];
        let at = 0;
        // Both devices must be given the same choices.
        const pick = (most: number) => {
          if (at === drawn.length) drawn.push(choices.next().value!);
          return drawn[at++]! % (most + 1);
        };
        await assertSameAsReference(
          (...inputs) => {
            at = 0;
            return drawGraph(inputs, pick);
          },
          [noise(shape, 1), noise(shape, 2)],
          2e-4,
          `${shape}`,
        );
        assert(at > 0);
      },
    ),
    { numRuns: 60, seed: 11 },
  );
});
