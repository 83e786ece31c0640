import { assertEquals } from "@std/assert";
import { runKernel, tensorOf, webgpuTest } from "../../lib/backends/webgpu/testing.ts";
import { scatterAddWgsl, updateSliceWgsl } from "./wgsl.ts";

for (const dtype of ["f32", "i32"] as const) {
  for (const [rows, columns, count] of [[10, 3, 700], [700, 1, 40], [3, 300, 20]] as const) {
    webgpuTest(
      `scatterAdd of ${count} rows into ${rows} x ${columns} of ${dtype}`,
      async (backend) => {
        const base = tensorOf(dtype, [rows, columns], (i) => i);
        const indices = tensorOf("i32", [count], (i) => (i * i) % (rows + 2) - 1);
        const updates = tensorOf(dtype, [count, columns], (i) => i % 17);
        const wanted = base.data.slice();
        indices.data.forEach((row, r) => {
          for (let c = 0; c < columns && row >= 0 && row < rows; c++) {
            wanted[row * columns + c]! += updates.data[r * columns + c]!;
          }
        });
        const run = { wgsl: scatterAddWgsl, inPlace: 0 };
        assertEquals(await runKernel(backend, run, [base, indices, updates], [base]), [wanted]);
      },
    );
  }
}

webgpuTest("updateSlice writes at a clamped start along any axis", async (backend) => {
  const base = tensorOf("f32", [2, 5, 3], (i) => i), update = tensorOf("f32", [2, 2, 3], (i) => -i);
  for (const [start, first] of [[1, 1], [9, 3], [-4, 0]] as const) {
    const wanted = base.data.slice();
    for (let i = 0; i < 12; i++) {
      wanted[Math.floor(i / 6) * 15 + (first + Math.floor(i / 3) % 2) * 3 + i % 3] = -i;
    }
    const operands = [base, update, tensorOf("i32", [], () => start)];
    const run = { wgsl: updateSliceWgsl, inPlace: 0 };
    assertEquals(await runKernel(backend, run, operands, [base], { axis: 1 }), [wanted]);
  }
});
