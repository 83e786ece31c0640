import { assertEquals, assertMatch } from "@std/assert";
import { testOnDevices } from "../../tests/devices.ts";
import { add, matmul } from "../../ops/mod.ts";
import { type Tensor, tensor } from "../tensor.ts";
import { jit, placeholder, planOf } from "../transforms/jit.ts";
import { planToDot, showPlan } from "./show_plan.ts";

const layer = (x: Tensor) => {
  const y = matmul(x, x);
  return [matmul(y, y), add(y, 1)];
};

testOnDevices("the graph of a plan has every step, argument, result and dependence", () => {
  const plan = planOf(layer, [placeholder([4, 4])]);
  const dot = planToDot(plan);
  assertMatch(dot, /^digraph plan \{\n[^]*\}\n$/);
  assertEquals(dot.match(/shape=box/g)?.length, 2);
  assertEquals(dot.match(/shape=ellipse/g)?.length, 3);
  // argument → matmul+add → (matmul, result), matmul → result
  assertEquals(dot.match(/ -> /g)?.length, 4);
}, ["wasm"]);

testOnDevices("a jitted function shows the plan that planOf() gives without running", () => {
  const jitted = jit(layer);
  assertEquals(jitted.plan(), "not compiled yet");
  jitted(tensor(new Float32Array(16), { shape: [4, 4] }));
  assertEquals(jitted.plan(), showPlan(planOf(layer, [placeholder([4, 4])])));
});
