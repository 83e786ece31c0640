import { assert, assertEquals } from "@std/assert";
import { testOnDevices } from "../../tests/devices.ts";
import { canonicalize } from "../compiler/canonical.ts";
import { compile } from "../compiler/compile.ts";
import { makeSource } from "../graph.ts";
import { add, matmul } from "../../ops/mod.ts";
import { compileOptions } from "../realize.ts";
import { Tensor } from "../tensor.ts";

testOnDevices("a profile runs the program and has a time for each step", async (device) => {
  const type = { shape: [2, 2], dtype: "f32" } as const;
  const x = makeSource(type);
  const square = matmul(new Tensor(x), new Tensor(x));
  const graph = canonicalize([add(square, 1).value, square.value], [x]);
  const { plan } = compile(graph, compileOptions(device));
  const executable = device.prepare(plan);
  if (!executable.profile) return; // no timestamps here
  const buffers = plan.bound.map((id) => device.allocate(plan.buffers[id]!.bytes, "test"));
  device.write(buffers[0]!, type, Float32Array.of(1, 2, 3, 4));
  const times = await executable.profile(buffers);
  assertEquals(times.length, plan.steps.length);
  assert(times.every((ms) => ms >= 0) && times.some((ms) => ms > 0), `${times}`);
  assertEquals(await device.read(buffers[1]!, type), Float32Array.of(8, 11, 16, 23));
  executable.run(buffers);
  assertEquals(await device.read(buffers[1]!, type), Float32Array.of(8, 11, 16, 23));
  buffers.forEach(device.release);
  executable.dispose();
});
