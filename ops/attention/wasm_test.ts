import { assertEquals } from "@std/assert";
import {
  assertSameAsReference,
  type HostTensor,
  noise,
  wasmTest,
} from "../../lib/backends/wasm/testing.ts";
import { type Tensor, tensor } from "../../lib/tensor.ts";
import { grad } from "../../lib/transforms/vjp.ts";
import { mul } from "../arithmetic.ts";
import { sum } from "../reduce.ts";
import { transpose } from "../transpose.ts";
import { attention } from "./attention.ts";

/** Queries, keys, values, a cotangent, and how many columns each row sees. */
interface Case {
  readonly batch: number;
  readonly heads: number;
  readonly rows: number;
  readonly columns: number;
  readonly width: number;
  /** One prefix per row, for all samples or for each. */
  readonly visible?: readonly number[];
  readonly shared?: boolean;
}

async function check({ batch, heads, rows, columns, width, visible, shared }: Case) {
  // Heads and positions are the other way round in memory.
  const operand = (length: number, seed: number) => noise([batch, length, heads, width], seed);
  const dout = operand(rows, 4);
  const all: HostTensor = {
    ...{ shape: [shared ? 1 : batch, rows], dtype: "i32" },
    data: Int32Array.from(
      { length: (shared ? 1 : batch) * rows },
      (_, i) => visible ? visible[i % visible.length]! : columns,
    ),
  };
  const operands = [operand(rows, 1), operand(columns, 2), operand(columns, 3), dout, all];
  const heads_ = (x: Tensor) => transpose(x, [0, 2, 1, 3]);
  const attend = (q: Tensor, k: Tensor, v: Tensor, visible: Tensor) =>
    attention(heads_(q), heads_(k), heads_(v), { visible });
  await assertSameAsReference(
    (q, k, v, dout, all) => [
      attend(q!, k!, v!, all!),
      ...grad(
        ([q, k, v]: [Tensor, Tensor, Tensor]) => sum(mul(attend(q, k, v, all!), heads_(dout!))),
      )([q!, k!, v!]),
    ],
    operands,
    2e-5,
    JSON.stringify({ batch, heads, rows, columns, width }),
  );
}

wasmTest("attention and its gradient equal the reference, whatever the sizes", async () => {
  await check({ batch: 1, heads: 1, rows: 1, columns: 1, width: 3 });
  await check({ batch: 2, heads: 3, rows: 13, columns: 21, width: 16 });
  await check({ batch: 1, heads: 2, rows: 64, columns: 64, width: 32 });
  await check({ batch: 1, heads: 1, rows: 130, columns: 270, width: 20 });
  await check({ batch: 1, heads: 1, rows: 20, columns: 300, width: 260 });
});

wasmTest("few rows, which read keys and values where they lie, see what many see", async () => {
  await check({ batch: 2, heads: 2, rows: 1, columns: 300, width: 32, visible: [270] });
  await check({ batch: 2, heads: 2, rows: 3, columns: 300, width: 12, visible: [0, 290, 17] });
  await check({ batch: 1, heads: 3, rows: 4, columns: 9, width: 7, visible: [9, 0, 1, 4] });
  await check({ batch: 1, heads: 2, rows: 7, columns: 260, width: 20, visible: [260, 3] });
});

wasmTest("a row that sees NaN is NaN, in every kind of block, and no other is", async () => {
  for (const rows of [2, 7, 40]) {
    const { data } = noise([1, 1, rows, 8], 1);
    data.fill(NaN, 8, 16); // the second query
    const keys = tensor(noise([1, 1, 300, 8], 2).data, { shape: [1, 1, 300, 8] });
    const out = attention(tensor(data, { shape: [1, 1, rows, 8] }), keys, keys);
    const isNaN = Array.from(await out.data(), Number.isNaN);
    assertEquals(isNaN, Array.from(isNaN, (_, i) => i >= 8 && i < 16), `${rows} rows`);
  }
});

wasmTest("rows see prefixes, some of them nothing, in one block or across several", async () => {
  const visible = [0, 1, 5, 5, 20, 21, 3, 0, 17, 8];
  await check({ batch: 2, heads: 2, rows: 10, columns: 21, width: 8, visible });
  await check({ batch: 2, heads: 2, rows: 10, columns: 21, width: 8, visible, shared: true });
  const long = Array.from({ length: 150 }, (_, i) => i < 129 ? 0 : (i * 37) % 290);
  await check({ batch: 1, heads: 1, rows: 150, columns: 280, width: 16, visible: long });
});
