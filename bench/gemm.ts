/** Square matrix products of f32, 512 to 2048. */
import { jit, matmul, type Tensor, tensor } from "../mod.ts";
import { type Contestant, onGpu, type Row, run, timeJitted } from "./harness.ts";
import { sample, wave } from "./inputs.ts";
import { jaxGemm } from "./peers/jax.ts";
import { onnxGemm } from "./peers/onnx.ts";
import { openblasGemm } from "./peers/openblas.ts";
import { tfjsGemm } from "./peers/tfjs.ts";
import { torch } from "./peers/torch.ts";

/** Our product of two square matrices. */
export async function gemm(size: number): Promise<Contestant> {
  const a = tensor(wave(size * size, 1), { shape: [size, size] });
  const b = tensor(wave(size * size, 2), { shape: [size, size] });
  await Promise.all([a.data(), b.data()]);
  const product = jit((a: Tensor, b: Tensor) => matmul(a, b));
  return {
    name: "tessera",
    result: async () => sample(await product(a, b).data()),
    run: async () => await timeJitted(() => product(a, b)),
  };
}

/** The rows of this benchmark. */
export async function rows(): Promise<Row[]> {
  const threads = navigator.hardwareConcurrency;
  const all: Row[] = [];
  for (const size of [512, 1024, 2048]) {
    all.push(
      ...await run({
        bench: "gemm",
        case: `${size}`,
        unit: "GFLOP/s",
        work: 2 * size ** 3 / 1e9,
        ours: await gemm(size),
        peers: [
          await jaxGemm(size),
          ...onGpu() ? [] : [
            await tfjsGemm(size),
            await onnxGemm(size, threads),
            openblasGemm(size, threads),
          ],
          await torch({ case: "gemm", size }),
        ],
        tolerance: 1e-4,
      }, 20),
    );
  }
  return all;
}
