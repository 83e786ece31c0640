import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { openReference } from "../backends/reference.ts";
import { currentDevice, use } from "../device.ts";
import { type Tensor, tensor } from "../tensor.ts";
import { add, mul, sub } from "../../ops/arithmetic.ts";
import { exp } from "../../ops/math.ts";
import { max, sum } from "../../ops/reduce.ts";
import { div } from "../../ops/arithmetic.ts";
import { split } from "../../ops/slice.ts";
import { jit } from "./jit.ts";
import { grad } from "./vjp.ts";

const fused = openReference({ fuses: true }), unfused = openReference();
const test = (name: string, body: () => Promise<void> | void) =>
  Deno.test(name, () => {
    use(fused);
    return body();
  });

const softmax = (x: Tensor) => {
  const e = exp(sub(x, max(x, { axes: -1, keepDims: true })));
  return div(e, sum(e, { axes: -1, keepDims: true }));
};
const ramp = (...shape: number[]) => {
  const size = shape.reduce((a, b) => a * b, 1);
  return tensor(Float32Array.from({ length: size }, (_, i) => Math.sin(i * 0.7)), { shape });
};
const steps = (plan: string) => Number(/(\d+) steps/.exec(plan)![1]);

test("a function is traced once per structure, shapes and types", async () => {
  let calls = 0;
  const f = jit((p: { x: Tensor }, k: number) => {
    calls++;
    return mul(p.x, k);
  });
  assertEquals(await f({ x: tensor([1, 2]) }, 3).toArray(), [3, 6]);
  assertEquals(await f({ x: tensor([5, 6]) }, 3).toArray(), [15, 18]);
  assertEquals([calls, f.traces], [1, 1]);
  assertEquals(await f({ x: tensor([1]) }, 3).toArray(), [3]);
  assertEquals(f.retrace, "argument 0.x was f32[2] and is f32[1]");
  assertEquals(await f({ x: tensor([1, 2]) }, 4).toArray(), [4, 8]);
  assertEquals([calls, f.traces], [3, 3]);
  assertEquals(
    f.retrace,
    "argument 0.x was f32[1] and is f32[2]; argument 1 was number:3 and is number:4",
  );
});

test("softmax over rows is one kernel, and so is a chain around it", async () => {
  const x = ramp(40, 6);
  const f = jit((x: Tensor) => mul(softmax(add(x, 1)), 2));
  const result = await f(x).data();
  assertEquals(steps(f.plan()), 1);
  use(unfused);
  const expected = await mul(softmax(add(ramp(40, 6), 1)), 2).data();
  assertEquals(result, expected);
});

test("an optimizer's update of three tensors is one kernel over donated memory", async () => {
  const update = jit((p: Tensor, m: Tensor, g: Tensor) => {
    const next = add(mul(m, 0.9), g);
    return { p: sub(p, mul(next, 0.1)), m: next };
  }, { donate: [0, 1] });
  let state = update(ramp(8, 8), ramp(8, 8), ramp(8, 8));
  assertEquals(steps(update.plan()), 1);
  const [p, m, x] = [await state.p.data(), await state.m.data(), await ramp(8, 8).data()];
  for (let i = 0; i < x.length; i++) {
    assertAlmostEquals(m[i]!, 1.9 * x[i]!, 1e-6);
    assertAlmostEquals(p[i]!, x[i]! - 0.19 * x[i]!, 1e-6);
  }
  const before = currentDevice().counters.allocations;
  const gradient = ramp(8, 8);
  await gradient.data();
  for (let i = 0; i < 5; i++) state = update(state.p, state.m, gradient);
  assert(currentDevice().counters.allocations - before <= 1, "a replay allocated memory");
});

test("reading a donated tensor is an error", async () => {
  const f = jit((x: Tensor) => add(x, 1), { donate: [0] });
  const x = add(ramp(4), 0);
  await x.data();
  f(x);
  await assertRejects(() => x.data(), Error, "was donated or disposed of");
});

test("a donated tensor that is passed twice is an error", async () => {
  const f = jit((x: Tensor, y: Tensor) => add(x, y), { donate: [0] });
  const x = add(ramp(4), 0);
  await x.data();
  assertThrows(() => f(x, x), Error, "passed once");
});

test("a donated input is not overwritten while another output needs it", async () => {
  const f = jit((x: Tensor) => ({ y: add(x, 1), total: sum(x) }), { donate: [0] });
  const { y, total } = f(tensor([1, 2, 3]));
  assertEquals(await y.toArray(), [2, 3, 4]);
  assertEquals(await total.item(), 6);
});

test("equal outputs have memory of their own", async () => {
  const make = jit((x: Tensor) => ({ a: mul(x, 0), b: mul(x, 0) }));
  const use2 = jit((a: Tensor, b: Tensor) => ({ a: add(a, 1), b: add(b, 2) }), { donate: [0, 1] });
  const { a, b } = make(tensor([1, 2]));
  const result = use2(a, b);
  assertEquals(await result.a.toArray(), [1, 1]);
  assertEquals(await result.b.toArray(), [2, 2]);
});

test("a function that returns its argument works, donated or not", async () => {
  const x = ramp(3);
  const same = jit((x: Tensor) => x);
  assertEquals(await same(x).data(), await x.data());
  const given = jit((x: Tensor) => [x, add(x, 1)] as const, { donate: [0] });
  const [a, b] = given(add(x, 0));
  assertEquals(await a.data(), await x.data());
  assertEquals(await sub(b, 1).data(), await x.data());
});

test("tensors of the closure are inputs of the program", async () => {
  const w = tensor([10, 20]);
  const f = jit((x: Tensor) => mul(x, w));
  assertEquals(await f(tensor([1, 2])).toArray(), [10, 40]);
});

test("jit() inside grad and grad inside jit agree", async () => {
  const f = jit((x: Tensor) => sum(mul(softmax(x), x)));
  const x = ramp(4, 5);
  const inside = await grad(f)(x).data();
  const outside = await jit(grad((x: Tensor) => sum(mul(softmax(x), x))))(x).data();
  for (let i = 0; i < inside.length; i++) assert(Math.abs(inside[i]! - outside[i]!) < 1e-6);
});

test("reading a tensor inside a traced function is an error that says so", async () => {
  let inner: Promise<unknown> | undefined;
  jit((x: Tensor) => {
    inner = add(x, 1).data();
    return x;
  })(tensor(1));
  await assertRejects(() => inner!, TypeError, "read tensors outside of jit");
});

test("empty tensors pass through", async () => {
  const f = jit((x: Tensor) => ({ y: mul(x, 2), total: sum(x) }));
  const { y, total } = f(tensor(new Float32Array(0), { shape: [0, 3] }));
  assertEquals([y.shape, await total.item()], [[0, 3], 0]);
  assertEquals((await y.data()).length, 0);
});

test("what is held is computed once in eager code", async () => {
  let p = ramp(16);
  const counters = currentDevice().counters;
  for (let i = 0; i < 4; i++) {
    p = sub(p, mul(exp(p), 0.01));
    const before = counters.dispatches;
    await sum(p).item();
    assert(counters.dispatches - before <= 3, "earlier steps were computed again");
  }
});

test("the outputs of one op can be read one after another", async () => {
  const [a, b] = split(ramp(6), 2);
  const x = await ramp(6).data();
  assertEquals(await a!.data(), x.slice(0, 3));
  assertEquals(await b!.data(), x.slice(3));
});
