import { assert, assertEquals } from "@std/assert";
import {
  adamw,
  add,
  attention,
  cos,
  defineOp,
  gelu,
  jit,
  matmul,
  mul,
  openDevice,
  placeholder,
  planOf,
  reshape,
  rotary2d,
  silu,
  sin,
  slice,
  split,
  square,
  squeeze,
  sum,
  swapAxes,
  type Tensor,
  tensor,
  transpose,
  updateSlice,
  valueAndGrad,
} from "../mod.ts";
import { use } from "../lib/device.ts";
import { noise } from "../lib/backends/wasm/testing.ts";
import type { Shape } from "../lib/shape.ts";
import { testOnDevices } from "./devices.ts";

/** Splits a product's heads, as attention wants them: [B, N, 3·H·D] → three of [B, H, N, D]. */
function heads(x: Tensor, count: number): Tensor[] {
  const [batch, rows, width] = x.shape as [number, number, number];
  const byHead = transpose(reshape(x, [batch, rows, 3, count, width / 3 / count]), [2, 0, 3, 1, 4]);
  return split(byHead, 3, { axis: 0 }).map((part) => squeeze(part, 0));
}

/** Functions of products, and the kernels that each compiles to where epilogues are fused. */
const cases: {
  name: string;
  shapes: Shape[];
  run: (...x: Tensor[]) => Tensor[];
  kernels: string[];
}[] = [
  {
    name: "bias and activation, with what goes into it",
    shapes: [[3, 7, 20], [20, 33], [33]],
    run(x, w, b) {
      const inner = add(matmul(x!, w!), b!);
      return [inner, gelu(inner)];
    },
    kernels: ["matmul+add+gelu"],
  },
  {
    name: "a gate, its other half a product before",
    shapes: [[70, 24], [24, 40], [24, 40]],
    run: (x, gate, w) => [mul(silu(matmul(x!, gate!)), matmul(x!, w!))],
    kernels: ["matmul", "matmul+silu+mul"],
  },
  {
    name: "a residual of a product in batches",
    shapes: [[2, 3, 9, 8], [2, 3, 8, 11], [2, 3, 9, 11]],
    run: (a, b, x) => [add(mul(matmul(a!, b!), 0.5), x!)],
    kernels: ["matmul+mul+add"],
  },
  {
    name: "a transposed result",
    shapes: [[40, 130], [130, 36], [36]],
    run: (a, b, bias) => [mul(swapAxes(add(matmul(a!, b!), bias!), 0, 1), 2)],
    kernels: ["matmul+add+mul"],
  },
  {
    name: "two of three parts of a product turned by their positions",
    shapes: [[2, 6, 16], [16, 48], [6, 4], [6, 4]],
    run(x, w, cos, sin) {
      const [q, k, v] = heads(matmul(x!, w!), 2) as [Tensor, Tensor, Tensor];
      return [rotary2d(q, cos!, sin!), rotary2d(k, cos!, sin!), square(v)];
    },
    kernels: ["matmul+rotary+rotary+mul"],
  },
  {
    name: "many heads turned by their positions, which threads share",
    shapes: [[2, 24, 64], [64, 192], [24, 8], [24, 8]],
    run(x, w, cos, sin) {
      const [q, k, v] = heads(matmul(x!, w!), 4) as [Tensor, Tensor, Tensor];
      return [rotary2d(q, cos!, sin!), rotary2d(k, cos!, sin!), square(v)];
    },
    kernels: ["matmul+rotary+rotary+mul"],
  },
  {
    name: "a product for each of many rows",
    shapes: [[2, 300], [200, 300], [200]],
    run: (x, w, b) => [gelu(add(matmul(x!, swapAxes(w!, 0, 1)), b!))],
    kernels: ["matmul+add+gelu"],
  },
];

