/** What ops do where mathematics leaves a choice: ties, zeros, infinities, NaN. */
import { assertEquals } from "@std/assert";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { grad } from "../../lib/transforms/vjp.ts";
import * as ops from "../../ops/mod.ts";
import { testOnDevices } from "../devices.ts";

/** The gradient of the sum of a function's results. */
function gradient(f: (x: Tensor) => Tensor, x: Tensor): Promise<unknown> {
  return grad((x: Tensor) => ops.sum(f(x)))(x).toArray();
}

testOnDevices("equal extremes share the gradient", async () => {
  const x = tensor([[3, 1, 3], [0, 2, 1]]);
  assertEquals(await gradient((x) => ops.max(x, { axes: 1 }), x), [[0.5, 0, 0.5], [0, 1, 0]]);
  assertEquals(await gradient((x) => ops.min(x, { axes: 1 }), x), [[0, 1, 0], [1, 0, 0]]);
  assertEquals(await gradient((x) => ops.maximum(x, 1), tensor([0, 1, 2])), [0, 0.5, 1]);
  assertEquals(await gradient((x) => ops.minimum(x, 1), tensor([0, 1, 2])), [1, 0.5, 0]);
});

testOnDevices("gradients at zero are finite", async () => {
  const zero = tensor([0]);
  assertEquals(await gradient(ops.abs, zero), [0]);
  assertEquals(await gradient(ops.relu, zero), [0]);
  assertEquals(await gradient((x) => ops.pow(x, 2), zero), [0]);
  assertEquals(await gradient((x) => ops.pow(x, tensor([2])), zero), [0]);
  assertEquals(await gradient((x) => ops.pow(tensor([0]), x), tensor([2])), [0]);
  assertEquals(await gradient(ops.product, tensor([0, 3, 4])), [12, 0, 0]);
  assertEquals(await gradient(ops.product, tensor([0, 3, 0])), [0, 0, 0]);
});

testOnDevices("whole numbers have no gradient and pass none on", async () => {
  const loss = (x: Tensor) => ops.mul(x, ops.cast(ops.cast(x, "i32"), "f32"));
  assertEquals(await gradient(loss, tensor([2.5])), [2]);
  assertEquals(await gradient((x) => ops.mul(x, ops.floor(x)), tensor([2.5])), [2]);
});

testOnDevices("softmax and its kin take infinite logits", async () => {
  const x = tensor([[-Infinity, 0, 0], [-Infinity, -Infinity, 0]]);
  assertEquals(await ops.softmax(x).toArray(), [[0, 0.5, 0.5], [0, 0, 1]]);
  assertEquals(await ops.argmax(x).toArray(), [1, 2]);
  const none = tensor([[-Infinity, -Infinity]]);
  assertEquals(await ops.logsumexp(none, { axes: 1 }).toArray(), [-Infinity]);
  assertEquals(await ops.argmax(none).toArray(), [0]);
});

testOnDevices("sorting keeps the order of equal elements and puts NaN last", async () => {
  const x = tensor([2, NaN, 1, 2, -1]);
  assertEquals(await ops.argsort(x).toArray(), [4, 2, 0, 3, 1]);
  assertEquals(await ops.argsort(x, { descending: true }).toArray(), [0, 3, 2, 4, 1]);
});

testOnDevices("constants keep infinities, NaN and the sign of zero", async () => {
  assertEquals(await ops.full([1], -Infinity).toArray(), [-Infinity]);
  assertEquals(await ops.full([1], NaN).toArray(), [NaN]);
  assertEquals(await ops.div(1, ops.full([1], -0)).toArray(), [-Infinity]);
});

testOnDevices("plain numbers take the type of the tensors beside them", async () => {
  const whole = tensor([3, 4], { dtype: "i32" });
  assertEquals(String(ops.add(whole, 1)), "i32[2]");
  assertEquals(String(ops.add(whole, 0.5)), "f32[2]");
  assertEquals(String(ops.mul(ops.full([2], 1, { dtype: "f16" }), 0.5)), "f16[2]");
  assertEquals(await ops.add(whole, 0.5).toArray(), [3.5, 4.5]);
});

testOnDevices(
  "a maximum or minimum of values with NaN among them is NaN, wherever it stands",
  async () => {
    const size = 37;
    const rows = Array.from(
      { length: size + 1 },
      (_, row) => Array.from({ length: size }, (_, i) => i === row ? NaN : i % 5),
    );
    const x = tensor(rows);
    for (const [reduce, clean] of [[ops.max, 4], [ops.min, 0]] as const) {
      const wanted = Array.from({ length: size + 1 }, (_, row) => row === size ? clean : NaN);
      assertEquals(await reduce(x, { axes: [1] }).toArray(), wanted);
      assertEquals(await reduce(ops.transpose(x), { axes: [0] }).toArray(), wanted);
    }
  },
  ["reference", "wasm"],
);
