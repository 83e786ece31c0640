import {
  assertClose,
  noise,
  runKernel,
  tensorOf,
  webgpuTest,
} from "../../lib/backends/webgpu/testing.ts";
import {
  linearCrossEntropyGradientScratch,
  linearCrossEntropyGradientWgsl,
  linearCrossEntropyScratch,
  linearCrossEntropyWgsl,
} from "./wgsl.ts";

const forward = { wgsl: linearCrossEntropyWgsl, scratch: linearCrossEntropyScratch };
const backward = {
  wgsl: linearCrossEntropyGradientWgsl,
  scratch: linearCrossEntropyGradientScratch,
};

/** The loss and its gradients by the definition, in double precision. */
function crossEntropy(
  x: ArrayLike<number>,
  w: ArrayLike<number>,
  targets: ArrayLike<number>,
  dloss: ArrayLike<number>,
  [rows, width, classes]: readonly [number, number, number],
) {
  const loss = new Float64Array(rows), logsumexp = new Float64Array(rows);
  const dx = new Float64Array(rows * width), dw = new Float64Array(classes * width);
  for (let r = 0; r < rows; r++) {
    const logits = Array.from({ length: classes }, (_, v) => {
      let sum = 0;
      for (let d = 0; d < width; d++) sum += x[r * width + d]! * w[v * width + d]!;
      return sum;
    });
    logsumexp[r] = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0));
    loss[r] = logsumexp[r]! - logits[targets[r]!]!;
    for (let v = 0; v < classes; v++) {
      const slope = dloss[r]! * (Math.exp(logits[v]! - logsumexp[r]!) - Number(targets[r] === v));
      for (let d = 0; d < width; d++) {
        dx[r * width + d]! += slope * w[v * width + d]!;
        dw[v * width + d]! += slope * x[r * width + d]!;
      }
    }
  }
  return { loss, logsumexp, dx, dw };
}

webgpuTest(
  "the cross entropy of a linear layer and its gradients, in one chunk",
  async (backend) => {
    const sizes = [70, 10, 150] as const, [rows, width, classes] = sizes;
    const x = tensorOf("f32", [rows, width], noise(1)),
      w = tensorOf("f32", [classes, width], noise(2));
    const targets = tensorOf("i32", [rows], (i) => (i * 37) % classes);
    const dloss = tensorOf("f32", [rows], noise(3));
    const wanted = crossEntropy(x.data, w.data, targets.data, dloss.data, sizes);
    const row = { shape: [rows], dtype: "f32" as const };
    const [loss, logsumexp] = await runKernel(backend, forward, [x, w, targets], [row, row]);
    assertClose(loss!, wanted.loss, 1e-5, "loss");
    assertClose(logsumexp!, wanted.logsumexp, 1e-5, "logsumexp");
    const [dx, dw] = await runKernel(
      backend,
      backward,
      [x, w, targets, { ...row, data: logsumexp! }, dloss],
      [x, w],
    );
    assertClose(dx!, wanted.dx, 1e-5, "dx");
    assertClose(dw!, wanted.dw, 1e-5, "dw");
  },
);

webgpuTest("classes are taken in chunks when their logits are many", async (backend) => {
  // 300 x 70,000 logits are 84 MB: two chunks.
  const sizes = [300, 4, 70_000] as const, [rows, width, classes] = sizes;
  const x = tensorOf("f32", [rows, width], noise(1)),
    w = tensorOf("f32", [classes, width], noise(2));
  const targets = tensorOf("i32", [rows], (i) => (i * 7919) % classes);
  const dloss = tensorOf("f32", [rows], noise(3));
  const wanted = crossEntropy(x.data, w.data, targets.data, dloss.data, sizes);
  const row = { shape: [rows], dtype: "f32" as const };
  const [loss, logsumexp] = await runKernel(backend, forward, [x, w, targets], [row, row]);
  assertClose(loss!, wanted.loss, 1e-5, "loss");
  const [dx, dw] = await runKernel(
    backend,
    backward,
    [x, w, targets, { ...row, data: logsumexp! }, dloss],
    [x, w],
  );
  assertClose(dx!, wanted.dx, 1e-5, "dx");
  assertClose(dw!, wanted.dw, 1e-5, "dw");
});

webgpuTest("the cross entropy of f16 operands gathers in f32", async (backend) => {
  if (!backend.features.f16) return;
  const sizes = [5, 6, 70] as const, [rows, width, classes] = sizes;
  const x = tensorOf("f16", [rows, width], noise(1)),
    w = tensorOf("f16", [classes, width], noise(2));
  const targets = tensorOf("i32", [rows], (i) => (i * 37) % classes);
  const dloss = tensorOf("f32", [rows], noise(3));
  const wanted = crossEntropy(x.data, w.data, targets.data, dloss.data, sizes);
  const row = { shape: [rows], dtype: "f32" as const };
  const [loss, logsumexp] = await runKernel(backend, forward, [x, w, targets], [row, row]);
  assertClose(loss!, wanted.loss, 1e-5, "loss");
  const [dx, dw] = await runKernel(
    backend,
    backward,
    [x, w, targets, { ...row, data: logsumexp! }, dloss],
    [x, w],
  );
  assertClose(dx!, wanted.dx, 1e-3, "dx");
  assertClose(dw!, wanted.dw, 1e-3, "dw");
});