/** Runs functions on the reference and on a device, and asserts that they agree. */
async function assertAgree(
  run: (...x: Tensor[]) => Tensor[],
  shapes: readonly Shape[],
  device: Parameters<typeof use>[0],
) {
  const results: Float32Array[][] = [];
  for (const on of [await openDevice("reference"), device]) {
    use(on);
    const inputs = shapes.map((shape, i) => {
      const { data } = noise(shape, i + 1);
      return tensor(data, { shape });
    });
    const compiled = jit((x: Tensor[]) => run(...x));
    results.push(await Promise.all(compiled(inputs).map((y) => y.data() as Promise<Float32Array>)));
  }
  const [expected, found] = results as [Float32Array[], Float32Array[]];
  for (const [i, values] of expected.entries()) {
    const scale = values.reduce((most, x) => Math.max(most, Math.abs(x)), 1);
    values.forEach((x, j) => assert(Math.abs(x - found[i]![j]!) <= 2e-5 * scale, `${i}: ${j}`));
  }
}

for (const { name, shapes, run, kernels } of cases) {
  testOnDevices(`the end of a matrix product: ${name}`, async (device) => {
    await assertAgree(run, shapes, device);
    const { steps } = planOf((...x) => run(...x), shapes.map((shape) => placeholder(shape)));
    if (device.name !== "reference") assertEquals(steps.map((step) => step.name), kernels);
  });
  testOnDevices(`its gradients: ${name}`, async (device) => {
    const loss = (x: Tensor[]) =>
      run(...x).reduce((total, y, i) => add(total, sum(square(mul(y, i + 1)))), tensor(0));
    await assertAgree((...x) => valueAndGrad(loss)(x)[1], shapes, device);
  });
}

testOnDevices("attention of turned heads ends with their union and a residual", async (device) => {
  const run = (...[x, w, cos, sin]: Tensor[]) => {
    const [q, k, v] = heads(matmul(x!, w!), 2) as [Tensor, Tensor, Tensor];
    const seen = attention(rotary2d(q, cos!, sin!), rotary2d(k, cos!, sin!), v);
    return [add(reshape(transpose(seen, [0, 2, 1, 3]), x!.shape), x!)];
  };
  const shapes = [[2, 6, 16], [16, 48], [6, 4], [6, 4]];
  await assertAgree(run, shapes, device);
  const gradients = valueAndGrad((x: Tensor[]) => sum(square(run(...x)[0]!)));
  await assertAgree((...x) => gradients(x)[1], shapes, device);
  const plan = planOf((...x) => run(...x), shapes.map((shape) => placeholder(shape)));
  const names = plan.steps.map(({ name }) => name);
  if (device.name !== "reference") {
    assertEquals(names, ["matmul+rotary+rotary", "attention+add"]);
  }
});

/** Attention whose keys and values grow by those of new rows from `start` on. */
function grow(x: Tensor, w: Tensor, angles: Tensor, cache: Tensor[], start: Tensor): Tensor[] {
  const [q, k, v] = heads(matmul(x, w), 2) as [Tensor, Tensor, Tensor];
  const turned = [rotary2d(k, cos(angles), sin(angles)), v];
  const [keys, values] = cache.map((old, i) => updateSlice(old, turned[i]!, start, { axis: 2 }));
  return [attention(q, keys!, values!), keys!, values!];
}

const growing: Shape[] = [[2, 3, 16], [16, 48], [3, 4], [2, 2, 11, 8], [2, 2, 11, 8]];

for (const start of [-4, 2, 20]) {
  testOnDevices(`a product ends in a cache's copy, written from ${start} on`, async (device) => {
    const run = (...[x, w, angles, ...cache]: Tensor[]) =>
      grow(x!, w!, angles!, cache, tensor(start, { dtype: "i32" }));
    await assertAgree(run, growing, device);
  });
}

