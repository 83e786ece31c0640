import { assertEquals } from "@std/assert";
import { noise, runKernel, tensorOf, webgpuTest } from "../../lib/backends/webgpu/testing.ts";
import { cumulativeSumWgsl } from "./wgsl.ts";

for (const [shape, axis] of [[[3, 200], 1], [[2, 5, 4], 1], [[70], 0]] as const) {
  for (const dtype of ["f32", "i32"] as const) {
    webgpuTest(`cumulativeSum of ${dtype} [${shape}] along axis ${axis}`, async (backend) => {
      const draw = noise(1);
      const x = tensorOf(dtype, shape, (i) => Math.round(9 * draw(i)) / (dtype === "i32" ? 1 : 8));
      const inner = shape.slice(axis + 1).reduce<number>((a, b) => a * b, 1);
      const wanted = Float64Array.from(x.data);
      wanted.forEach((_, i) => {
        if (Math.floor(i / inner) % shape[axis]! > 0) wanted[i]! += wanted[i - inner]!;
      });
      const [found] = await runKernel(backend, { wgsl: cumulativeSumWgsl }, [x], [x], { axis });
      assertEquals([...found!], [...wanted]);
    });
  }
}
