import {
  assertClose,
  noise,
  runKernel,
  tensorOf,
  webgpuTest,
} from "../../lib/backends/webgpu/testing.ts";
import {
  conv2dInputGradientWgsl,
  conv2dWeightGradientScratch,
  conv2dWeightGradientWgsl,
  conv2dWgsl,
} from "./wgsl.ts";

interface Case {
  readonly x: readonly [number, number, number, number];
  readonly w: readonly [number, number, number, number];
  readonly stride: readonly [number, number];
  readonly padding: readonly [number, number, number, number];
}

const cases: Case[] = [
  { x: [2, 3, 7, 6], w: [4, 3, 3, 2], stride: [2, 1], padding: [1, 0, 1, 2] },
  { x: [1, 2, 5, 5], w: [3, 2, 5, 5], stride: [1, 1], padding: [0, 0, 0, 0] },
  { x: [2, 3, 9, 7], w: [4, 3, 4, 4], stride: [2, 2], padding: [1, 1, 1, 1] },
  { x: [1, 2, 9, 11], w: [3, 2, 1, 2], stride: [3, 4], padding: [2, 0, 1, 3] },
  { x: [3, 2, 28, 28], w: [2, 2, 4, 4], stride: [1, 1], padding: [2, 1, 2, 1] },
];

for (const { x: xShape, w: wShape, stride, padding } of cases) {
  webgpuTest(`conv2d and its gradients of ${xShape} by ${wShape}`, async (backend) => {
    const [batch, channels, height, width] = xShape, [outputs, , kh, kw] = wShape;
    const size = [
      Math.floor((height + padding[0] + padding[1] - kh) / stride[0]) + 1,
      Math.floor((width + padding[2] + padding[3] - kw) / stride[1]) + 1,
    ] as const;
    const yShape = [batch, outputs, ...size] as const;
    const x = tensorOf("f32", xShape, noise(1)), w = tensorOf("f32", wShape, noise(2));
    const dy = tensorOf("f32", yShape, noise(3));
    const y = new Float64Array(dy.data.length), dx = new Float64Array(x.data.length);
    const dw = new Float64Array(w.data.length);
    let yi = 0;
    for (let b = 0; b < batch; b++) {
      for (let o = 0; o < outputs; o++) {
        for (let r = 0; r < size[0]; r++) {
          for (let s = 0; s < size[1]; s++, yi++) {
            for (let c = 0; c < channels; c++) {
              for (let i = 0; i < kh; i++) {
                for (let j = 0; j < kw; j++) {
                  const py = r * stride[0] + i - padding[0], px = s * stride[1] + j - padding[2];
                  if (py < 0 || py >= height || px < 0 || px >= width) continue;
                  const xi = ((b * channels + c) * height + py) * width + px;
                  const wi = ((o * channels + c) * kh + i) * kw + j;
                  y[yi]! += x.data[xi]! * w.data[wi]!;
                  dx[xi]! += dy.data[yi]! * w.data[wi]!;
                  dw[wi]! += dy.data[yi]! * x.data[xi]!;
                }
              }
            }
          }
        }
      }
    }
    const attributes = { stride, padding, inputSize: [height, width], kernelSize: [kh, kw] };
    const dtype = "f32" as const;
    const results = [
      await runKernel(
        backend,
        { wgsl: conv2dWgsl },
        [x, w],
        [{ shape: yShape, dtype }],
        attributes,
      ),
      await runKernel(backend, { wgsl: conv2dInputGradientWgsl }, [dy, w], [{
        shape: xShape,
        dtype,
      }], attributes),
      await runKernel(
        backend,
        { wgsl: conv2dWeightGradientWgsl, scratch: conv2dWeightGradientScratch },
        [x, dy],
        [{ shape: wShape, dtype }],
        attributes,
      ),
    ];
    [y, dx, dw].forEach((wanted, n) =>
      assertClose(results[n]![0]!, wanted, 2e-5, ["y", "dx", "dw"][n])
    );
  });
}
