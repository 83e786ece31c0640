import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { testOnDevices } from "../../tests/devices.ts";
import { add, matmul, mul, sum } from "../../ops/mod.ts";
import type { Tensor } from "../tensor.ts";
import { placeholder, planOf } from "../transforms/jit.ts";
import { grad } from "../transforms/vjp.ts";
import { memoryReport, showMemory } from "./memory_report.ts";

const matrix = placeholder([64, 64]), bytes = 64 * 64 * 4;

testOnDevices("results over donated arguments count as arguments", () => {
  const update = (p: Tensor, g: Tensor) => add(p, mul(g, 0.1));
  const apart = memoryReport(planOf(update, [matrix, matrix]));
  assertEquals([apart.arguments, apart.results], [2 * bytes, bytes]);
  const over = memoryReport(planOf(update, [matrix, matrix], { donate: [0] }));
  assertEquals([over.arguments, over.results, over.packed], [2 * bytes, 0, 0]);
}, ["wasm"]);

testOnDevices("the most that is alive at once is found, and packing comes near to it", () => {
  const deep = (x: Tensor, w: Tensor) => {
    let y = x;
    for (let i = 0; i < 6; i++) y = matmul(y, w);
    return sum(y);
  };
  const report = memoryReport(planOf(grad(deep), [matrix, matrix]));
  assert(report.packed >= report.live && report.ratio >= 1, `${report.ratio}`);
  const alive = report.temporaries.reduce((sum, row) => sum + row.bytes, 0);
  assertEquals(alive, report.live);
  const both = (p: { x: Tensor; w: Tensor }) => deep(p.x, p.w);
  const kept = memoryReport(planOf(grad(both), [{ x: matrix, w: matrix }]));
  assert(kept.live >= 5 * bytes, "the backward pass for the weight keeps every layer's input");
  assertStringIncludes(showMemory(kept), "f32[64, 64]");
}, ["wasm"]);
