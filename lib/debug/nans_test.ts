import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { testOnDevices } from "../../tests/devices.ts";
import {
  add,
  attention,
  div,
  exp,
  log,
  matmul,
  mul,
  softmax,
  sub,
  sum,
  where,
} from "../../ops/mod.ts";
import { type Tensor, tensor } from "../tensor.ts";
import { jit } from "../transforms/jit.ts";
import { checkpoint, valueAndGrad } from "../transforms/vjp.ts";
import { debugNans, NonFiniteError } from "./nans.ts";

async function messageOf(run: () => Promise<unknown>): Promise<string> {
  const error = await run().then(() => undefined, (error) => error);
  assert(error instanceof NonFiniteError, `${error}`);
  return error.message;
}

testOnDevices("the first op that makes NaN is named with shapes, element and place", async () => {
  const f = (p: { x: Tensor }) => mul(sum(log(sub(p.x, 2))), 3);
  const message = await messageOf(() => debugNans(f)({ x: tensor([[4, 5], [1, 6]]) }));
  assertMatch(
    message,
    /^debugNans: log\(f32\[2, 2\]\) -> f32\[2, 2\] made NaN at \[1, 0\] from finite inputs \(there -1\), op \d of \d+, applied at lib\/debug\/nans_test\.ts:\d+:\d+/,
  );
});

testOnDevices("an infinity that becomes NaN is traced back to its op", async () => {
  const f = (x: Tensor) => sub(exp(x), exp(x));
  const message = await messageOf(() => debugNans(jit(f))(tensor([0, 1000])));
  assertMatch(
    message,
    /sub\(.* made NaN at \[1\] from infinite inputs \(there Infinity, Infinity\)/,
  );
  assertMatch(
    message,
    /; before that, exp\(f32\[2\]\).* made an infinity at \[1\] from finite inputs/,
  );
});

testOnDevices("an infinity in the result is found, and one that vanishes is not", async () => {
  assertMatch(
    await messageOf(() => debugNans((x: Tensor) => div(1, x))(tensor([2, 0]))),
    /div\(.* made an infinity at \[1\] from finite inputs/,
  );
  const y = await debugNans((x: Tensor) => div(1, exp(x)))(tensor([1000]));
  assertEquals(await y.toArray(), [0]);
});

testOnDevices("masks of minus infinity are meant, in losses and gradients", async () => {
  const visible = tensor([[true, false], [true, true]]);
  const scores = (x: Tensor) => softmax(where(visible, x, -Infinity));
  const f = valueAndGrad((x: Tensor) => sum(mul(scores(matmul(x, x)), x)));
  const [value, gradient] = await debugNans(f)(tensor([[1, 2], [3, 4]]));
  assert(Number.isFinite(await value.item()));
  const [expected, slope] = f(tensor([[1, 2], [3, 4]]));
  assertEquals(await value.data(), await expected.data());
  assertEquals((await gradient.data()).length, (await slope.data()).length);
});

testOnDevices("rows of attention that see nothing are meant", async () => {
  const x = tensor([[[[1, 0], [0, 1]]]]), seen = tensor([1, 0], { dtype: "i32" });
  const f = (x: Tensor) => sum(attention(x, x, x, { visible: seen }));
  await debugNans(valueAndGrad(f))(x);
});

testOnDevices("gradients are looked into, through checkpoints, too", async () => {
  const block = checkpoint((x: Tensor) => exp(mul(x, 600)));
  const loss = (p: { w: Tensor }) => sum(log(block(p.w)));
  const message = await messageOf(() => debugNans(valueAndGrad(loss))({ w: tensor([0.1, 2]) }));
  assertMatch(message, /exp\(f32\[2\]\).* made an infinity at \[1\]/);
});

testOnDevices("NaN in an argument is told by its path", async () => {
  await assertRejects(
    () => debugNans((p: { w: Tensor[] }) => add(p.w[0]!, 1))({ w: [tensor([1, NaN])] }),
    NonFiniteError,
    "debugNans: found NaN at [1] of argument 0.w.0, f32[2]",
  );
}, ["reference"]);
