/** Elementwise and row-wise chains on [4096, 768] of f32. */
import { add, gelu, jit, layerNorm, mul, softmax, type Tensor } from "../mod.ts";
import { type Contestant, type Row, run, timeJitted } from "./harness.ts";
import { sample, waveTensor } from "./inputs.ts";
import { jaxRows } from "./peers/jax.ts";
import { torch } from "./peers/torch.ts";

const work: Record<string, (x: Tensor, w: Tensor, b: Tensor) => Tensor> = {
  "gelu(x*w+b)": (x, w, b) => gelu(add(mul(x, w), b), { approximate: true }),
  "softmax": (x) => softmax(x),
  "layer norm": (x, w, b) => layerNorm(x, w, b),
};

function ours(op: string): Contestant {
  const inputs = [
    waveTensor([4096, 768], 1),
    waveTensor([768], 2),
    waveTensor([768], 3),
  ] as const;
  const program = jit(work[op]!);
  return {
    name: "tessera",
    result: async () => sample(await program(...inputs).data()),
    run: () => timeJitted(() => program(...inputs)),
  };
}

/** The rows of this benchmark. */
export async function rows(): Promise<Row[]> {
  const all: Row[] = [];
  for (const op of Object.keys(work)) {
    all.push(
      ...await run({
        bench: "rows",
        case: op,
        unit: "ms",
        ours: ours(op),
        peers: [await jaxRows(op), await torch({ case: "rows", op })],
        tolerance: 1e-3,
      }),
    );
  }
  return all;
}
