import { assertEquals, assertThrows } from "@std/assert";
import { add, mul, neg, sub } from "../../ops/arithmetic.ts";
import { cast } from "../../ops/cast.ts";
import { sum } from "../../ops/reduce.ts";
import { softmax } from "../../ops/softmax.ts";
import { updateSlice } from "../../ops/scatter/scatter.ts";
import { use } from "../device.ts";
import { tensor } from "../tensor.ts";
import { openReference } from "./reference.ts";

Deno.test("floats are kept in double precision between ops", async () => {
  use(openReference());
  const tiny = 2 ** -30; // lost beside 1 in f32
  const x = sub(add(tensor([1]), tiny), 1);
  assertEquals(await x.toArray(), [tiny]);
});

Deno.test("integers wrap and floats that become integers saturate", async () => {
  use(openReference());
  const largest = tensor([2 ** 31 - 1], { dtype: "i32" });
  assertEquals(await add(largest, 1).toArray(), [-(2 ** 31)]);
  assertEquals(await mul(largest, largest).toArray(), [1]);
  assertEquals(await sub(tensor([0], { dtype: "u32" }), 1).toArray(), [2 ** 32 - 1]);
  const floats = tensor([1e20, -1e20, NaN, -2.7]);
  assertEquals(await cast(floats, "i32").toArray(), [2 ** 31 - 1, -(2 ** 31), 0, -2]);
  assertEquals(await cast(floats, "u32").toArray(), [2 ** 32 - 1, 0, 0, 0]);
});

Deno.test("fused kernels with several passes mean the same as one op at a time", async () => {
  const data = Float32Array.from({ length: 12 }, (_, i) => Math.sin(i));
  const results = [];
  for (const fuses of [false, true]) {
    use(openReference({ fuses }));
    const x = softmax(tensor(data, { shape: [3, 4] }));
    results.push(await sum(mul(x, x), { axes: 1 }).data());
  }
  assertEquals(results[0], results[1]);
});

Deno.test("an op in place leaves an input that is needed again as it was", async () => {
  use(openReference());
  const base = add(tensor([1, 2, 3]), 0);
  const changed = updateSlice(base, tensor([9]), 1);
  assertEquals(await changed.toArray(), [1, 9, 3]);
  assertEquals(await base.toArray(), [1, 2, 3]);
});

Deno.test("counters follow allocations, programs and readbacks", async () => {
  const device = use(openReference());
  const x = neg(tensor([1, 2]));
  await x.data();
  const { allocations, bytesLive, submissions, readbacks, compilations } = device.counters;
  assertEquals({ allocations, bytesLive, submissions, readbacks, compilations }, {
    allocations: 2, // the literal and its negative
    bytesLive: 16,
    submissions: 1,
    readbacks: 1,
    compilations: 1,
  });
  x.dispose();
  assertEquals(device.counters.bytesLive, 8);
});

Deno.test("a buffer beyond the limit is refused by name", () => {
  assertThrows(
    () => openReference().allocate(2 ** 33, "codebook"),
    RangeError,
    `reference: expected at most ${2 ** 32} bytes for codebook but found ${2 ** 33}`,
  );
});
