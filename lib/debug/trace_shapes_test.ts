import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { testOnDevices } from "../../tests/devices.ts";
import { add, matmul, sum } from "../../ops/mod.ts";
import type { Tensor } from "../tensor.ts";
import { placeholder } from "../transforms/jit.ts";
import { valueAndGrad } from "../transforms/vjp.ts";
import { showShapes, traceShapes } from "./trace_shapes.ts";

const loss = (p: { w: Tensor; b: Tensor }, x: Tensor) => sum(add(matmul(x, p.w), p.b));
const params = { w: placeholder([3, 4]), b: placeholder([4]) }, x = placeholder([2, 3]);

testOnDevices("a trace lists forward and backward ops with shapes and places", (device) => {
  const { compilations } = device.counters;
  const rows = traceShapes(valueAndGrad(loss), params, x);
  assertEquals(rows.filter(({ op }) => op === "matmul").map(({ inputs }) => inputs[0]), [
    "f32[2, 3]",
    "f32[2, 4]",
    "f32[3, 2]",
  ]);
  assertEquals(rows[0]!.outputs, ["f32[2, 4]"]);
  assertMatch(rows[0]!.at, /^lib\/debug\/trace_shapes_test\.ts:9:\d+$/);
  assertMatch(showShapes(rows), /^op .*\nmatmul +f32\[2, 3\], f32\[3, 4\] +f32\[2, 4\] +lib/);
  assertEquals(device.counters.compilations, compilations, "nothing was compiled");
}, ["wasm"]);

testOnDevices("after an error nothing is traced any more", () => {
  assertThrows(() => traceShapes((x: Tensor) => matmul(x, x), x), TypeError, "matmul");
  assertEquals(traceShapes(() => {}), []);
}, ["reference"]);
