/** Square matrix products of f32, 512 to 2048. */
import { type DType, jit, matmul, type Tensor } from "../mod.ts";
import { type Contestant, onGpu, ownPeers, type Row, run, timeJitted } from "./harness.ts";
import { sample, waveTensor } from "./inputs.ts";
import { jaxGemm } from "./peers/jax.ts";
import { onnxGemm } from "./peers/onnx.ts";
import { openblasGemm } from "./peers/openblas.ts";
import { tfjsGemm } from "./peers/tfjs.ts";
import { torch } from "./peers/torch.ts";

/**
 * Our product of two square matrices.
 *
 * @param size Rows and columns.
 * @param dtype Of both.
 * @param calls Products in a turn, of which the device is waited for once.
 */
export function gemm(size: number, dtype: DType = "f32", calls = 1): Contestant {
  const a = waveTensor([size, size], 1, dtype);
  const b = waveTensor([size, size], 2, dtype);
  const product = jit((a: Tensor, b: Tensor) => matmul(a, b));
  return {
    name: "tessera",
    result: async () => sample(await product(a, b).data()),
    run: () => timeJitted(() => product(a, b), calls),
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
        ours: gemm(size),
        peers: [
          ...await ownPeers(() => jaxGemm(size)),
          ...onGpu() ? [] : [
            ...await ownPeers(() => tfjsGemm(size), () => onnxGemm(size, threads)),
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
