import { assertSameAsReference, noise, wasmTest } from "../../lib/backends/wasm/testing.ts";
import { cumulativeSum } from "./scan.ts";

wasmTest("cumulative sums along any axis equal the reference", async () => {
  await assertSameAsReference(
    (x, y) => [
      ...[0, 1, 2].map((axis) => cumulativeSum(x!, { axis })),
      ...[0, 1].map((axis) => cumulativeSum(y!, { axis })),
    ],
    [noise([3, 700, 9], 1), noise([20, 2000], 2, 100)],
    1e-6,
  );
});
