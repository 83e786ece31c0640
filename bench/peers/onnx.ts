/** ONNX Runtime (onnxruntime-node) as a peer. */
import type { Contestant } from "../harness.ts";
import { sample, wave } from "../inputs.ts";

const name = "onnxruntime-node 1.30.0";
// A specifier that is not a literal: the package is no dependency of the project.
const specifier = ["npm:onnxruntime-node", "1.30.0"].join("@");

/** A square matrix product: a model of the one node MatMul. */
export async function onnxGemm(size: number, threads: number): Promise<Contestant | string> {
  // deno-lint-ignore no-explicit-any
  let ort: any;
  try {
    ort = await import(specifier);
    ort = ort.default ?? ort;
  } catch {
    return name;
  }
  const session = await ort.InferenceSession.create(matmulModel(size), {
    intraOpNumThreads: threads,
  });
  const matrix = (seed: number) => new ort.Tensor("float32", wave(size * size, seed), [size, size]);
  const feeds = { a: matrix(1), b: matrix(2) };
  const work = async () => (await session.run(feeds)).c.data as Float32Array;
  return {
    name: `${name} (${threads} threads)`,
    result: async () => sample(await work()),
    run: async () => {
      const start = performance.now();
      await work();
      return performance.now() - start;
    },
  };
}

// ModelProto in protobuf's wire format: numbers as varints, the rest with its length in front.

const varint = (value: number): number[] =>
  value < 128 ? [value] : [value % 128 + 128, ...varint(Math.floor(value / 128))];
const number = (field: number, value: number) => [field << 3, ...varint(value)];
const message = (field: number, ...parts: number[][]) => {
  const body = parts.flat();
  return [(field << 3) | 2, ...varint(body.length), ...body];
};
const text = (field: number, value: string) => message(field, [...new TextEncoder().encode(value)]);

function matmulModel(size: number): Uint8Array {
  const float = 1, irVersion = 8, opset = 13;
  const dimension = message(1, number(1, size));
  const shape = message(2, dimension, dimension);
  const matrix = (field: number, name: string) =>
    message(field, text(1, name), message(2, message(1, number(1, float), shape)));
  const node = message(1, text(1, "a"), text(1, "b"), text(2, "c"), text(4, "MatMul"));
  const graph = [node, text(2, "g"), matrix(11, "a"), matrix(11, "b"), matrix(12, "c")];
  return Uint8Array.from([
    ...number(1, irVersion),
    ...message(7, ...graph),
    ...message(8, text(1, ""), number(2, opset)),
  ]);
}
