import { assertEquals } from "@std/assert";
import {
  add,
  cos,
  jit,
  matmul,
  mul,
  placeholder,
  planOf,
  reshape,
  scope,
  sum,
  type Tensor,
  tensor,
} from "../mod.ts";
import { arange } from "../ops/create.ts";
import { cast } from "../ops/cast.ts";
import { testOnDevices } from "./devices.ts";

const angles = () => cos(mul(cast(arange(6), "f32"), 0.5));

testOnDevices("what a function computes from constants alone is computed once", async (device) => {
  const weight = tensor([[1, 2], [3, 4]]);
  const fn = (x: Tensor) => add(matmul(x, matmul(weight, weight)), sum(mul(angles(), 2)));
  const names = planOf(fn, [placeholder([3, 2])]).steps.map(({ name }) => name);
  assertEquals(names.includes("cos"), false);
  assertEquals(names.filter((name) => name.includes("matmul")).length, 1);
  const compiled = jit(fn);
  const x = tensor([[1, 0], [0, 1], [1, 1]]);
  const rest = 2 * [0, 1, 2, 3, 4, 5].reduce((total, i) => total + Math.cos(i / 2), 0);
  const rows = [[7, 10], [15, 22], [22, 32]].map((row) => row.map((y) => y + rest));
  {
    using _ = scope(); // which does not end the life of what the program holds
    await compiled(x).data();
  }
  const before = device.counters.dispatches;
  const found = await compiled(x).toArray() as number[][];
  assertEquals(
    found.map((row) => row.map((y) => y.toFixed(3))),
    rows.map((row) => row.map((y) => y.toFixed(3))),
  );
  if (device.fuses) assertEquals(device.counters.dispatches - before <= 2, true);
});

testOnDevices("constants that are results, and cheap ones, are not held", async () => {
  const compiled = jit((x: Tensor) => [angles(), add(x, arange(6)), reshape(angles(), [2, 3])]);
  for (let i = 0; i < 2; i++) {
    const [first, second, third] = compiled(tensor([0, 0, 0, 0, 0, i]));
    assertEquals(await second!.toArray(), [0, 1, 2, 3, 4, 5 + i]);
    assertEquals(await first!.data(), await third!.data());
    first!.dispose();
  }
});
