import { assertEquals } from "@std/assert";
import { noise, runKernel, tensorOf, webgpuTest } from "../../lib/backends/webgpu/testing.ts";
import { sortScratch, sortWgsl } from "./wgsl.ts";

const run = { wgsl: sortWgsl, scratch: sortScratch };

for (const [lines, length] of [[3, 37], [2, 1], [2, 3000]] as const) {
  for (const dtype of ["f32", "i32", "u32"] as const) {
    const descending = dtype !== "u32";
    webgpuTest(
      `sort of ${lines} lines of ${length} ${dtype}, ${descending ? "descending" : "ascending"}`,
      async (backend) => {
        const draw = noise(1);
        const special = [NaN, Infinity, -Infinity, -0, 0, NaN];
        const x = tensorOf(dtype, [lines, length], (i) => {
          if (dtype === "f32" && i % 5 === 0) return special[i / 5 % 6]!;
          return dtype === "u32" ? Math.abs(Math.round(20 * draw(i))) : Math.round(20 * draw(i));
        });
        const values = x.data.slice(), indices = new Int32Array(x.data.length);
        for (let line = 0; line < lines; line++) {
          const row = x.data.subarray(line * length, (line + 1) * length);
          const order = Array.from(row, (_, i) => i).sort((i, j) => {
            const a = row[i]!, b = row[j]!;
            if (Number.isNaN(a) || Number.isNaN(b)) return +Number.isNaN(a) - +Number.isNaN(b);
            return descending ? +(b > a) - +(a > b) : +(a > b) - +(b > a);
          });
          order.forEach((from, i) => {
            indices[line * length + i] = from;
            values[line * length + i] = row[from]!;
          });
        }
        const outputs = [x, { shape: x.shape, dtype: "i32" as const }];
        assertEquals(await runKernel(backend, run, [x], outputs, { descending }), [
          values,
          indices,
        ]);
      },
    );
  }
}
