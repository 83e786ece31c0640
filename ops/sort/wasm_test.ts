import { assertSameAsReference, noise, wasmTest } from "../../lib/backends/wasm/testing.ts";
import { argsort, sort } from "./sort.ts";

wasmTest("rows are sorted as in the reference, with ties, zeros, NaN and infinities", async () => {
  const special = Float32Array.of(0, -0, NaN, 1, -Infinity, -0, 0, Infinity, NaN, -1, 1, -1);
  const operands = [
    { shape: [2, 6], dtype: "f32" as const, data: special },
    noise([3, 1000], 1),
    { ...noise([5, 77], 2, 9), data: noise([5, 77], 2, 9).data.map((x: number) => x - 4) },
    { shape: [4], dtype: "u32" as const, data: Uint32Array.of(7, 2 ** 32 - 1, 0, 7) },
  ];
  await assertSameAsReference(
    (...all) =>
      all.flatMap((x) =>
        [true, false].flatMap((descending) => [
          sort(x, { descending }),
          argsort(x, { descending }),
        ])
      ),
    operands,
    0,
  );
});
