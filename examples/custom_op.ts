/**
 * An op of one's own with a WGSL kernel, a CPU kernel and a gradient: Mish, x·tanh(ln(1 + eˣ))
 * (Misra 2019). It runs eagerly, under grad and under jit, on every device.
 *
 *     deno run -A examples/custom_op.ts
 */
import {
  add,
  defineOp,
  div,
  exp,
  grad,
  jit,
  mul,
  openDevice,
  softplus,
  square,
  sub,
  sum,
  tanh,
  type Tensor,
  tensor,
} from "../mod.ts";

const mish = defineOp({
  name: "mish",
  infer([x]) {
    if (x!.dtype !== "f32") throw new TypeError(`mish: expected x to be f32 but found ${x!.dtype}`);
    return [x!];
  },
  // The gradient is written in ops, so that it can be differentiated again.
  vjp({ inputs: [x], cotangents: [dy] }) {
    const t = tanh(softplus(x!));
    const sigmoid = div(1, add(1, exp(mul(x!, -1))));
    return [mul(dy!, add(t, mul(mul(x!, sigmoid), sub(1, square(t)))))];
  },
  run: {
    kind: "kernel",
    cpu([x], [y]) {
      for (let i = 0; i < x!.data.length; i++) {
        y!.data[i] = x!.data[i]! * Math.tanh(Math.log1p(Math.exp(x!.data[i]!)));
      }
    },
    wgsl({ inputs: [x] }) {
      const size = x!.shape.reduce((a, b) => a * b, 1);
      return [{
        name: "mish",
        code: `
          @group(0) @binding(0) var<storage, read> x: array<f32>;
          @group(0) @binding(1) var<storage, read_write> y: array<f32>;
          @compute @workgroup_size(64)
          fn main(@builtin(global_invocation_id) id: vec3u) {
            if (id.x >= ${size}u) { return; }
            y[id.x] = x[id.x] * tanh(log(1.0 + exp(x[id.x])));
          }`,
        bindings: [
          { operand: "input", index: 0, access: "read" },
          { operand: "output", index: 0, access: "read_write" },
        ],
        workgroups: [Math.ceil(size / 64), 1, 1],
      }];
    },
  },
});

if (import.meta.main) {
  const device = await openDevice();
  const x = tensor([-2, -1, 0, 1, 2]);
  const loss = (x: Tensor) => sum(mish([x])[0]!);
  console.log(device.name);
  console.log("mish      ", await mish([x])[0]!.toArray());
  console.log("gradient  ", await jit(grad(loss))(x).toArray());
  console.log("curvature ", await grad((x: Tensor) => sum(grad(loss)(x)))(x).toArray());
  Deno.exit(0);
}
