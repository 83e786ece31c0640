import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { testOnDevices } from "../../tests/devices.ts";
import { add, matmul } from "../../ops/mod.ts";
import { type Tensor, tensor } from "../tensor.ts";
import { jit } from "../transforms/jit.ts";
import { profile, showKernels } from "./profile.ts";

testOnDevices("profile() has a row per kernel with its traffic and arithmetic", async () => {
  const size = 32;
  const layer = jit((x: Tensor) => add(matmul(x, x), x), { name: "layer" });
  const x = tensor(new Float32Array(size * size).fill(0.5), { shape: [size, size] });
  await layer(x).data();
  const rows = await profile(async () => {
    for (let i = 0; i < 4; i++) await layer(x).data();
  }).catch((error) => {
    if (/can time/.test(error.message)) return []; // no timestamps here
    throw error;
  });
  for (const row of rows) {
    assertEquals([row.program, row.calls], ["layer", 4]);
    assertEquals(row.results, `f32[${size}, ${size}]`);
    const seconds = row.ms / 1e3;
    const near = (found: number, wanted: number) =>
      assert(Math.abs(found - wanted) <= 1e-6 * wanted, `${found} is not ${wanted}`);
    const flops = { "matmul": 2 * size ** 3, "add": size ** 2 };
    const [first, second] = row.name.split("+") as (keyof typeof flops)[];
    const matrices = second ? 4 : 3; // one kernel for both, or one for each
    if (row.ms > 0) {
      const wanted = flops[first!] + (second ? flops[second] : 0);
      near(row.gigaflopsPerSecond * seconds * 1e9, 4 * wanted);
      near(row.gigabytesPerSecond * seconds * 1e9, 4 * 4 * matrices * size ** 2);
    }
    assertStringIncludes(showKernels(rows), `${(100 * row.share).toFixed(1)} %`);
  }
  const total = rows.reduce((sum, { share }) => sum + share, 0);
  assert(rows.length === 0 || Math.abs(total - 1) < 1e-6, `${total}`);
});

testOnDevices("profile() of nothing is an error", async () => {
  await assertRejects(() => profile(() => {}), Error, "profile: expected programs");
}, ["reference"]);
