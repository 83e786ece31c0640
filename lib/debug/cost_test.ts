import { assertEquals } from "@std/assert";
import { testOnDevices } from "../../tests/devices.ts";
import {
  attention,
  conv2d,
  exp,
  linearCrossEntropy,
  matmul,
  sum,
  updateSlice,
} from "../../ops/mod.ts";
import type { Tensor } from "../tensor.ts";
import { placeholder, planOf } from "../transforms/jit.ts";
import { grad } from "../transforms/vjp.ts";
import { planCost } from "./cost.ts";

const flops = (fn: (...args: Tensor[]) => unknown, ...args: Tensor[]) =>
  planCost(planOf(fn, args)).flops;

testOnDevices("the arithmetic of kernels follows from their shapes", () => {
  assertEquals(flops(matmul, placeholder([5, 2, 3]), placeholder([5, 3, 7])), 2 * 5 * 2 * 3 * 7);
  const q = placeholder([2, 3, 5, 8]);
  const k = placeholder([2, 3, 6, 8]);
  assertEquals(flops((q, k) => attention(q, k, k), q, k), 4 * 2 * 3 * 5 * 6 * 8);
  const image = placeholder([2, 3, 8, 8]), weight = placeholder([4, 3, 3, 3]);
  assertEquals(flops((x, w) => conv2d(x, w, { padding: 1 }), image, weight), 2 * 2 * 4 * 64 * 27);
  const loss = (x: Tensor, w: Tensor, t: Tensor) => linearCrossEntropy(x, w, t);
  const rows = placeholder([5, 8]), head = placeholder([7, 8]), targets = placeholder([5], "i32");
  assertEquals(flops(loss, rows, head, targets), 2 * 5 * 7 * 8);
}, ["wasm"]);

testOnDevices("the backward pass of a product costs twice the forward pass", () => {
  const product = (x: Tensor, w: Tensor) => sum(matmul(x, w));
  const both = (x: Tensor, w: Tensor) =>
    grad((p: { x: Tensor; w: Tensor }) => product(p.x, p.w))({ x, w });
  const args = [placeholder([8, 16]), placeholder([16, 4])];
  const forward = 2 * 8 * 16 * 4;
  assertEquals(flops(both, ...args), 2 * forward); // the value itself is not needed
}, ["reference"]);

testOnDevices("loops count their operations and reductions at every point", () => {
  assertEquals(flops((x) => sum(exp(x)), placeholder([10, 20])), 2 * 200);
  const { bytes } = planCost(planOf((x) => sum(exp(x)), [placeholder([10, 20])]));
  assertEquals(bytes, 4 * 200 + 4);
}, ["wasm"]);

testOnDevices("an update in place touches what it writes", () => {
  const update = (x: Tensor, y: Tensor) => updateSlice(x, y, 0);
  const plan = planOf(update, [placeholder([1000, 8]), placeholder([1, 8])], { donate: [0] });
  const { bytes } = planCost(plan);
  assertEquals(bytes < 200, true, `${bytes}`);
}, ["wasm"]);