testOnDevices("a product that ends in caches is one kernel where they may be overwritten", () => {
  const run = (...[x, w, angles, keys, values, start]: Tensor[]) =>
    grow(x!, w!, angles!, [keys!, values!], start!);
  const types = [...growing.map((shape) => placeholder(shape)), placeholder([], "i32")];
  const names = (donate: number[]) =>
    planOf(run, types, { donate }).steps.map(({ name }) => name).slice(-3);
  const product = "matmul+reshape+rotary+updateSlice+updateSlice";
  assertEquals(names([3, 4]), ["cos+sin", product, "attention"]);
  assertEquals(names([3]), ["copy(matmul)", product, "attention"]);
}, ["webgpu"]);

testOnDevices("a product ends in caches that grow in place", async (device) => {
  const [first, w, angles, ...empty] = growing.map((shape, i) => {
    const { data } = noise(shape, i + 1);
    return () => tensor(data, { shape });
  });
  const run = async () => {
    const step = jit(
      (cache: Tensor[], x: Tensor, start: Tensor) => {
        const [seen, ...grown] = grow(x, w!(), angles!(), cache, start);
        return { seen: seen!, cache: grown };
      },
      { donate: [0] },
    );
    let cache = empty.map((make) => make()), x = first!();
    const all: Float32Array[] = [];
    for (const start of [0, 3, 6]) {
      const result = step(cache, x, tensor(start, { dtype: "i32" }));
      x = reshape(result.seen, first!().shape);
      cache = result.cache;
      all.push(await result.seen.data() as Float32Array);
    }
    return [...all, ...await Promise.all(cache.map((x) => x.data() as Promise<Float32Array>))];
  };
  use(await openDevice("reference"));
  const expected = await run();
  use(device);
  for (const [i, values] of (await run()).entries()) {
    values.forEach((x, j) => assert(Math.abs(x - expected[i]![j]!) < 2e-5, `${i}: ${j}`));
  }
});

testOnDevices("a step of AdamW at the end of a gradient updates in place", async (device) => {
  const run = () => {
    const x = tensor(noise([24, 16], 1).data, { shape: [24, 16] });
    let params = { w: tensor(noise([16, 12], 2).data, { shape: [16, 12] }) };
    let state = adamw.init(params);
    const step = jit((p: typeof params, s: typeof state, x: Tensor) => {
      const [, gradients] = valueAndGrad((p: typeof params) => sum(square(matmul(x, p.w))))(p);
      const [updated, next] = adamw.update(p, gradients, s, { learningRate: 1e-2 });
      return { params: updated, state: next };
    }, { donate: [0, 1] });
    for (let i = 0; i < 4; i++) ({ params, state } = step(params, state, x));
    return params.w.data();
  };
  use(await openDevice("reference"));
  const expected = await run();
  use(device);
  const found = await run();
  found.forEach((value, i) => assert(Math.abs(value - expected[i]!) < 1e-5));
});

testOnDevices("a kernel that declares no epilogue is followed by a kernel", async (device) => {
  const double = defineOp({
    name: "double",
    infer: ([x]) => [x!],
    run: {
      kind: "kernel",
      cpu([x], [y]) {
        x!.data.forEach((value, i) => y!.data[i] = 2 * value);
      },
      wgsl: ({ outputs: [y] }) => [{
        name: "double",
        code: `@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(1) fn main(@builtin(workgroup_id) id: vec3<u32>) { y[id.x] = 2.0 * x[id.x]; }`,
        bindings: [
          { operand: "input", index: 0, access: "read" },
          { operand: "output", index: 0, access: "read_write" },
        ],
        workgroups: [y!.shape[0]!, 1, 1],
      }],
    },
  });
  const run = (x: Tensor) => add(double([slice(x, [[1, null]])])[0]!, 1);
  await assertAgree((x) => [run(x!)], [[6]], device);
  if (device.name === "reference") return;
  const names = planOf(run, [placeholder([6])]).steps.map((step) => step.name);
  assertEquals(names.slice(-2), ["double", "add"]);
});
