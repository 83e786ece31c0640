import { assert, assertEquals } from "@std/assert";

/** A layer with products large enough to be packed, and its gradient, on a device. */
const program = (device: string) => `
import { attention, gelu, layerNorm, matmul, openDevice, reshape, square, sum, swapAxes, tensor, transpose,
  valueAndGrad } from ${JSON.stringify(import.meta.resolve("../../../mod.ts"))};
const { description } = await openDevice("${device}");
const wave = (shape, phase) => tensor(
  Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => Math.sin(i * 0.37 + phase) / 9),
  { shape },
);
const params = { x: wave([300, 200], 0), w: wave([200, 96], 1), v: wave([96], 2) };
const heads = (x) => transpose(reshape(x, [2, 150, 4, 24]), [0, 2, 1, 3]);
const [loss, gradients] = valueAndGrad(({ x, w, v }) => {
  const h = heads(gelu(layerNorm(matmul(x, w), v, v)));
  const seen = reshape(transpose(attention(h, h, h), [0, 2, 1, 3]), [300, 96]);
  return sum(square(matmul(seen, swapAxes(w, 0, 1))));
})(params);
const values = [await loss.item()];
for (const name of ["x", "w", "v"]) values.push(...await gradients[name].data());
console.log(JSON.stringify({ description, values }));
Deno.exit(0);
`;

async function run(device: string, env: Record<string, string> = {}) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", program(device)],
    env: { TESSERA_BLAS: "off", ...env },
  }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout)) as { description: string; values: number[] };
}

Deno.test("with V8's flags for vectors of 256 bits, the device has them, and the same results", async () => {
  const flags = "--no-wasm-bounds-checks,--experimental-wasm-revectorize";
  const [expected, plain, doubled] = await Promise.all([
    run("reference"),
    run("wasm"),
    run("wasm", { DENO_V8_FLAGS: flags }),
  ]);
  assert(!plain.description.includes("256 bits"), plain.description);
  assert(doubled.description.includes("256 bits"), doubled.description);
  for (const { values } of [plain, doubled]) {
    const scale = Math.max(...expected.values.slice(1).map(Math.abs));
    assert(Math.abs(values[0]! / expected.values[0]! - 1) < 1e-5, `loss ${values[0]}`);
    values.slice(1).forEach((value, i) => {
      const difference = Math.abs(value - expected.values[i + 1]!);
      assert(difference < 1e-4 * scale, `gradient ${i}: off by ${difference} of ${scale}`);
    });
  }
});
